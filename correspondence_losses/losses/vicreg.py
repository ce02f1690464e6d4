"""VICReg: variance, invariance and covariance of two batches of embeddings (thesis, eq. 2.1 to 2.6)."""

import torch
from torch import Tensor

from correspondence_losses._checks import check_floating, check_rank, check_same_device, check_shape
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32
from correspondence_losses.functional.vicreg import Convention, VICRegTerms, vicreg_terms
from correspondence_losses.losses._vicreg_settings import VICRegModule

__all__ = ["VICRegLoss"]


class VICRegLoss(VICRegModule):
    r"""Embeddings of two views of an image alike, each dimension spread over the batch, and no two correlated.

    .. math:: \ell(Z, Z') = \lambda s(Z, Z') + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    with s of :func:`~correspondence_losses.functional.invariance_loss`, v of
    :func:`~correspondence_losses.functional.variance_loss` and c of
    :func:`~correspondence_losses.functional.covariance_loss`; ``convention`` fixes the factors that papers and code
    disagree on:

    ========== ======================= ================== ==================
    convention invariance              variance           covariance
    ========== ======================= ================== ==================
    equations  s, summed over d        v(Z) + v(Z')       c(Z) + c(Z')
    vicreg     s / d, the mean over d  (v(Z) + v(Z')) / 2 c(Z) + c(Z')
    vicregl    s / d, the mean over d  (v(Z) + v(Z')) / 2 (c(Z) + c(Z')) / 2
    ========== ======================= ================== ==================

    A batch of one has no spread: the variance term is its constant :math:`\gamma - \sqrt\epsilon`, the covariance
    term 0, and only the invariance has a gradient.

    Args:
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Take the loss over the batches of all ranks. Every rank returns the whole batch's loss, and after
            ``DistributedDataParallel`` has averaged them, the gradients are those of one process with the whole
            batch, which must be of one size on all ranks. Without an initialised process group it changes nothing.
        convention: "equations", "vicreg" or "vicregl": see the table.

    Shape:
        z1, z2: (n, d), floating point. Returns a scalar in float32, or float64 for float64 embeddings.

    Raises:
        TypeError, ValueError: If the settings or the embeddings do not fit this.

    Source:
        Thesis, eq. 2.6; Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
        Self-Supervised Learning", 2021.

    Example:
        >>> loss = VICRegLoss()
        >>> z1, z2 = torch.randn(2, 16, 32).unbind()
        >>> terms = loss.terms(z1, z2)
        >>> terms._fields
        ('invariance', 'variance', 'covariance')
        >>> bool(loss(z1, z2) == sum(terms))
        True
    """

    def __init__(
        self,
        inv_coeff: float = 25.0,
        var_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
        gather: bool = False,
        convention: Convention = "vicreg",
    ) -> None:
        super().__init__(inv_coeff, var_coeff, cov_coeff, gamma, eps, gather, convention)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        invariance, variance, covariance = self.terms(z1, z2)
        return invariance + variance + covariance

    def terms(self, z1: Tensor, z2: Tensor) -> VICRegTerms:
        """Return the three terms, each a scalar with its coefficient."""
        check_floating("z1", z1)
        check_rank("z1", z1, 2, "(n, d)")
        check_floating("z2", z2)
        check_shape("z2", z2, z1.shape, "that of z1")
        check_same_device("z2", z2, "z1", z1)
        if self.gather:
            z1, z2 = gather_across_ranks(torch.stack((at_least_float32(z1), at_least_float32(z2))), dim=1)
        return vicreg_terms(z1, z2, **self._settings())
