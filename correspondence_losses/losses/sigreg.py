"""SIGReg and LeJEPA as modules."""

from torch import Tensor

from correspondence_losses._reduction import Reduction, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.sigreg import (
    LeJEPATerms,
    check_lejepa_settings,
    check_sigreg_settings,
    lejepa_loss,
    lejepa_terms,
    sigreg_loss,
)

__all__ = ["LeJEPALoss", "SIGRegLoss"]


class SIGRegLoss(ModuleWithSettings):
    """Sketched isotropic Gaussian regularisation: along random directions, vectors should be standard normal.

    It keeps embeddings from collapse, in place of the variance and covariance terms of
    :class:`~correspondence_losses.losses.VICRegLoss`. The function is
    :func:`~correspondence_losses.functional.sigreg_loss`, which says what it computes and what ``valid`` and
    ``directions`` do.

    Args:
        num_slices: Number of random directions.
        num_points: Points of the trapezoidal rule, an odd number.
        max_t: The points lie in [-max_t, max_t]; above 0.
        gather: Whether the vectors of all ranks are one sample.
        reduction: ``"none"`` (one value for each direction), ``"mean"`` or ``"sum"`` over the directions.

    Shape:
        z (..., d), floating point. Returns a scalar, or (s,) with ``reduction="none"``.

    Example:
        >>> import torch
        >>> SIGRegLoss(num_slices=64)(torch.zeros(100, 8)).item() > 40
        True
    """

    def __init__(
        self,
        *,
        num_slices: int = 1024,
        num_points: int = 17,
        max_t: float = 5.0,
        gather: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_sigreg_settings(num_slices, num_points, max_t)
        check_reduction(reduction)
        self.num_slices = num_slices
        self.num_points = num_points
        self.max_t = max_t
        self.gather = gather
        self.reduction = reduction

    def forward(self, z: Tensor, *, valid: Tensor | None = None, directions: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return sigreg_loss(z, valid=valid, directions=directions, **self.settings())


class LeJEPALoss(ModuleWithSettings):
    """LeJEPA of two views: corresponding vectors should be equal, and all of a view's an isotropic Gaussian.

    The function is :func:`~correspondence_losses.functional.lejepa_loss`, which says what it computes. For matched
    vectors of two maps, see :func:`~correspondence_losses.losses.on_matches`.

    Args:
        sigreg_weight: λ, from 0 to 1.
        num_slices: Number of random directions.
        num_points: Points of the trapezoidal rule, an odd number.
        max_t: The points lie in [-max_t, max_t]; above 0.
        gather: Whether the vectors of all ranks are one sample.

    Shape:
        z1, z2: (..., d), floating point. Returns a scalar.

    Example:
        >>> import torch
        >>> z1, z2 = torch.randn(2, 64, 8).unbind()
        >>> loss = LeJEPALoss(num_slices=32)
        >>> invariance, sigreg = loss.terms(z1, z2)
        >>> invariance.shape, sigreg.shape
        (torch.Size([]), torch.Size([]))
    """

    def __init__(
        self,
        *,
        sigreg_weight: float = 0.05,
        num_slices: int = 1024,
        num_points: int = 17,
        max_t: float = 5.0,
        gather: bool = False,
    ) -> None:
        super().__init__()
        check_lejepa_settings(sigreg_weight, num_slices, num_points, max_t)
        self.sigreg_weight = sigreg_weight
        self.num_slices = num_slices
        self.num_points = num_points
        self.max_t = max_t
        self.gather = gather

    def forward(
        self, z1: Tensor, z2: Tensor, *, valid: Tensor | None = None, directions: Tensor | None = None
    ) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return lejepa_loss(z1, z2, valid=valid, directions=directions, **self.settings())

    def terms(
        self, z1: Tensor, z2: Tensor, *, valid: Tensor | None = None, directions: Tensor | None = None
    ) -> LeJEPATerms:
        """Return the invariance and the SIGReg term, each a scalar with its weight."""
        return lejepa_terms(z1, z2, valid=valid, directions=directions, **self.settings())
