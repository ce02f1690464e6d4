"""A folder of images and labels of your own classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.background import BackgroundLike, as_background, find_images
from correspondence_losses.reference.data.checks import check_label, check_size
from correspondence_losses.reference.data.class_names import CLASSES_FILE, read_class_names
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color, read_gray8, read_size
from correspondence_losses.reference.data.source import SPLITS, Frame, FrameSource

__all__ = ["OwnClasses"]


class OwnClasses(FrameSource):
    """Images and labels of classes of your own, of any number up to 256.

    ::

        classes.yaml                   names: [background, mug, screwdriver]
        {train,val,keyframe,synthetic}/
            images/NAME.{png,jpg,jpeg,bmp,webp}
            labels/NAME.png            the class of each pixel, 8 bit

    Any of the splits may be missing, and a split of unlabelled images has no ``labels``. Images may lie in subfolders,
    their labels in the same ones.

    Args:
        root: The folder.
        background: What to put behind images with transparency, as :func:`~.background.as_background` takes it.

    Raises:
        DataError: There is no split, ``classes.yaml`` is damaged, or the background cannot be read.
    """

    layout = "own-classes"

    def __init__(self, root: Path | str, *, background: BackgroundLike = None) -> None:
        self.root = Path(root)
        self.class_names = read_class_names(self.root / CLASSES_FILE)
        self.background = as_background(background)
        self._images: dict[str, dict[str, Path]] = {}
        if not self.splits():
            raise DataError(f"{self.root}: holds none of {', '.join(f'{split}/images' for split in SPLITS)}")

    @staticmethod
    def is_here(root: Path) -> bool:
        """Say whether ``root`` holds this layout."""
        return (root / CLASSES_FILE).is_file() and any((root / split / "images").is_dir() for split in SPLITS)

    def splits(self) -> list[str]:
        """Return the splits that are there."""
        return [split for split in SPLITS if (self.root / split / "images").is_dir()]

    def frames(self, split: str) -> list[str]:
        """Return the ids of a split, such as ``"train/NAME"``, in natural order."""
        self._check_split(split)
        return list(self._of(split))

    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return the image of a frame: (H, W, 3) RGB, or RGBA if it has transparency."""
        return read_color(self._image(frame))

    def label(self, frame: str) -> NDArray[np.uint8]:
        """Return the (H, W) class of each pixel."""
        image = self._image(frame)
        split, _, name = frame.partition("/")
        path = self.root / split / "labels" / f"{name}.png"
        label = read_gray8(path)
        check_size(path, label, read_size(image), image)
        check_label(path, label, len(self.class_names))
        return label

    def frame(self, frame: str, seed: int = 0) -> Frame:  # noqa: ARG002
        """Raise :class:`DataError`: no depth, poses or camera are known."""
        raise DataError(f"{self._image(frame)}: has no depth and no poses, this is a folder of images and labels")

    def _image(self, frame: str) -> Path:
        split = frame.partition("/")[0]
        found = self._of(split).get(frame) if split in SPLITS else None
        if found is None:
            raise ValueError(f"frame must be an image of {self.root}, such as train/NAME, got {frame!r}")
        return found

    def _of(self, split: str) -> dict[str, Path]:
        """Return the images of a split by the ids of their frames."""
        if split not in self._images:
            folder = self.root / split / "images"
            found: dict[str, Path] = {}
            for path in find_images(folder):
                frame = f"{split}/{path.relative_to(folder).with_suffix('').as_posix()}"
                if frame in found:
                    raise DataError(f"{path}: has the name of {found[frame].name}, and labels are found by name")
                found[frame] = path
            self._images[split] = found
        return self._images[split]
