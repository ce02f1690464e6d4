"""Unlabelled images of a folder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.background import BackgroundLike, as_background, find_images
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color
from correspondence_losses.reference.data.source import Frame, FrameSource


class ImageFolder(FrameSource):
    """The images of a folder and its subfolders, without labels.

    PNG, JPEG, BMP and WebP files, in natural order, in one split ``unlabeled``. A frame's id is its path below the
    folder, with the ending, since ``a.png`` and ``a.jpg`` may be different images. Photographs are turned as their
    EXIF orientation says.

    Args:
        root: The folder.
        background: What to put behind images with transparency, as :func:`~.background.as_background` takes it.

    Raises:
        DataError: The folder is missing or holds no image, or the background cannot be read.
    """

    layout = "image-folder"

    def __init__(self, root: Path | str, *, background: BackgroundLike = None) -> None:
        self.root = Path(root)
        self.class_names = ()
        self.background = as_background(background)
        self._frames = [path.relative_to(self.root).as_posix() for path in find_images(self.root)]
        self._known = frozenset(self._frames)

    def splits(self) -> list[str]:
        """Return ``["unlabeled"]``."""
        return ["unlabeled"]

    def frames(self, split: str = "unlabeled") -> list[str]:
        """Return the ids of all images."""
        self._check_split(split)
        return list(self._frames)

    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return an image as (H, W, 3) RGB, or RGBA if it has transparency."""
        if frame not in self._known:
            raise ValueError(f"frame must be one of the images below {self.root}, got {frame!r}")
        return read_color(self.root / frame, upright=True)

    def label(self, frame: str) -> NDArray[np.uint8]:
        """Raise :class:`DataError`: the images have no labels."""
        raise DataError(f"{self.root / frame}: has no label, this is a folder of unlabelled images")

    def frame(self, frame: str, seed: int = 0) -> Frame:  # noqa: ARG002
        """Raise :class:`DataError`: nothing is known of the images."""
        raise DataError(f"{self.root / frame}: has no annotation, this is a folder of unlabelled images")
