"""The distance between paired feature maps (equation 3.1)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_integer,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
    check_tensor,
)
from correspondence_losses._precision import at_least_float32
from correspondence_losses._reduction import Reduction, check_choice, check_reduction, reduce

__all__ = ["ElementReduction", "masked_l2_loss"]

ElementReduction = Literal["mean", "sum"]
"""How the squared differences of one image become its loss."""
ELEMENT_REDUCTIONS = get_args(ElementReduction)


def masked_l2_loss(
    features_a: Tensor | Sequence[Tensor],
    features_b: Tensor | Sequence[Tensor],
    segments: Tensor,
    *,
    ignore_index: int = 0,
    element_reduction: ElementReduction = "mean",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared Euclidean distance of paired feature maps where the image shows an object.

    For each image, summed over the levels of a network,

    .. math::

        \lVert z(X_\text{real}) - z(X_\text{syn}) \rVert_2^2 = \sum_{c} \sum_{p \in \text{objects}} (a_{cp} - b_{cp})^2

    The sum is equation 3.1 as printed. The mean, over the channels and the positions of the objects, keeps the size of
    the loss independent of the level, of the width of the network and of how much of the image the objects fill.

    Args:
        features_a: Feature maps of one domain, ``(..., d, h, w)``, or a sequence of them, one for each level.
        features_b: Those of the other domain, of the same shapes.
        segments: Where the objects are: a label map ``(..., H, W)`` of integers, or a bool mask of that shape. Both
            images show the objects at the same places. Where the map has another size than the features, each cell
            takes the label nearest to its centre. Nothing outside the objects has any effect, not even a NaN.
        ignore_index: The label of the background.
        element_reduction: ``"mean"`` over the channels and object positions of an image, or their ``"sum"``.
        reduction: ``"none"`` returns one value for each image, ``(...)``; ``"mean"`` their mean, ``"sum"`` their sum.
            An image without objects has the value 0 and counts.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError: If the features are not floating point, or ``segments`` is neither integer nor bool.
        ValueError: If shapes, devices or numbers of levels differ, features are empty, or a reduction is unknown.

    Source:
        Thesis, eq. 3.1.

    Example:
        >>> features_a, features_b = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
        >>> objects = torch.arange(16).view(1, 4, 4).expand(2, -1, -1) < 5
        >>> masked_l2_loss(features_a, features_b, objects)
        tensor(1.)
        >>> masked_l2_loss(features_a, features_b, objects, element_reduction="sum", reduction="none")
        tensor([15., 15.])
    """
    terms = masked_l2_terms(
        features_a,
        features_b,
        segments,
        ignore_index=ignore_index,
        element_reduction=element_reduction,
        reduction=reduction,
    )
    return sum(terms[1:], start=terms[0])


def masked_l2_terms(
    features_a: Tensor | Sequence[Tensor],
    features_b: Tensor | Sequence[Tensor],
    segments: Tensor,
    *,
    ignore_index: int = 0,
    element_reduction: ElementReduction = "mean",
    reduction: Reduction = "mean",
) -> tuple[Tensor, ...]:
    """Return the parts of :func:`masked_l2_loss`, which is their sum: one for each level."""
    levels_a = [features_a] if isinstance(features_a, Tensor) else list(features_a)
    levels_b = [features_b] if isinstance(features_b, Tensor) else list(features_b)
    if not levels_a or len(levels_a) != len(levels_b):
        raise ValueError(
            "features_a and features_b must have the same levels, at least one, "
            f"got {len(levels_a)} and {len(levels_b)}"
        )
    check_choice("element_reduction", element_reduction, ELEMENT_REDUCTIONS)
    check_reduction(reduction)
    check_tensor("segments", segments)
    if segments.dtype != torch.bool:
        check_integer("segments", segments)
    check_rank("segments", segments, 2, "(..., H, W)", exact=False)
    check_not_empty("segments", segments)
    single = isinstance(features_a, Tensor)
    for index, (a, b) in enumerate(zip(levels_a, levels_b, strict=True)):
        name_a, name_b = ("features_a", "features_b") if single else (f"features_a[{index}]", f"features_b[{index}]")
        check_floating(name_a, a)
        check_rank(name_a, a, 3, "(..., d, h, w)", exact=False)
        check_not_empty(name_a, a)
        check_floating(name_b, b)
        check_shape(name_b, b, a.shape, f"that of {name_a}")
        check_same_device(name_b, b, name_a, a)
        check_shape("segments", segments, (*a.shape[:-3], *segments.shape[-2:]), f"leading dimensions of {name_a}")
        check_same_device("segments", segments, name_a, a)
    objects = segments if segments.dtype == torch.bool else segments.long() != ignore_index
    return tuple(
        reduce(_of_images(a, b, _resized(objects, a), element_reduction), reduction)
        for a, b in zip(levels_a, levels_b, strict=True)
    )


def _of_images(a: Tensor, b: Tensor, objects: Tensor, element_reduction: ElementReduction) -> Tensor:
    difference = at_least_float32(a) - at_least_float32(b)
    # Chosen, not multiplied: 0 times an infinite background would be NaN.
    squared = torch.where(objects[..., None, :, :], difference, 0).square().sum(dim=(-3, -2, -1))
    if element_reduction == "sum":
        return squared
    return squared / (objects.sum(dim=(-2, -1)) * a.shape[-3]).clamp(min=1)


def _resized(objects: Tensor, features: Tensor) -> Tensor:
    size = (features.shape[-2], features.shape[-1])
    if objects.shape[-2:] == size:
        return objects
    # In integers: where a centre lies between two pixels, rounding would decide which of them it sees.
    rows, columns = (
        (2 * torch.arange(cells, device=objects.device) + 1) * pixels // (2 * cells)
        for cells, pixels in zip(size, objects.shape[-2:], strict=True)
    )
    return objects.index_select(-2, rows).index_select(-1, columns)
