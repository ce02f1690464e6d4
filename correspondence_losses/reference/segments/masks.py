"""From overlapping binary masks to one label map."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_SEGMENTS = int(np.iinfo(np.uint16).max)

MaskSet = Mapping[str, Any] | Iterable[Mapping[str, Any]] | Iterable[ArrayLike]
"""Masks as :func:`paint_masks` takes them."""


def paint_masks(masks: MaskSet, size: tuple[int, int], *, min_area: int = 0) -> NDArray[np.uint16]:
    """Paint masks into one label map, the largest first, so that smaller ones stand on top of larger ones.

    Masks may overlap and may leave pixels free: a pixel belongs to the smallest mask that covers it, and is 0 under
    none. Masks of equal area are painted in the order of their content, so the label map does not depend on the
    order in which they are given. Masks that smaller ones cover completely vanish.

    Args:
        masks: Any of: a stack (n, H, W) or a sequence of n masks (H, W); a sequence of dictionaries with
            ``"segmentation"``, as Segment Anything and SAM 2 give them; a dictionary with ``"masks"``, as the mask
            generation pipeline of transformers gives it. Boolean, or integer with values 0 and 1.
        size: (H, W).
        min_area: Masks with fewer pixels are left out.

    Returns:
        (H, W) ``uint16`` labels: 0, and 1 to the number of visible segments in the order of decreasing mask area.

    Raises:
        TypeError: A mask is neither boolean nor integer.
        ValueError: A mask has another size or values besides 0 and 1, there are more than 65,535 masks, or
            ``min_area`` is negative.

    Example:
        >>> large, small = np.ones((2, 4), bool), np.zeros((2, 4), bool)
        >>> small[0, 1:3] = True
        >>> paint_masks([small, large], (2, 4)).tolist()
        [[1, 2, 2, 1], [1, 1, 1, 1]]

    Source:
        Sec. 4.5.1 of the thesis: "sorted by size (descending) and then drawn on top of each other".
    """
    if min_area < 0:
        raise ValueError(f"min_area must be at least 0, got {min_area}")
    kept = [mask for mask in as_masks(masks, size) if mask.sum() >= max(min_area, 1)]
    if len(kept) > MAX_SEGMENTS:
        raise ValueError(f"masks must be at most {MAX_SEGMENTS}, got {len(kept)}")
    kept.sort(key=lambda mask: (int(mask.sum()), np.packbits(mask).tobytes()), reverse=True)
    painted = np.zeros(size, dtype=np.uint16)
    for label, mask in enumerate(kept, start=1):
        painted[mask] = label
    visible = np.bincount(painted.reshape(-1), minlength=len(kept) + 1) > 0
    visible[0] = False
    return (np.cumsum(visible) * visible).astype(np.uint16)[painted]


def as_masks(masks: MaskSet, size: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """Return masks in any of the forms that :func:`paint_masks` takes as a list of (H, W) ``bool`` arrays.

    Raises:
        TypeError: A mask is neither boolean nor integer.
        ValueError: A dictionary has no masks, a mask has another size, or values besides 0 and 1.
    """
    if isinstance(masks, Mapping):
        masks = _field(masks, "masks")
    return [
        _as_mask(_field(mask, "segmentation") if isinstance(mask, Mapping) else mask, index, size)
        for index, mask in enumerate(masks)
    ]


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise ValueError(f"masks given as dictionaries must have {name!r}, got keys {sorted(record)}")
    return record[name]


def _as_mask(mask: ArrayLike, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype.kind not in "biu":
        raise TypeError(f"masks[{index}] must be boolean or integer, got {array.dtype}")
    if array.shape != tuple(size):
        raise ValueError(f"masks[{index}] must have shape {tuple(size)}, got {array.shape}")
    if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"masks[{index}] must hold 0 and 1, got values from {array.min()} to {array.max()}")
    return array.astype(np.bool_)
