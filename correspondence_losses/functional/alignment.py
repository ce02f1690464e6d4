"""The distance between paired feature maps (equation 3.1)."""

from typing import Literal

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses._precision import at_least_float32

__all__ = ["masked_l2_loss"]


def masked_l2_loss(a: Tensor, b: Tensor, mask: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    r"""Squared l² distance of two feature maps where a mask holds, for each image.

    .. math::

        \lVert z(X_\text{real}) - z(X_\text{syn}) \rVert_2^2 = \sum_{c} \sum_{p \in \text{mask}} (a_{cp} - b_{cp})^2

    The sum is equation 3.1 as printed. The mean, over the channels and the positions of the mask, makes the weight of
    the loss independent of the level, of the width of the network and of how much of the image the objects fill.

    Args:
        a: Feature maps of one domain, ``(..., d, h, w)``.
        b: Those of the other, of the same shape.
        mask: Where to compare, bool, ``(..., h, w)``: the pixels of objects. Nothing outside it has any effect, not
            even a NaN.
        reduction: ``"mean"`` or ``"sum"``.

    Returns:
        One value for each image, ``(...)``, in float32 or better; 0 where the mask is empty.

    Raises:
        TypeError: If a map is not floating-point, or the mask not boolean.
        ValueError: If shapes or devices differ, a map is empty, or the reduction is unknown.

    Source:
        Thesis, eq. 3.1.

    Example:
        >>> import torch
        >>> a, b = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
        >>> mask = torch.arange(16).view(1, 4, 4).expand(2, -1, -1) < 5
        >>> masked_l2_loss(a, b, mask), masked_l2_loss(a, b, mask, reduction="sum")
        (tensor([1., 1.]), tensor([15., 15.]))
    """
    check_floating("a", a)
    check_rank("a", a, 3, "(..., d, h, w)", exact=False)
    check_not_empty("a", a)
    check_floating("b", b)
    check_shape("b", b, a.shape, "that of a")
    check_same_device("b", b, "a", a)
    check_bool("mask", mask)
    check_shape("mask", mask, (*a.shape[:-3], *a.shape[-2:]), "that of a without channels")
    check_same_device("mask", mask, "a", a)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    difference = at_least_float32(a) - at_least_float32(b)
    # Chosen, not multiplied: 0 times an infinite background would be NaN.
    squared = torch.where(mask[..., None, :, :], difference, 0).square().sum(dim=(-3, -2, -1))
    if reduction == "sum":
        return squared
    return squared / (mask.sum(dim=(-2, -1)) * a.shape[-3]).clamp(min=1)
