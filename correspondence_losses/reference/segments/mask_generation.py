"""The automatic masks of transformers: SAM, SAM 2, SAM 3, EdgeTAM and whatever else its pipeline takes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import MaskData, area_from_rle, batched_mask_to_box, mask_to_rle_pytorch, rle_to_mask

from correspondence_losses.reference.segments.automatic import (
    AutomaticMaskSegmenter,
    SAMCheckpointError,
    default_device,
    sha256_of_weights,
)
from correspondence_losses.reference.segments.packages import require

__all__ = ["MaskGenerationSegmenter"]


class MaskGenerationSegmenter(AutomaticMaskSegmenter):
    """The pipeline ``mask-generation`` of transformers, with the settings of the thesis.

    The pipeline has been seen to lose the last batch of points where their number is no multiple of
    ``points_per_batch``. So the largest divisor of it that is not above ``points_per_batch`` is given. It removes no
    islands and holes as Segment Anything does: that is done afterwards, by Segment Anything's own code.

    Args:
        model: A model on Hugging Face's hub, or a folder that ``save_pretrained`` wrote.
        device: Where to compute; by default the GPU if there is one.
        settings: Of the generator: those of :class:`~.automatic.AutomaticMaskSegmenter`.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        SAMCheckpointError: The model cannot be loaded, or is none that generates masks.
        ValueError: A number is out of range.
    """

    name = distribution = "transformers"

    def __init__(
        self, model: str = "facebook/sam2.1-hiera-large", *, device: str | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        transformers = require("transformers", "transformers")
        try:
            self._pipeline = transformers.pipeline("mask-generation", model=model, device=default_device(device))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise SAMCheckpointError(
                f"{model}: cannot be loaded for mask generation ({error}); give a folder that save_pretrained wrote, "
                "or use FelzenszwalbSegmenter, which needs none"
            ) from error
        self.model_settings = {
            "model": Path(model).name,
            "architecture": type(self._pipeline.model).__name__,
            "weights_sha256": sha256_of_weights(self._pipeline.model),
        }

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return the masks of an image that has been checked."""
        settings = self.generator_settings
        side = int(settings["points_per_side"])
        found = self._pipeline(
            Image.fromarray(image),
            points_per_crop=side,
            points_per_batch=largest_divisor(side**2, self.points_per_batch),
            crops_n_layers=settings["crop_n_layers"],
            pred_iou_thresh=settings["pred_iou_thresh"],
            stability_score_thresh=settings["stability_score_thresh"],
            crops_nms_thresh=settings["box_nms_thresh"],
        )
        masks = [torch.as_tensor(np.asarray(mask)) > 0 for mask in found["masks"]]
        if not masks:
            return []
        stacked = torch.stack(masks)
        data = MaskData(
            rles=mask_to_rle_pytorch(stacked),
            boxes=batched_mask_to_box(stacked),
            scores=torch.as_tensor(found["scores"]).float().cpu(),
        )
        area = int(settings["min_mask_region_area"])
        if area > 0:
            data = SamAutomaticMaskGenerator.postprocess_small_regions(data, area, float(settings["box_nms_thresh"]))
        return [
            {"segmentation": rle_to_mask(rle), "area": area_from_rle(rle), "predicted_iou": float(score)}
            for rle, score in zip(data["rles"], data["scores"], strict=True)
        ]


def largest_divisor(number: int, at_most: int) -> int:
    """Return the largest divisor of a number that is not above another.

    Example:
        >>> largest_divisor(24 * 24, 64), largest_divisor(25 * 25, 64)
        (64, 25)
    """
    return max(divisor for divisor in range(1, min(number, at_most) + 1) if number % divisor == 0)
