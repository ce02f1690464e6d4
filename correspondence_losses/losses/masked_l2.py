"""The distance-based alignment of paired images, over the levels of a network (equation 3.1)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from correspondence_losses._checks import (
    check_floating,
    check_integer,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses.functional.alignment import masked_l2_loss

__all__ = ["MaskedL2Loss", "MaskedL2Terms"]


class MaskedL2Terms(NamedTuple):
    """The parts of :class:`MaskedL2Loss`, which is their sum: one scalar for each level."""

    levels: tuple[Tensor, ...]


class MaskedL2Loss(nn.Module):
    r"""Features of a real image and of its rendering alike on the objects, at each level of a network.

    .. math::

        \sum_\text{levels} \lVert z(X_\text{real}) - z(X_\text{syn}) \rVert_2^2

    with :func:`~correspondence_losses.functional.masked_l2_loss` for each image, the mean over the images, and the sum
    over the levels. The background, label ``ignore_index``, is not compared: at each level the mask is that of the
    label nearest to the centre of each cell.

    Args:
        reduction: ``"mean"`` over channels and object positions, or ``"sum"``, as eq. 3.1 is printed.
        ignore_index: The label of the background.

    Shape:
        maps_a, maps_b: one map (b, d, h, w) or a sequence of them, coarse or fine in any order, but the same in both;
        labels (b, H, W) integers: objects are at the same place in both images. Returns a scalar.

    Raises:
        TypeError, ValueError: If maps and labels do not fit this.

    Source:
        Thesis, eq. 3.1, on the last three levels of RefineNet.

    Example:
        >>> import torch
        >>> real = [torch.randn(2, 256, 120 // s, 160 // s) for s in (16, 8, 4)]
        >>> synthetic = [torch.randn_like(level) for level in real]
        >>> labels = torch.randint(0, 22, (2, 120, 160))
        >>> criterion = MaskedL2Loss()
        >>> bool(criterion(real, synthetic, labels) == sum(criterion.terms(real, synthetic, labels).levels))
        True
    """

    def __init__(self, *, reduction: Literal["mean", "sum"] = "mean", ignore_index: int = 0) -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction
        self.ignore_index = ignore_index

    def forward(self, maps_a: Tensor | Sequence[Tensor], maps_b: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """Return the sum of :meth:`terms`."""
        first, *others = self.terms(maps_a, maps_b, labels).levels
        return sum(others, start=first)

    def terms(
        self, maps_a: Tensor | Sequence[Tensor], maps_b: Tensor | Sequence[Tensor], labels: Tensor
    ) -> MaskedL2Terms:
        """Return the loss of each level."""
        levels_a = [maps_a] if isinstance(maps_a, Tensor) else list(maps_a)
        levels_b = [maps_b] if isinstance(maps_b, Tensor) else list(maps_b)
        if not levels_a or len(levels_a) != len(levels_b):
            raise ValueError(
                f"maps_a and maps_b must have the same levels, at least one, got {len(levels_a)} and {len(levels_b)}"
            )
        check_integer("labels", labels)
        check_rank("labels", labels, 3, "(b, H, W)")
        check_not_empty("labels", labels)
        for index, (a, b) in enumerate(zip(levels_a, levels_b, strict=True)):
            check_floating(f"maps_a[{index}]", a)
            check_rank(f"maps_a[{index}]", a, 4, "(b, d, h, w)")
            check_floating(f"maps_b[{index}]", b)
            check_shape(f"maps_b[{index}]", b, a.shape, f"that of maps_a[{index}]")
            check_same_device(f"maps_b[{index}]", b, f"maps_a[{index}]", a)
            check_shape("labels", labels, (len(a), *labels.shape[1:]), f"batch of maps_a[{index}]")
            check_same_device("labels", labels, f"maps_a[{index}]", a)
        objects = (labels.long() != self.ignore_index)[:, None].float()
        return MaskedL2Terms(
            tuple(
                masked_l2_loss(a, b, _resize(objects, a), reduction=self.reduction).mean()
                for a, b in zip(levels_a, levels_b, strict=True)
            )
        )


def _resize(objects: Tensor, feature_map: Tensor) -> Tensor:
    size = (feature_map.shape[2], feature_map.shape[3])
    return F.interpolate(objects, size=size, mode="nearest-exact")[:, 0] > 0
