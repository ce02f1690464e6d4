"""Training samples of image translation: a crop of a labelled image, and one of an unlabelled image."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.seeding import FrameOrder, seeded
from correspondence_losses.reference.streams.images import as_image

__all__ = ["CropStream"]

_SOURCE, _TARGET, _SAMPLE = 1, 2, 3


class CropStream(Dataset[dict[str, Tensor]]):
    """Endless random crops of both domains, each sample a function of the seed and its index alone.

    A sample holds ``image`` and ``unlabelled_image`` (3, h, w), with colours from -1 to 1, and ``places`` (k, 2) in
    [0, 1).

    Args:
        labelled: Frames of the domain that is translated, each with the source that reads it.
        unlabelled: Frames of the domain that it is translated to.
        size: (h, w) of the crops.
        num_places: k.
        seed: Seed of the run.
    """

    def __init__(
        self,
        labelled: Sequence[tuple[FrameSource, str]],
        unlabelled: Sequence[tuple[FrameSource, str]],
        *,
        size: tuple[int, int],
        num_places: int,
        seed: int,
    ) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled
        self.num_places = num_places
        self.seed = seed
        self.size = size
        self.orders = FrameOrder(len(labelled), seed, _SOURCE), FrameOrder(len(unlabelled), seed, _TARGET)
        self.transform = v2.Compose([
            v2.RandomCrop(size), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3), v2.ToPureTensor(),
        ])  # fmt: skip

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        order, other_order = self.orders
        (source, frame), (target, other) = self.labelled[order[index]], self.unlabelled[other_order[index]]
        with seeded(self.seed, _SAMPLE, index):
            return {
                "image": self._crop(source.image(frame, order.round(index)), frame),
                "unlabelled_image": self._crop(target.image(other), other),
                "places": torch.rand(self.num_places, 2),
            }

    def _crop(self, image: NDArray[np.uint8], frame: str) -> Tensor:
        if any(have < want for have, want in zip(image.shape[:2], self.size, strict=True)):
            raise ValueError(
                f"image_size must be at most {image.shape[:2]}, the height and width of the image of {frame}, "
                f"got {self.size}"
            )
        crop: Tensor = self.transform(as_image(image))
        return crop
