"""Segment Anything's automatic masks."""

import sys
from pathlib import Path
from typing import Any

import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from tqdm import tqdm

from correspondence_losses.reference.files import sha256_of_file
from correspondence_losses.reference.segments.automatic import (
    GeneratorSegmenter,
    SAMCheckpointError,
    default_device,
    load_checkpoint,
)

_BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINTS = {
    "vit_h": ("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    "vit_l": ("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    "vit_b": ("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
}
"""The official checkpoint of each model type: file name and SHA-256."""


class SAMSegmenter(GeneratorSegmenter):
    """The automatic mask generator of Segment Anything, with the settings of the thesis.

    Args:
        checkpoint: The weights. By default the official ones of ``model_type``, downloaded into the cache of
            ``torch.hub`` unless they are there already.
        model_type: A key of ``segment_anything.sam_model_registry``: ``"vit_h"``, ``"vit_l"``, ``"vit_b"``.
        device: Where to compute; by default the GPU if there is one.
        settings: Of the generator: those of :class:`~.automatic.AutomaticMaskSegmenter`.

    Raises:
        SAMCheckpointError: The checkpoint is missing, damaged or of another model, or cannot be downloaded.
        ValueError: ``model_type`` is unknown, or a number is out of range.

    Source:
        Kirillov et al. 2023, Segment Anything; sec. 4.5.1 of the thesis: 24 points a side, 1000 pixels, ViT-H.
    """

    name = distribution = "segment-anything"

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        *,
        model_type: str = "vit_h",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if model_type not in sam_model_registry:
            raise ValueError(f"model_type must be one of {sorted(sam_model_registry)}, got {model_type!r}")
        path = download_checkpoint(model_type) if checkpoint is None else Path(checkpoint)
        model = load_checkpoint(path, sam_model_registry[model_type], model_type)
        self.model_settings = {"model_type": model_type, "checkpoint_sha256": sha256_of_file(path)}
        self.generator = SamAutomaticMaskGenerator(
            model.to(default_device(device)), points_per_batch=self.points_per_batch, **self.generator_settings
        )


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
