"""One crop of an image: its box, its flip, and where the cells and pixels of the view lie in the image."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from correspondence_losses.correspond import ViewGrid

__all__ = ["Crop", "labels_at"]


class Crop(NamedTuple):
    """A box of an image, resized to a square view and possibly flipped.

    Attributes:
        left: First column, in pixels.
        top: First row.
        right: The column after the last.
        bottom: The row after the last.
        flip: Whether the view is mirrored left to right.
    """

    left: int
    top: int
    right: int
    bottom: int
    flip: bool

    @classmethod
    def draw(cls, image: Tensor, scale: tuple[float, float], ratio: tuple[float, float], flip: float) -> "Crop":
        """Draw a crop from torch's global generator.

        Args:
            image: The image (c, H, W); only its size counts.
            scale: Range of the area, as a part of the image's.
            ratio: Range of the aspect ratio, as a factor on the image's own (sec. 4.2).
            flip: Probability of a flip.
        """
        aspect = image.shape[-1] / image.shape[-2]
        top, left, height, width = RandomResizedCrop.get_params(
            image, list(scale), [ratio[0] * aspect, ratio[1] * aspect]
        )
        return cls(left, top, left + width, top + height, bool(torch.rand(()) < flip))

    def cut(self, image: Tensor, size: int) -> Tensor:
        """Return the view (c, size, size) of an image (c, H, W), resized with antialiasing."""
        view: Tensor = F.resized_crop(
            image, self.top, self.left, self.bottom - self.top, self.right - self.left, [size, size], antialias=True
        )
        return view.flip(-1) if self.flip else view

    def grid(self, cells: int) -> ViewGrid:
        """Return where the cells x cells centres of the view lie in the image; with the view's size, its pixels.

        Example:
            >>> Crop(left=10, top=20, right=70, bottom=80, flip=True).grid(2).points[0, 0].tolist()
            [[55.0, 35.0], [25.0, 35.0]]
        """
        box = torch.tensor([self[:4]], dtype=torch.float32)
        return ViewGrid.from_boxes(box, (cells, cells), horizontal_flip=torch.tensor([self.flip]))


def labels_at(labels: Tensor, grid: ViewGrid) -> Tensor:
    """Read labels (H, W) at the points of a grid of one view, as (1, h, w); 0 where a point is not valid.

    A label is that of the pixel that holds the point: labels are never interpolated.

    Raises:
        ValueError: A valid point lies outside the labels.

    Example:
        >>> labels = torch.arange(16).view(4, 4)
        >>> labels_at(labels, Crop(left=0, top=0, right=4, bottom=4, flip=True).grid(2)).tolist()
        [[[7, 5], [15, 13]]]
    """
    x, y = grid.points.floor().long().unbind(-1)
    height, width = labels.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if (grid.valid & ~inside).any():
        raise ValueError(f"grid must have its valid points inside the labels, of size {height} x {width}")
    return labels.flatten()[(y * width + x).where(inside, 0)].where(grid.valid, 0)
