"""Losses between the features of two domains as modules: CORAL, the maximum mean discrepancy, class prototypes."""

from collections.abc import Sequence

from torch import Tensor

from correspondence_losses._checks import check_positive
from correspondence_losses._reduction import Reduction, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.distributions import coral_loss, mmd_loss
from correspondence_losses.functional.prototypes import prototype_alignment_loss

__all__ = ["CORALLoss", "MMDLoss", "PrototypeAlignmentLoss"]


class CORALLoss(ModuleWithSettings):
    """CORAL: the squared distance between the covariances of two sets of vectors.

    The function is :func:`~correspondence_losses.functional.coral_loss`, which says what it computes.

    Args:
        gather: Whether the vectors are those of all ranks, each of which has as many.

    Shape:
        source (..., n, d), target (..., m, d), floating point. Returns (...).

    Example:
        >>> import torch
        >>> CORALLoss()(torch.randn(64, 16), torch.randn(32, 16)).shape
        torch.Size([])
    """

    def __init__(self, *, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        return coral_loss(source, target, **self.settings())


class MMDLoss(ModuleWithSettings):
    """The squared maximum mean discrepancy between two sets of vectors, with several Gaussian kernels.

    The function is :func:`~correspondence_losses.functional.mmd_loss`, which says what it computes.

    Args:
        bandwidths: Factors on the mean squared distance, above 0; a kernel for each.
        gather: Whether the vectors are those of all ranks, each of which has as many.

    Shape:
        source (..., n, d), target (..., m, d), floating point. Returns (...).

    Example:
        >>> import torch
        >>> MMDLoss()(torch.randn(64, 16), torch.randn(32, 16)).shape
        torch.Size([])
    """

    def __init__(self, *, bandwidths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0), gather: bool = False) -> None:
        super().__init__()
        for index, factor in enumerate(bandwidths):
            check_positive(f"bandwidths[{index}]", factor)
        self.bandwidths = tuple(bandwidths)
        self.gather = gather

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        return mmd_loss(source, target, **self.settings())


class PrototypeAlignmentLoss(ModuleWithSettings):
    """Squared distance between the prototypes of each class in two domains.

    The function is :func:`~correspondence_losses.functional.prototype_alignment_loss`, which says what it computes.

    Args:
        num_segments: Number of classes; labels lie in [0, num_segments). By default it is the largest label of each
            call plus one, which synchronises with the device. ``torch.compile`` and ``gather`` need the number.
        ignore_index: A label in that range whose pixels count for no class, or ``None``.
        gather: Whether the batches are those of all ranks.
        reduction: ``"none"`` (one value for each class), ``"mean"`` or ``"sum"`` over the classes of both domains.

    Shape:
        features_a (b, d, H, W) and features_b (b', d, H', W'), floating point; segments_a (b, H, W) and segments_b
        (b', H', W'), integers. Returns a scalar, or (num_segments,) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> labels = torch.randint(0, 5, (2, 8, 8))
        >>> PrototypeAlignmentLoss(num_segments=5)(features_a, labels, features_b, labels).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        num_segments: int | None = None,
        ignore_index: int | None = None,
        gather: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.num_segments = num_segments
        self.ignore_index = ignore_index
        self.gather = gather
        self.reduction = reduction

    def forward(self, features_a: Tensor, segments_a: Tensor, features_b: Tensor, segments_b: Tensor) -> Tensor:
        """Return the loss."""
        return prototype_alignment_loss(features_a, segments_a, features_b, segments_b, **self.settings())
