"""Features beside those of a teacher or a frozen encoder: Gram anchoring, kernel alignment and feature distance."""

from torch import Tensor

from correspondence_losses._checks import check_positive
from correspondence_losses._reduction import Reduction, check_choice, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.alignment import ELEMENT_REDUCTIONS, ElementReduction
from correspondence_losses.functional.similarity import (
    DISTANCES,
    Distance,
    feature_distance_loss,
    gram_loss,
    kernel_alignment_loss,
)

__all__ = ["FeatureDistanceLoss", "GramLoss", "KernelAlignmentLoss"]


class _TeacherLoss(ModuleWithSettings):
    """The settings that all losses beside a teacher have."""

    def __init__(self, detach_target: bool, reduction: Reduction) -> None:
        super().__init__()
        check_reduction(reduction)
        self.detach_target = detach_target
        self.reduction = reduction


class GramLoss(_TeacherLoss):
    """Gram anchoring: the similarities among an image's features should be those among a teacher's.

    The function is :func:`~correspondence_losses.functional.gram_loss`, which says what it computes. For feature maps,
    see :func:`~correspondence_losses.losses.on_matches` and :func:`~correspondence_losses.losses.on_segments`; for two
    maps of one grid, flatten them: ``features.flatten(2).mT``.

    Args:
        detach_target: Whether ``targets`` is constant.
        element_reduction: ``"mean"`` over the pairs of an image, or their ``"sum"``, as the equation is printed.
        reduction: ``"none"`` (one value for each image), ``"mean"`` or ``"sum"`` over the images.

    Shape:
        features (..., k, d), targets (..., k, d'), floating point. Returns a scalar, or (...) with
        ``reduction="none"``.

    Example:
        >>> import torch
        >>> student, teacher = torch.randn(2, 64, 14, 14), torch.randn(2, 384, 14, 14)
        >>> GramLoss()(student.flatten(2).mT, teacher.flatten(2).mT).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        detach_target: bool = True,
        element_reduction: ElementReduction = "mean",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(detach_target, reduction)
        check_choice("element_reduction", element_reduction, ELEMENT_REDUCTIONS)
        self.element_reduction = element_reduction

    def forward(self, features: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return gram_loss(features, targets, valid=valid, **self.settings())


class KernelAlignmentLoss(_TeacherLoss):
    """Patch kernel alignment: the similarities among an image's features should be proportional to a teacher's.

    The function is :func:`~correspondence_losses.functional.kernel_alignment_loss`, which says what it computes. Maps
    are given as to :class:`GramLoss`.

    Args:
        detach_target: Whether ``targets`` is constant.
        eps: Norms below it count as it; above 0.
        reduction: ``"none"`` (one value for each image), ``"mean"`` or ``"sum"`` over the images.

    Shape:
        features (..., k, d), targets (..., k, d'), floating point. Returns a scalar, or (...) with
        ``reduction="none"``.

    Example:
        >>> import torch
        >>> features = torch.randn(2, 16, 8, dtype=torch.float64)
        >>> round(KernelAlignmentLoss()(features, 2 * features).abs().item(), 6)
        0.0
    """

    def __init__(self, *, detach_target: bool = True, eps: float = 1e-6, reduction: Reduction = "mean") -> None:
        super().__init__(detach_target, reduction)
        check_positive("eps", eps)
        self.eps = eps

    def forward(self, features: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return kernel_alignment_loss(features, targets, valid=valid, **self.settings())


class FeatureDistanceLoss(_TeacherLoss):
    """Feature distance: features should stay near those of a frozen encoder.

    The function is :func:`~correspondence_losses.functional.feature_distance_loss`, which says what it computes. Maps
    are given as to :class:`GramLoss`.

    Args:
        detach_target: Whether ``targets`` is constant.
        distance: ``"euclidean"`` or ``"cosine"``.
        reduction: ``"none"`` (one value for each feature), ``"mean"`` or ``"sum"`` over the valid features.

    Shape:
        features and targets (..., k, d), floating point. Returns a scalar, or (..., k) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> FeatureDistanceLoss()(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor(5.)
    """

    def __init__(
        self, *, detach_target: bool = True, distance: Distance = "euclidean", reduction: Reduction = "mean"
    ) -> None:
        super().__init__(detach_target, reduction)
        check_choice("distance", distance, DISTANCES)
        self.distance = distance

    def forward(self, features: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return feature_distance_loss(features, targets, valid=valid, **self.settings())
