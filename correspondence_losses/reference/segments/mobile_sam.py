"""The automatic masks of MobileSAM."""

from pathlib import Path
from typing import Any

from correspondence_losses.reference.files import sha256_of_file
from correspondence_losses.reference.segments.automatic import GeneratorSegmenter, default_device, load_checkpoint
from correspondence_losses.reference.segments.packages import require

__all__ = ["MobileSAMSegmenter"]


class MobileSAMSegmenter(GeneratorSegmenter):
    """The automatic mask generator of MobileSAM, with the settings of the thesis.

    It needs the official package: ``pip install git+https://github.com/ChaoningZhang/MobileSAM``.

    Args:
        checkpoint: The weights, ``mobile_sam.pt``.
        device: Where to compute; by default the GPU if there is one.
        settings: Of the generator: those of :class:`~.automatic.AutomaticMaskSegmenter`.

    Raises:
        ModuleNotFoundError: The package is not installed.
        SAMCheckpointError: The checkpoint is missing, damaged or of another model.
        ValueError: A number is out of range.

    Source:
        Zhang et al. 2023, "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications".
    """

    name = distribution = "mobile-sam"

    def __init__(self, checkpoint: Path | str, *, device: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        package = require("mobile_sam", "git+https://github.com/ChaoningZhang/MobileSAM")
        path = Path(checkpoint)
        model = load_checkpoint(path, package.sam_model_registry["vit_t"], "MobileSAM")
        self.model_settings = {"checkpoint_sha256": sha256_of_file(path)}
        self.generator = package.SamAutomaticMaskGenerator(
            model.to(default_device(device)), points_per_batch=self.points_per_batch, **self.generator_settings
        )
