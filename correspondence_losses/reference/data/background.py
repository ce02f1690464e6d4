"""Backgrounds for images that are transparent where no object is, as the synthetic ones of YCB-Video are."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
"""File name endings, in lower case, that count as images in a folder of images."""

DEFAULT_COLOR = (124, 116, 104)
"""The mean colour of ImageNet: close to 0 in every channel after the usual normalisation."""

_KEPT_SIZE = 1024
_SMALLEST_CROP = 1 / 3


class Background(ABC):
    """What stands behind a transparent image."""

    @abstractmethod
    def render(self, size: tuple[int, int], frame: str, seed: int) -> NDArray[np.uint8]:
        """Return the (H, W, 3) background of ``frame``: the same one whenever size, frame and seed are the same."""


class SolidBackground(Background):
    """One colour for every frame.

    Args:
        color: Red, green and blue, each 0 to 255. Default: the mean colour of ImageNet.

    Raises:
        ValueError: ``color`` is not three values from 0 to 255.

    Example:
        >>> SolidBackground((10, 20, 30)).render((1, 2), "data_syn/000000", seed=0).tolist()
        [[[10, 20, 30], [10, 20, 30]]]
    """

    def __init__(self, color: Sequence[int] = DEFAULT_COLOR) -> None:
        if len(color) != 3 or not all(0 <= channel <= 255 for channel in color):
            raise ValueError(f"color must be three values from 0 to 255, got {tuple(color)}")
        self.color = tuple(int(channel) for channel in color)

    def render(self, size: tuple[int, int], frame: str, seed: int) -> NDArray[np.uint8]:  # noqa: ARG002
        """Return the colour everywhere."""
        return np.broadcast_to(np.array(self.color, dtype=np.uint8), (*size, 3))


class ImageBackground(Background):
    """A random crop of a random image of a folder, drawn anew for each frame and seed.

    The crop has the frame's shape, a random place, and from a third of the largest possible size up to all of it; every
    second one is mirrored.

    Args:
        folder: Searched for images, subfolders included.

    Raises:
        DataError: There is no image in ``folder``.
    """

    def __init__(self, folder: Path | str) -> None:
        self.paths = find_images(Path(folder))

    def render(self, size: tuple[int, int], frame: str, seed: int) -> NDArray[np.uint8]:
        """Return the crop for ``frame`` and ``seed``."""
        # Python's own hash differs from process to process.
        digest = hashlib.sha256(f"{seed}:{frame}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        path = self.paths[int(rng.integers(len(self.paths)))]
        picture = _picture(path, path.stat().st_mtime_ns)
        height, width = size
        part = rng.uniform(_SMALLEST_CROP, 1) * min(picture.width / width, picture.height / height)
        left, top = rng.random() * (picture.width - part * width), rng.random() * (picture.height - part * height)
        box = (left, top, left + part * width, top + part * height)
        crop = picture.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        return np.array(ImageOps.mirror(crop) if rng.random() < 0.5 else crop, dtype=np.uint8)


@lru_cache(maxsize=64)
def _picture(path: Path, changed: int) -> Image.Image:  # noqa: ARG001  # a file that has changed is another picture
    """Read a picture; it is kept, smaller than it may be, since decoding takes longer than all that is done with it."""
    picture = Image.fromarray(np.ascontiguousarray(read_color(path, upright=True)[..., :3]))
    picture.thumbnail((_KEPT_SIZE, _KEPT_SIZE))
    return picture


BackgroundLike = Background | Sequence[int] | Path | str | None
"""A background, or what makes one: a colour, a folder of images, or nothing for the default colour."""

EXAMPLES = Path("examples")
"""Stands for the folder of scikit-image's example pictures, which show no object of YCB-Video."""


def as_background(background: BackgroundLike) -> Background:
    """Make a :class:`Background` of a colour or a folder of images; ``None`` gives the mean colour of ImageNet.

    The path ``examples`` is the folder of the example pictures that come with scikit-image.

    Raises:
        DataError: The folder holds no image.
        ValueError: The colour is not three values from 0 to 255.
    """
    if background is None:
        return SolidBackground()
    if isinstance(background, Background):
        return background
    if isinstance(background, (str, Path)):
        return ImageBackground(Path(data.__file__).parent if Path(background) == EXAMPLES else background)
    return SolidBackground(background)


def composite(image: NDArray[np.uint8], background: Background, frame: str, seed: int) -> NDArray[np.uint8]:
    """Lay an (H, W, 4) image over its background, by :func:`lay_over`; an (H, W, 3) image is returned as it is."""
    if image.shape[2] == 3:
        return image
    return lay_over(image, background.render(image.shape[:2], frame, seed))


def lay_over(image: NDArray[np.uint8], behind: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an (H, W, 4) image over an (H, W, 3) one.

    ``alpha * color + (1 - alpha) * behind``, rounded, with colours that are not premultiplied.
    """
    alpha = image[..., 3:].astype(np.uint32)
    mixed = alpha * image[..., :3] + (255 - alpha) * behind.astype(np.uint32)
    return ((mixed + 127) // 255).astype(np.uint8)


def find_images(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, in natural order (``2.png`` before ``10.png``).

    Raises:
        DataError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder")
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not paths:
        raise DataError(f"{folder}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(paths, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def _natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    # Every piece becomes a triple of one type, so that digits and letters compare; the text itself breaks ties.
    pieces = re.split(r"([0-9]+)", text)
    return [(0, int(piece), "") if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces)], text
