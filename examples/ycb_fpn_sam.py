"""Table 4.4 of the thesis: FPN + SAM pooling, trained on labelled synthetic and unlabelled real images.

    python examples/ycb_fpn_sam.py                                        # embedded scenes, small model
    python examples/ycb_fpn_sam.py --data YCB_Video_Dataset               # YCB-Video, small model
    python examples/ycb_fpn_sam.py --data YCB_Video_Dataset --scale thesis --preset fpn

Presets (rows of the table): sam_fpn, fpn, fpn_real, sam. Scales: laptop, thesis. Both are YAML files in `presets/`.
A run that was stopped goes on when the same command is given again.
"""

from pathlib import Path

from correspondence_losses.reference.command_line import segmentation_settings
from correspondence_losses.reference.run import run_segmentation

if __name__ == "__main__":
    settings = segmentation_settings(
        Path(__file__).parent / "presets", preset="sam_fpn", scale="laptop", description=__doc__
    )
    run_segmentation(settings)
