"""Reading single files of a data set: each function returns what it promises or raises :class:`DataError`.

Pillow reports damaged files with whatever exception the damage happens to provoke, so the boundary to it catches
``Exception`` and names the file instead.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.mat import read_arrays
from correspondence_losses.reference.files import reading

MAX_PIXELS = 64 * 2**20
"""Images above this size are refused before they are decoded: they are damaged headers, or made to exhaust memory."""

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What is decoded, whatever a file is called: Pillow knows dozens of formats, and runs Ghostscript for one of them."""

_T = TypeVar("_T")
_COLOR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def read_color(path: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """Read an 8-bit image as (H, W, 3) RGB, or as (H, W, 4) RGBA if it has transparency.

    Args:
        path: The image file.
        upright: Turn the image as its EXIF orientation says, which photographs need and data sets with labels do not.

    Raises:
        DataError: The file is missing or damaged, or is not an 8-bit image.
    """

    def decode(image: Image.Image) -> NDArray[np.uint8]:
        if image.mode not in _COLOR_MODES:
            raise DataError(f"{path}: wanted an 8-bit colour image, got one of mode {image.mode}")
        turned = ImageOps.exif_transpose(image) if upright else image
        return np.array(turned.convert("RGBA" if turned.has_transparency_data else "RGB"), dtype=np.uint8)

    return _read_image(path, decode)


def read_gray8(path: Path) -> NDArray[np.uint8]:
    """Read an image of one 8-bit channel, such as labels or a mask, as (H, W) ``uint8``.

    Raises:
        DataError: The file is missing or damaged, or has other channels.
    """

    def decode(image: Image.Image) -> NDArray[np.uint8]:
        # In mode "P" the array holds the palette indices, which are the labels that a palette was added to.
        if image.mode not in ("L", "P"):
            raise DataError(f"{path}: wanted one 8-bit channel, got an image of mode {image.mode}")
        return np.array(image, dtype=np.uint8)

    return _read_image(path, decode)


def read_gray16(path: Path) -> NDArray[np.uint16]:
    """Read an image of one 16-bit channel, such as depth, as (H, W) ``uint16``.

    Raises:
        DataError: The file is missing or damaged, or has other channels.
    """

    def decode(image: Image.Image) -> NDArray[np.uint16]:
        # Pillow gives 16-bit PNGs the mode "I" in some versions and "I;16" in others.
        if image.mode not in ("I", "I;16", "I;16B"):
            raise DataError(f"{path}: wanted one 16-bit channel, got an image of mode {image.mode}")
        values = np.array(image)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise DataError(f"{path}: wanted 16-bit values, got {values.min()} to {values.max()}")
        return values.astype(np.uint16)

    return _read_image(path, decode)


def read_size(path: Path) -> tuple[int, int]:
    """Read the (H, W) of an image from its header alone.

    Raises:
        DataError: The file is missing or its header damaged.
    """
    return _read_image(path, lambda image: (image.height, image.width))


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read named numeric arrays from a MATLAB 5 file, and nothing else of it.

    Args:
        path: The ``.mat`` file.
        required: Names that must be there.
        optional: Names that may be there.

    Raises:
        DataError: The file is missing or damaged, is of another MAT version, lacks a required name, or holds something
            that is not a real numeric array with finite values.
    """
    with reading(path, "a MATLAB 5 file", DataError):
        arrays = read_arrays(path.read_bytes(), (*required, *optional))
    missing = [name for name in required if name not in arrays]
    if missing:
        raise DataError(f"{path}: has no {' and no '.join(missing)}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(f"{path}: {name} holds values that are not finite")
    return arrays


def _read_image(path: Path, decode: Callable[[Image.Image], _T]) -> _T:
    with reading(path, "an image", DataError), Image.open(path, formats=IMAGE_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{path}: claims {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
        return decode(image)
