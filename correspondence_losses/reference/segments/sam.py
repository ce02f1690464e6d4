"""Segment Anything's automatic masks."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from tqdm import tqdm

from correspondence_losses.reference.segments.segmenter import Segmenter, check_image

_BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINTS = {
    "vit_h": ("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    "vit_l": ("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    "vit_b": ("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
}
"""The official checkpoint of each model type: file name and SHA-256."""


class SAMCheckpointError(ValueError):
    """A checkpoint of Segment Anything is missing, damaged, of another model, or cannot be downloaded."""


class SAMSegmenter(Segmenter):
    """The automatic mask generator of Segment Anything, with the settings of the thesis.

    Args:
        checkpoint: The weights. By default the official ones of ``model_type``, downloaded into the cache of
            ``torch.hub`` unless they are there already.
        model_type: A key of ``segment_anything.sam_model_registry``: ``"vit_h"``, ``"vit_l"``, ``"vit_b"``.
        points_per_side: Prompts are a grid of so many points a side.
        min_mask_region_area: Islands and holes of a mask with fewer pixels are removed. Whole masks are not: that is
            ``min_area`` of :func:`presegment`.
        pred_iou_thresh: Least quality that the model itself predicts for a mask.
        stability_score_thresh: Least IoU of a mask with itself under a change of the threshold on its logits.
        box_nms_thresh: Of masks whose boxes overlap by more than this IoU, the best one is kept.
        crop_n_layers: Segment crops of the image too, in so many layers.
        points_per_batch: Points that the mask decoder sees at once: memory against speed; it does not decide the
            masks.
        device: Where to compute; by default the GPU if there is one.

    Raises:
        SAMCheckpointError: The checkpoint is missing, damaged or of another model, or cannot be downloaded.
        ValueError: ``model_type`` is unknown, or a number is out of range.

    Source:
        Kirillov et al. 2023, Segment Anything; sec. 4.5.1 of the thesis: 24 points a side, 1000 pixels, ViT-H.
    """

    name = "segment-anything"

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        *,
        model_type: str = "vit_h",
        points_per_side: int = 24,
        min_mask_region_area: int = 1000,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        points_per_batch: int = 64,
        device: str | None = None,
    ) -> None:
        if model_type not in sam_model_registry:
            raise ValueError(f"model_type must be one of {sorted(sam_model_registry)}, got {model_type!r}")
        for name, value, least in (
            ("points_per_side", points_per_side, 1),
            ("points_per_batch", points_per_batch, 1),
            ("min_mask_region_area", min_mask_region_area, 0),
            ("crop_n_layers", crop_n_layers, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        path = download_checkpoint(model_type) if checkpoint is None else Path(checkpoint)
        self._generator_settings: dict[str, int | float] = {
            "points_per_side": points_per_side,
            "min_mask_region_area": min_mask_region_area,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "box_nms_thresh": box_nms_thresh,
            "crop_n_layers": crop_n_layers,
        }
        self._model_type = model_type
        model = _load_model(path, model_type)
        self._checkpoint_sha256 = _sha256(path)
        model.to(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
        self._generator = SamAutomaticMaskGenerator(
            model, points_per_batch=points_per_batch, **self._generator_settings
        )

    def __call__(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return the masks of an (H, W, 3) ``uint8`` RGB image, as ``SamAutomaticMaskGenerator.generate`` does.

        Raises:
            ValueError: ``image`` is something else.
        """
        check_image(image)
        masks: list[dict[str, Any]] = self._generator.generate(image)
        return masks

    def settings(self) -> dict[str, str | int | float]:
        """Return the model, the hash of its weights, and the settings of the generator."""
        return {
            "model_type": self._model_type,
            "checkpoint_sha256": self._checkpoint_sha256,
            **self._generator_settings,
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of Segment Anything, PyTorch and OpenCV."""
        return {
            "segment-anything": version("segment-anything"),
            "torch": torch.__version__,
            "opencv": cv2.__version__,
        }


def download_checkpoint(model_type: str) -> Path:
    """Return the official checkpoint of a model type, downloading it unless it is there already.

    It lies in the folder ``checkpoints`` of ``torch.hub.get_dir()``; its SHA-256 is checked as it arrives.

    Raises:
        SAMCheckpointError: It cannot be downloaded, or arrives damaged.
        ValueError: There is no official checkpoint of ``model_type``.
    """
    if model_type not in CHECKPOINTS:
        raise ValueError(f"model_type {model_type!r} has no official checkpoint: give the path of one")
    name, sha256 = CHECKPOINTS[model_type]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.exists():
        return path
    tqdm.write(f"Downloading Segment Anything's {model_type} from {_BASE_URL}{name} to {path}", file=sys.stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(_BASE_URL + name, str(path), hash_prefix=sha256)
    except (OSError, RuntimeError) as error:
        raise SAMCheckpointError(
            f"{path}: cannot be downloaded from {_BASE_URL}{name} ({error}); get it by other means and give its path "
            "as checkpoint, or use FelzenszwalbSegmenter, which needs none"
        ) from error
    return path


def _load_model(path: Path, model_type: str) -> torch.nn.Module:
    if not path.is_file():
        raise SAMCheckpointError(f"{path}: is missing")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SAMCheckpointError(f"{path}: cannot be read as PyTorch weights ({type(error).__name__})") from error
    model: torch.nn.Module = sam_model_registry[model_type]()
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n\t")[2].partition("\n")[0][:200] or type(error).__name__
        raise SAMCheckpointError(f"{path}: does not hold the weights of a {model_type} ({reason})") from error
    return model.eval()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
