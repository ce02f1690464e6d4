"""Table 4.4 of the thesis: FPN + SAM pooling, trained on labelled synthetic and unlabelled real images.

    python examples/ycb_fpn_sam.py                                        # embedded scenes, small model
    python examples/ycb_fpn_sam.py --data YCB_Video_Dataset               # YCB-Video, small model
    python examples/ycb_fpn_sam.py --data YCB_Video_Dataset --scale thesis --preset fpn

`--list` prints the presets, one for each row of the table, and `--dry_run` the settings. A run that was stopped goes
on when the same command is given again.
"""

from correspondence_losses.reference.commands.train import train

if __name__ == "__main__":
    train(tables=["4.4"], preset="sam_fpn", description=__doc__)
