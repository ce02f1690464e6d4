"""What pre-segmentation asks of a segmenter."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.functional import MaskSet


class Segmenter(ABC):
    """A callable from an image to masks that knows what decides them.

    Attributes:
        name: What it is called in the record of a cache.
    """

    name: str

    @abstractmethod
    def __call__(self, image: NDArray[np.uint8]) -> MaskSet:
        """Segment an (H, W, 3) ``uint8`` RGB image into masks of its size, as ``paint_masks`` takes them."""

    @abstractmethod
    def settings(self) -> dict[str, str | int | float]:
        """Return everything that decides the masks of an image: two segmenters of equal settings are the same."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that compute the masks, for the record."""


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ``ValueError`` unless ``image`` is (H, W, 3) ``uint8`` and not empty."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
