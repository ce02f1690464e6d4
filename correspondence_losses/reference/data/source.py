"""What the trainer asks of a data set: its splits, their frames, and what is known about a frame."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.background import Background, composite

T = TypeVar("T")

SPLITS = ("train", "val", "keyframe", "synthetic")
"""The splits that a labelled data set may have."""


@dataclass(frozen=True, eq=False)
class Frame:
    """All that is known about one frame.

    Attributes:
        image: (H, W, 3) ``uint8`` RGB, transparency already filled with the background.
        label: (H, W) ``uint8`` class of each pixel, 0 for the background.
        depth: (H, W) ``float32`` metres along the viewing direction, 0 where there is none.
        object_ids: (n,) ``int64`` class of each object in the scene, in the order of ``poses``.
        poses: (n, 3, 4) ``float64`` rotation and translation (metres) from object to camera coordinates (x right,
            y down, z forward), in the object frame of the source's models.
        intrinsics: (3, 3) ``float64`` camera matrix; the centre of the first pixel is at (0, 0).
        object_coordinates: (H, W, 3) ``float32`` metres: the point of the object's frame that each pixel sees, or
            ``None`` where the source holds none. Zero on the background.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    depth: NDArray[np.float32]
    object_ids: NDArray[np.int64]
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    object_coordinates: NDArray[np.float32] | None


class FrameSource(ABC):
    """A data set that is read frame by frame.

    Frames are known by ids such as ``"data/0049/000001"``: unique in the data set, the same on every machine, and
    usable as relative paths. Sources hold no open files, so that worker processes can share them.

    Attributes:
        root: The folder of the data set.
        layout: Which layout was found there, for the record of a run.
        class_names: The name of each label value; empty for unlabelled images.
        background: What stands behind transparent images.
    """

    root: Path
    layout: str
    class_names: tuple[str, ...]
    background: Background

    @abstractmethod
    def splits(self) -> list[str]:
        """Return the names of the splits that are there."""

    @abstractmethod
    def frames(self, split: str) -> list[str]:
        """Return the ids of the frames of a split, in a fixed order.

        Raises:
            ValueError: There is no such split.
            DataError: A list of frames is damaged, or names a frame that is not there.
        """

    @abstractmethod
    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return a frame's image as its file holds it, ``uint8``: (H, W, 3) RGB, or (H, W, 4) RGBA if transparent.

        Args:
            frame: An id from :meth:`frames`.

        Raises:
            ValueError: ``frame`` is not an id of this source.
            DataError: The file is missing or damaged.
        """

    def image(self, frame: str, seed: int = 0) -> NDArray[np.uint8]:
        """Return the (H, W, 3) ``uint8`` RGB image of a frame, a transparent one on its background.

        Args:
            frame: An id from :meth:`frames`.
            seed: Varies the background of a transparent image, where that is drawn from a folder.

        Raises:
            ValueError: ``frame`` is not an id of this source.
            DataError: The file is missing or damaged.
        """
        return composite(self.cutout(frame), self.background, frame, seed)

    @abstractmethod
    def label(self, frame: str) -> NDArray[np.uint8]:
        """Return the (H, W) ``uint8`` class of each pixel of a frame, 0 for the background.

        Raises:
            ValueError: ``frame`` is not an id of this source.
            DataError: The file is missing or damaged, has unknown classes or another size than the image, or the
                source is not labelled.
        """

    @abstractmethod
    def frame(self, frame: str, seed: int = 0) -> Frame:
        """Return all that is known about a frame.

        Raises:
            ValueError: ``frame`` is not an id of this source.
            DataError: A file of it is missing, damaged, or does not fit the others.
        """

    def _check_split(self, split: str) -> None:
        if split not in self.splits():
            raise ValueError(f"split must be one of {self.splits()} for {self.root} ({self.layout}), got {split!r}")


def spread(items: Sequence[T], most: int | None) -> list[T]:
    """Return at most so many items, evenly spread."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
