"""Automatic masks with the settings of the thesis, whatever model of the SAM family makes them."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from correspondence_losses.reference.segments.segmenter import Segmenter, check_image

__all__ = ["AutomaticMaskSegmenter", "GeneratorSegmenter", "SAMCheckpointError", "load_checkpoint"]


class SAMCheckpointError(ValueError):
    """A checkpoint of Segment Anything is missing, damaged, of another model, or cannot be downloaded."""


class AutomaticMaskSegmenter(Segmenter):
    """An automatic mask generator: a grid of points, of whose masks the good and different ones are kept.

    Args:
        points_per_side: Prompts are a grid of so many points a side.
        min_mask_region_area: Islands and holes of a mask with fewer pixels are removed. Whole masks are not: that is
            ``min_area`` of :func:`presegment`.
        pred_iou_thresh: Least quality that the model itself predicts for a mask.
        stability_score_thresh: Least IoU of a mask with itself under a change of the threshold on its logits.
        box_nms_thresh: Of masks whose boxes overlap by more than this IoU, the best one is kept.
        crop_n_layers: Segment crops of the image too, in so many layers.
        points_per_batch: Points that the mask decoder sees at once: memory against speed; it does not decide the
            masks.

    Attributes:
        distribution: The package that holds the model, as pip calls it; set by a subclass.
        model_settings: What says which model it is, and a hash of its weights; set by a subclass.

    Raises:
        ValueError: A number is out of range.

    Source:
        Kirillov et al. 2023, Segment Anything; sec. 4.5.1 of the thesis: 24 points a side, 1000 pixels.
    """

    distribution: str
    model_settings: dict[str, str]

    def __init__(
        self,
        *,
        points_per_side: int = 24,
        min_mask_region_area: int = 1000,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        points_per_batch: int = 64,
    ) -> None:
        for name, value, least in (
            ("points_per_side", points_per_side, 1),
            ("points_per_batch", points_per_batch, 1),
            ("min_mask_region_area", min_mask_region_area, 0),
            ("crop_n_layers", crop_n_layers, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.points_per_batch = points_per_batch
        self.generator_settings: dict[str, int | float] = {
            "points_per_side": points_per_side,
            "min_mask_region_area": min_mask_region_area,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "box_nms_thresh": box_nms_thresh,
            "crop_n_layers": crop_n_layers,
        }

    def __call__(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return the masks of an (H, W, 3) ``uint8`` RGB image, as ``SamAutomaticMaskGenerator.generate`` does.

        Raises:
            ValueError: ``image`` is something else.
        """
        check_image(image)
        return self.generate(image)

    @abstractmethod
    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return the masks of an image that has been checked."""

    def settings(self) -> dict[str, str | int | float]:
        """Return the model, the hash of its weights, and the settings of the generator."""
        return {**self.model_settings, **self.generator_settings}

    def versions(self) -> dict[str, str]:
        """Return the versions of the model's package, of PyTorch and of OpenCV."""
        return {self.name: version(self.distribution), "torch": torch.__version__, "opencv": cv2.__version__}


class GeneratorSegmenter(AutomaticMaskSegmenter):
    """An automatic mask generator of a package that has Segment Anything's interface.

    Attributes:
        generator: Made by a subclass.
    """

    generator: Any

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return the masks of an image that has been checked."""
        masks: list[dict[str, Any]] = self.generator.generate(image)
        return masks


def default_device(device: str | None) -> str:
    """Return a device: by default the GPU if there is one."""
    return device if device is not None else "cuda" if torch.cuda.is_available() else "cpu"


def load_checkpoint(
    path: Path, create: Callable[[], torch.nn.Module], model_type: str, part: str | None = None
) -> torch.nn.Module:
    """Return a model with the weights of a checkpoint.

    Args:
        path: The checkpoint: a state dict, or one under the key ``part``.
        create: Makes the model.
        model_type: What it is called in an error.
        part: See above.

    Raises:
        SAMCheckpointError: The checkpoint is missing, damaged or of another model.
    """
    if not path.is_file():
        raise SAMCheckpointError(f"{path}: is missing")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SAMCheckpointError(f"{path}: cannot be read as PyTorch weights ({type(error).__name__})") from error
    if part is not None and isinstance(weights, Mapping):
        weights = weights.get(part, weights)
    model = create()
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n\t")[2].partition("\n")[0][:200] or type(error).__name__
        raise SAMCheckpointError(f"{path}: does not hold the weights of a {model_type} ({reason})") from error
    return model.eval()


def sha256_of_weights(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's weights, wherever they are from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
