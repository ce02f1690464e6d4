"""The segmenter that was learnt from rendered scenes."""

from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.experiments.boundaries import BoundarySettings
from correspondence_losses.reference.files import sha256_of_file
from correspondence_losses.reference.models.boundaries import BoundaryModel
from correspondence_losses.reference.runs.command_line import load_settings
from correspondence_losses.reference.runs.trained import load_model
from correspondence_losses.reference.segments.regions import closed_regions
from correspondence_losses.reference.segments.segmenter import Segmenter, check_image
from correspondence_losses.reference.streams.images import image_to_tensor

__all__ = ["BoundarySegmenter"]


class BoundarySegmenter(Segmenter):
    """Segments inside of boundaries that a network predicts, which a run of the preset ``boundaries`` has trained.

    It needs no checkpoint of anyone else: rendered scenes tell where each thing ends. Every pixel is in exactly one
    segment; what the network was not trained on, such as the room behind the table, is cut along its own edges.

    Args:
        run: The folder of the run, ``correspondence-losses train --preset boundaries --data SCENES --output RUN``.
        merge: Two regions are one segment up to this mean probability of a boundary between them; a larger one gives
            larger segments.
        min_size: Segments with fewer pixels go to their neighbours.

    Raises:
        CheckpointError: The folder holds no run of that preset.
        ValueError: A setting is out of range.
    """

    name = "boundaries"

    def __init__(self, run: Path, *, merge: float = 0.15, min_size: int = 200) -> None:
        if not 0 <= merge <= 1:
            raise ValueError(f"merge must lie in [0, 1], got {merge}")
        if min_size < 1:
            raise ValueError(f"min_size must be at least 1, got {min_size}")
        self.merge = float(merge)
        self.min_size = int(min_size)
        run = Path(run)
        settings = load_settings(run)
        if not isinstance(settings, BoundarySettings):
            raise CheckpointError(f"{run}: is not a run of the preset boundaries")
        model, _ = load_model(run, settings, num_classes=0)
        self._model = cast(BoundaryModel, model).eval()
        self._size = settings.predicted_at
        self._sha256 = sha256_of_file(run / "checkpoint.pt")

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
        """Segment an (H, W, 3) ``uint8`` image into disjoint masks that cover it.

        Raises:
            ValueError: ``image`` is something else.
        """
        regions = closed_regions(self.boundaries(image), merge=self.merge, min_size=self.min_size)
        return [regions == label for label in np.unique(regions)]

    def boundaries(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of a boundary (H, W) at each pixel, the mean over the image and its mirror image."""
        check_image(image)
        inputs = image_to_tensor(image, self._size)[None]
        plain, mirrored = self._model.boundaries(torch.cat([inputs, inputs.flip(3)]))
        found = ((plain + mirrored.flip(1)) / 2)[None, None]
        resized = torch.nn.functional.interpolate(found, image.shape[:2], mode="bilinear", align_corners=False)
        probability: NDArray[np.float32] = resized[0, 0].numpy()
        return probability

    def settings(self) -> dict[str, str | int | float]:
        """Return the hash of the weights and the arguments."""
        height, width = self._size
        return {
            "checkpoint_sha256": self._sha256,
            "size": f"{height} x {width}",
            "merge": self.merge,
            "min_size": self.min_size,
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of PyTorch and scikit-image."""
        return {"torch": torch.__version__, "scikit-image": version("scikit-image")}
