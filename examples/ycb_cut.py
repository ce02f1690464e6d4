"""CUT, the peer of the thesis's table 4.5: synthetic images refined to look like the unlabelled real ones.

    python examples/ycb_cut.py                                            # embedded scenes, small model
    python examples/ycb_cut.py --data YCB_Video_Dataset --backgrounds PHOTOGRAPHS --scale thesis

The run ends with the refined images in `OUTPUT/refined`. They keep their labels, so that any other run can train on
them: `python examples/ycb_frame_level.py --preset refinenet_cut --refined OUTPUT/refined`. A run that was stopped goes
on when the same command is given again.
"""

from correspondence_losses.reference.commands.train import train

if __name__ == "__main__":
    train(tables=["CUT"], preset="cut", description=__doc__)
