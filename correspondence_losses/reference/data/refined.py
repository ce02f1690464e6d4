"""A data set whose images were refined by an image translator, and whose annotation still holds."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.checks import check_size
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color
from correspondence_losses.reference.data.source import Frame, FrameSource


class RefinedImages(FrameSource):
    """The frames of another source with other images: synthetic images made more real, with their labels.

    Args:
        source: The data set with the annotation.
        root: The folder of the refined images: that of frame ``data_syn/000001`` is
            ``root/data_syn/000001-color.png``, opaque and of the frame's size.

    Raises:
        DataError: ``root`` is no folder.

    Source:
        Imbusch, Schwarz and Behnke 2022, Synthetic-to-Real Domain Adaptation using Contrastive Unpaired Translation.
    """

    def __init__(self, source: FrameSource, root: Path | str) -> None:
        self.source = source
        self.root = Path(root)
        self.layout = f"{source.layout}, refined"
        self.class_names = source.class_names
        self.background = source.background
        if not self.root.is_dir():
            raise DataError(f"{self.root}: is not a folder of refined images")

    def splits(self) -> list[str]:
        """Return the source's splits."""
        return self.source.splits()

    def frames(self, split: str) -> list[str]:
        """Return the source's frames of a split."""
        return self.source.frames(split)

    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return the refined image, (H, W, 3) RGB: it is opaque."""
        size = self.source.label(frame).shape  # checks that the frame is one of the source's, too
        path = self.root / f"{frame}-color.png"
        image = read_color(path)
        if image.shape[2] == 4 and (image[..., 3] < 255).any():
            raise DataError(f"{path}: must be opaque, got transparent pixels")
        check_size(path, image, size, self.source.root / frame)
        return image[..., :3]

    def label(self, frame: str) -> NDArray[np.uint8]:
        """Return the source's label."""
        return self.source.label(frame)

    def frame(self, frame: str, seed: int = 0) -> Frame:
        """Return all that is known about a frame, with the refined image."""
        return dataclasses.replace(self.source.frame(frame, seed), image=self.image(frame))
