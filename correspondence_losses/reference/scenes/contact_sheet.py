"""A contact sheet: frames of a data set in the layout of YCB-Video, colours over labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.data.files import read_color, read_gray8

__all__ = ["contact_sheet"]

_MARGIN = 4


def contact_sheet(
    prefixes: Sequence[Path], columns: int = 6, *, width: int = 240, labels: bool = True
) -> NDArray[np.uint8]:
    """Lay frames out in rows, each with its label map below it.

    Args:
        prefixes: Folder and number of each frame, such as ``root/data_syn/000000``.
        columns: Frames in a row.
        width: Width of each picture, pixels.
        labels: Whether to show the label maps.

    Returns:
        (H, W, 3) ``uint8`` picture.

    Raises:
        DataError: An image is missing or damaged.
        ValueError: There are no frames, or ``columns`` is below 1.
    """
    if not prefixes or columns < 1:
        raise ValueError(f"prefixes must not be empty and columns at least 1, got {len(prefixes)} and {columns}")
    tiles = [_tile(prefix, width, labels) for prefix in prefixes]
    height = max(tile.shape[0] for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _MARGIN), columns * (width + _MARGIN), 3), 255, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + _MARGIN), index % columns * (width + _MARGIN)
        sheet[top : top + tile.shape[0], left : left + width] = tile
    return sheet


def _tile(prefix: Path, width: int, labels: bool) -> NDArray[np.uint8]:
    image = Image.fromarray(read_color(prefix.with_name(f"{prefix.name}-color.png")))
    height = max(1, round(image.height * width / image.width))
    opaque = Image.new("RGBA", image.size, (124, 116, 104, 255))
    opaque.alpha_composite(image.convert("RGBA"))
    pictures = [np.asarray(opaque.convert("RGB").resize((width, height), Image.Resampling.BOX))]
    if labels:
        label = Image.fromarray(read_gray8(prefix.with_name(f"{prefix.name}-label.png")))
        pictures.append(_palette()[np.asarray(label.resize((width, height), Image.Resampling.NEAREST))])
    return np.concatenate(pictures)


def _palette() -> NDArray[np.uint8]:
    """Return (256, 3) colours that differ, black for 0."""
    hue = np.arange(256) * 0.618034 * 6
    channels = [np.abs((hue + shift) % 6 - 3) - 1 for shift in (0, 4, 2)]
    palette: NDArray[np.uint8] = (255 * np.clip(np.stack(channels, axis=-1), 0.15, 0.95)).astype(np.uint8)
    palette[0] = 0
    return palette
