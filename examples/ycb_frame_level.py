"""Table 3.1 and figure 3.4 of the thesis: RefineNet with the features of real and synthetic images aligned.

    python examples/ycb_frame_level.py                                    # embedded scenes, small model
    python examples/ycb_frame_level.py --data YCB_Video_Dataset --scenes.models YCB_Video_Models
    python examples/ycb_frame_level.py --data YCB_Video_Dataset --preset adversarial_unpaired --scale thesis

Paired rows render a counterpart of each real frame first, from its poses and the data set's meshes;
`--max_unlabelled_frames` takes a part of the frames. `--list` prints the presets, one for each row, and `--dry_run`
the settings. A run that was stopped goes on when the same command is given again.
"""

from correspondence_losses.reference.commands.train import train

if __name__ == "__main__":
    train(tables=["3.1", "fig. 3.4", "Imbusch et al. 2022"], preset="adversarial", description=__doc__)
