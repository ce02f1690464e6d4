"""The distance of paired images, over the levels of a network (equation 3.1)."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from correspondence_losses._reduction import Reduction, check_choice, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.alignment import (
    ELEMENT_REDUCTIONS,
    ElementReduction,
    masked_l2_loss,
    masked_l2_terms,
)

__all__ = ["MaskedL2Loss", "MaskedL2Terms"]


class MaskedL2Terms(NamedTuple):
    """The parts of :class:`MaskedL2Loss`, which is their sum: one for each level."""

    levels: tuple[Tensor, ...]


class MaskedL2Loss(ModuleWithSettings):
    r"""Makes the features of a real image and of its rendering equal on the objects, at each level of a network.

    .. math::

        \sum_\text{levels} \lVert z(X_\text{real}) - z(X_\text{syn}) \rVert_2^2

    The function is :func:`~correspondence_losses.functional.masked_l2_loss`.

    Args:
        ignore_index: The label of the background, which is not compared.
        element_reduction: ``"mean"`` over the channels and object positions of an image, or their ``"sum"``, as eq.
            3.1 is printed.
        reduction: ``"none"`` (one value for each image), ``"mean"`` or ``"sum"`` over the images.

    Shape:
        features_a, features_b: one map (b, d, h, w) or a sequence of them, in any order of levels that is the same in
        both. segments: (b, H, W) integers, or a bool mask; objects are at the same places in both images. Returns a
        scalar, or (b,) with ``reduction="none"``.

    Raises:
        TypeError, ValueError: If features and segments do not fit this.

    Source:
        Thesis, eq. 3.1, on the last three levels of RefineNet.

    Example:
        >>> import torch
        >>> real = [torch.randn(2, 256, 120 // s, 160 // s) for s in (4, 8, 16)]
        >>> synthetic = [torch.randn_like(level) for level in real]
        >>> segments = torch.randint(0, 22, (2, 120, 160))
        >>> criterion = MaskedL2Loss()
        >>> bool(criterion(real, synthetic, segments) == sum(criterion.terms(real, synthetic, segments).levels))
        True
    """

    def __init__(
        self, *, ignore_index: int = 0, element_reduction: ElementReduction = "mean", reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        check_choice("element_reduction", element_reduction, ELEMENT_REDUCTIONS)
        check_reduction(reduction)
        self.ignore_index = ignore_index
        self.element_reduction = element_reduction
        self.reduction = reduction

    def forward(
        self, features_a: Tensor | Sequence[Tensor], features_b: Tensor | Sequence[Tensor], segments: Tensor
    ) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return masked_l2_loss(features_a, features_b, segments, **self.settings())

    def terms(
        self, features_a: Tensor | Sequence[Tensor], features_b: Tensor | Sequence[Tensor], segments: Tensor
    ) -> MaskedL2Terms:
        """Return the loss of each level."""
        return MaskedL2Terms(masked_l2_terms(features_a, features_b, segments, **self.settings()))
