"""Masks and label maps: overlapping masks painted into one label map, and a label map as a stack of masks."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses._checks import (
    check_count,
    check_integer,
    check_labels,
    check_not_empty,
    check_positive,
    check_rank,
)
from correspondence_losses.functional._rle import decode_rle

__all__ = ["MaskSet", "SupportsArray", "paint_masks", "segments_to_masks"]

_MASKS_AT_ONCE = 64


class SupportsArray(Protocol):
    """An array, such as one of NumPy."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the array."""


MaskSet: TypeAlias = Tensor | SupportsArray | Mapping[str, Any] | Sequence[Any]
"""Masks of one image or of a batch, in any of the forms that :func:`paint_masks` takes."""


@torch.no_grad()
def paint_masks(masks: MaskSet, size: tuple[int, int] | None = None, *, min_area: int = 0) -> Tensor:
    """Paint overlapping masks into one label map, the largest first, so that small segments lie on top of large ones.

    A pixel belongs to the smallest mask that covers it, and has label 0 under none. The order in which the masks are
    given has no effect: masks of equal area are painted in an order that depends only on their content. A mask that
    smaller ones cover completely gets no label.

    Masks are bool, or integers 0 and 1. They are NumPy arrays, tensors, lists, or COCO run-length encodings
    (``{"size", "counts"}``, uncompressed or compressed). One image's masks come as

    - a stack (n, H, W), or a sequence of n masks (H, W);
    - a sequence of dictionaries with ``"segmentation"``, as the automatic mask generators of SAM and SAM 2 return it,
      or as COCO annotations have it;
    - a dictionary with ``"masks"``, as SAM 3 and the mask generation pipeline of transformers return it.

    A batch is a stack (b, n, H, W), or a sequence with one of these forms for each image. The images of a batch have
    one size, and any number of masks each.

    Tensors stay on their device and nothing synchronises with it; there is no loop over pixels.

    Args:
        masks: The masks, in any of these forms.
        size: Height and width (H, W). Needed only where there may be no mask that tells it.
        min_area: Masks with fewer pixels are left out.

    Returns:
        Labels, int64, (H, W), or (b, H, W) for a batch. They are 0, and 1 to the number of visible segments, in the
        order of decreasing mask area.

    Raises:
        TypeError: If a mask is neither bool nor integer: threshold probabilities and logits first.
        ValueError: If masks have different sizes, a dictionary has no masks, ``size`` is missing or ``min_area``
            negative, or a mask in host memory has values besides 0 and 1.

    Source:
        Thesis, sec. 4.5.1: masks are sorted by size and drawn on top of each other, the largest first.

    Example:
        >>> large, small = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
        >>> small[0, 1:3] = True
        >>> paint_masks([small, large]).tolist()
        [[1, 2, 2, 1], [1, 1, 1, 1]]
        >>> paint_masks([{"size": [2, 4], "counts": [2, 1, 1, 1, 3]}]).tolist()  # runs go down the columns
        [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    check_positive("min_area", min_area, zero=True)
    if isinstance(masks, Sequence) and len(masks) == 0:
        return _paint(_stack("masks", masks, size)[None], min_area)[0]
    depth = _depth(masks)
    if depth == 3:
        return _paint(_stack("masks", masks, size)[None], min_area)[0]
    if depth == 4:
        return _paint(_stacks(masks, size), min_area)
    raise ValueError(f"masks must be those of an image, (n, H, W), or of a batch, (b, n, H, W), got {depth} dimensions")


def segments_to_masks(segments: Tensor, num_segments: int | None = None, *, ignore_index: int | None = 0) -> Tensor:
    """Split a label map into a stack of masks, one for each label: the inverse of :func:`paint_masks`.

    Args:
        segments: Label map, (..., H, W), integers in [0, num_segments).
        num_segments: Bound on the labels. By default it is the largest label plus one, which synchronises with the
            device; ``torch.compile`` needs the bound.
        ignore_index: The label that means "no segment", which gets no mask, or ``None``.

    Returns:
        Masks, bool, (..., s, H, W), in the order of the labels. With the default ``ignore_index``, mask i is label
        i + 1 and s is ``num_segments - 1``. The mask of a label that no pixel has is empty.

    Raises:
        TypeError: If ``segments`` is not an integer tensor, or ``num_segments`` not an integer.
        ValueError: If ``segments`` has fewer than two dimensions or is empty, ``num_segments`` is below 1, or a label
            in host memory is out of range.

    Example:
        >>> segments_to_masks(torch.tensor([[0, 1, 2]])).long().tolist()
        [[[0, 1, 0]], [[0, 0, 1]]]
    """
    check_integer("segments", segments)
    check_rank("segments", segments, 2, "(..., H, W)", exact=False)
    check_not_empty("segments", segments)
    labels = segments.long()  # PyTorch has no comparisons of uint16, in which masks are kept, nor of its like
    if num_segments is None:
        if torch.compiler.is_compiling():
            raise ValueError("num_segments must be given under torch.compile")
        num_segments = max(int(labels.max()) + 1, 1)
    check_count("num_segments", num_segments)
    check_labels("segments", labels, num_segments)
    wanted = torch.arange(num_segments, device=labels.device)
    if ignore_index is not None and 0 <= ignore_index < num_segments:
        wanted = torch.cat((wanted[:ignore_index], wanted[ignore_index + 1 :]))
    return labels.unsqueeze(-3) == wanted[:, None, None]


def _paint(masks: Tensor, min_area: int) -> Tensor:
    """Labels (b, H, W) of masks (b, n, H, W)."""
    b, n, height, width = masks.shape
    areas = masks.sum((-2, -1))
    # Sorted by area, and masks of equal area by content: the later key first, the stable sort keeps its order.
    by_content = _content_keys(masks).argsort(stable=True)
    order = by_content.gather(1, areas.gather(1, by_content).argsort(stable=True, descending=True))
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(1, n + 1, device=masks.device).expand(b, -1))
    ranks = ranks.masked_fill(areas < max(min_area, 1), 0).to(torch.int16 if n < 2**15 else torch.int32)
    painted = ranks.new_zeros(b, height, width)
    for first in range(0, n, _MASKS_AT_ONCE):
        some = slice(first, first + _MASKS_AT_ONCE)
        painted = torch.maximum(painted, (masks[:, some] * ranks[:, some, None, None]).amax(1))
    painted = painted.flatten(1).long()
    visible = torch.zeros(b, n + 1, dtype=torch.bool, device=masks.device).scatter_(1, painted, True)
    visible = visible & (torch.arange(n + 1, device=masks.device) > 0)
    return (visible.cumsum(1) * visible).gather(1, painted).view(b, height, width)


def _content_keys(masks: Tensor) -> Tensor:
    """A number (b, n) for each mask (b, n, H, W) that its content alone decides; equal for equal masks."""
    pixels = masks.flatten(2)
    words = F.pad(pixels.to(torch.uint8), (0, -pixels.shape[-1] % 8)).contiguous().view(torch.int64)
    # A sum of the mask's words, weighted by numbers as good as random, that overflows as it may.
    weights = torch.arange(1, words.shape[-1] + 1, device=masks.device) * -0x61C8864680B583EB
    weights = (weights ^ (weights >> 29)) * -0x40A7B892E31B1A47 | 1
    return (words * weights).sum(-1)


def _stacks(masks: Any, size: tuple[int, int] | None) -> Tensor:
    """The masks of a batch as (b, n, H, W), bool, where n is the largest number; the rest is empty masks."""
    if _is_array(masks):
        stacks = _bool("masks", _tensor("masks", masks))
        _check_size("masks", stacks, size or (stacks.shape[-2], stacks.shape[-1]))
        return stacks
    of_images = [_stack(f"masks[{index}]", image, size) for index, image in enumerate(masks)]
    for index, stack in enumerate(of_images):
        _check_size(f"masks[{index}]", stack, (of_images[0].shape[-2], of_images[0].shape[-1]))
    most = max(len(stack) for stack in of_images)
    return torch.stack([F.pad(stack, (0, 0, 0, 0, 0, most - len(stack))) for stack in of_images])


def _depth(masks: Any) -> int:
    """The number of dimensions of masks in any form: 2 for a mask, 3 for those of an image, 4 for those of a batch."""
    if isinstance(masks, Mapping):
        return 3 if "masks" in masks else 2
    if _is_array(masks):
        return int(masks.ndim)
    if isinstance(masks, Sequence) and not isinstance(masks, str | bytes):
        return 1 + _depth(masks[0]) if len(masks) > 0 else 3  # an image without masks
    return 0


def _stack(name: str, masks: Any, size: tuple[int, int] | None) -> Tensor:
    """The masks of one image as (n, H, W), bool."""
    if isinstance(masks, Mapping):
        masks = _field(name, masks, "masks")
        if not _is_array(masks):
            masks = [mask[0] if _depth(mask) == 3 and len(mask) == 1 else mask for mask in masks]
        elif masks.ndim == 4 and masks.shape[1] == 1:  # as SAM 3 returns them
            masks = masks[:, 0]
    if _is_array(masks):
        stack = _bool(name, _tensor(name, masks))
        check_rank(name, stack, 3, "(n, H, W)")
    elif len(masks) > 0:
        of_masks = [_mask(f"{name}[{index}]", mask) for index, mask in enumerate(masks)]
        for index, mask in enumerate(of_masks):
            _check_size(f"{name}[{index}]", mask, size or (of_masks[0].shape[-2], of_masks[0].shape[-1]))
        stack = torch.stack(of_masks)
    elif size is None:
        raise ValueError(f"size must be given where {name} may be empty")
    else:
        stack = torch.zeros(0, *size, dtype=torch.bool)
    if size is not None:
        _check_size(name, stack, size)
    return stack


def _mask(name: str, mask: Any) -> Tensor:
    if isinstance(mask, Mapping) and "counts" not in mask:
        mask = _field(name, mask, "segmentation")
    if isinstance(mask, Mapping):
        return decode_rle(name, mask)
    return _bool(name, _tensor(name, mask))


def _tensor(name: str, masks: Any) -> Tensor:
    try:
        if isinstance(masks, Tensor):
            return masks
        # Copied, since an array may be read-only or run backwards.
        return torch.as_tensor(masks.copy() if _is_array(masks) else masks)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a mask of numbers: {error}") from error


def _bool(name: str, masks: Tensor) -> Tensor:
    if masks.dtype == torch.bool:
        return masks
    if masks.is_floating_point() or masks.is_complex():
        raise TypeError(f"{name} must be bool or integer, got {masks.dtype}: threshold it first, as in masks > 0")
    masks = masks.long()
    if masks.device.type == "cpu" and masks.numel() > 0 and not torch.compiler.is_compiling():
        low, high = masks.aminmax()
        if low < 0 or high > 1:
            raise ValueError(f"{name} must hold 0 and 1, got values from {int(low)} to {int(high)}")
    return masks != 0


def _check_size(name: str, masks: Tensor, size: tuple[int, int]) -> None:
    if masks.ndim < 2 or tuple(masks.shape[-2:]) != tuple(size):
        raise ValueError(f"{name} must have the size {tuple(size)}, got shape {tuple(masks.shape)}")


def _field(name: str, record: Mapping[str, Any], field: str) -> Any:
    if field not in record:
        raise ValueError(f"{name} as a dictionary must have {field!r}, got keys {sorted(record)}")
    return record[field]


def _is_array(masks: Any) -> bool:
    return hasattr(masks, "ndim") and hasattr(masks, "dtype")
