"""Tables 4.1 to 4.3 of the thesis: a backbone trained by what corresponds between views, and a linear head on it.

    python examples/ycb_vicregl.py                                        # embedded scenes, small model
    python examples/ycb_vicregl.py --data YCB_Video_Dataset               # YCB-Video, small model
    python examples/ycb_vicregl.py --data YCB_Video_Dataset --scale thesis --preset multiple_arrangements_real

`--list` prints the presets, one for each row of the tables, and `--dry_run` the settings. A run that was stopped goes
on when the same command is given again.
"""

from correspondence_losses.reference.commands.train import train

if __name__ == "__main__":
    train(tables=["4.1", "4.2", "4.3"], preset="unpaired_sam", description=__doc__)
