"""The automatic masks of SAM 2's own package."""

from pathlib import Path
from typing import Any

from correspondence_losses.reference.files import sha256_of_file
from correspondence_losses.reference.segments.automatic import GeneratorSegmenter, default_device, load_checkpoint
from correspondence_losses.reference.segments.packages import require

__all__ = ["SAM2Segmenter"]


class SAM2Segmenter(GeneratorSegmenter):
    """The automatic mask generator of SAM 2, with the settings of the thesis.

    It needs the official package: ``pip install git+https://github.com/facebookresearch/sam2``. SAM 2 without it is in
    transformers: :class:`~.mask_generation.MaskGenerationSegmenter`.

    Args:
        checkpoint: The weights, such as ``sam2.1_hiera_large.pt``.
        config: The package's configuration of the model.
        device: Where to compute; by default the GPU if there is one.
        settings: Of the generator: those of :class:`~.automatic.AutomaticMaskSegmenter`.

    Raises:
        ModuleNotFoundError: The package is not installed.
        SAMCheckpointError: The checkpoint is missing, damaged or of another model.
        ValueError: A number is out of range.

    Source:
        Ravi et al. 2024, "SAM 2: Segment Anything in Images and Videos".
    """

    name, distribution = "sam2", "SAM-2"

    def __init__(
        self,
        checkpoint: Path | str,
        *,
        config: str = "configs/sam2.1/sam2.1_hiera_l.yaml",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        build = require("sam2.build_sam", "git+https://github.com/facebookresearch/sam2")
        generators = require("sam2.automatic_mask_generator", "git+https://github.com/facebookresearch/sam2")
        path, device = Path(checkpoint), default_device(device)
        # As its authors make masks: without the postprocessing that follows objects through a video.
        model = load_checkpoint(
            path, lambda: build.build_sam2(config, None, device=device, apply_postprocessing=False), config, "model"
        )
        self.model_settings = {"config": config, "checkpoint_sha256": sha256_of_file(path)}
        self.generator = generators.SAM2AutomaticMaskGenerator(
            model, points_per_batch=self.points_per_batch, **self.generator_settings
        )
