"""VICReg: variance, invariance and covariance of two batches of embeddings (thesis, eq. 2.1 to 2.6)."""

from torch import Tensor

from correspondence_losses.functional.vicreg import Convention, VICRegTerms, gathered_vicreg_terms, vicreg_loss
from correspondence_losses.losses._vicreg_settings import VICRegModule

__all__ = ["VICRegLoss"]


class VICRegLoss(VICRegModule):
    r"""Makes embeddings of two views of an image equal, spreads each dimension, and decorrelates the dimensions.

    .. math:: \ell(Z, Z') = \lambda s(Z, Z') + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    with s of :func:`~correspondence_losses.functional.invariance_loss`, v of
    :func:`~correspondence_losses.functional.variance_loss` and c of
    :func:`~correspondence_losses.functional.covariance_loss`. Papers and code disagree on some factors; ``convention``
    fixes them:

    ========== ======================= ================== ==================
    convention invariance              variance           covariance
    ========== ======================= ================== ==================
    equations  s, summed over d        v(Z) + v(Z')       c(Z) + c(Z')
    vicreg     s / d, the mean over d  (v(Z) + v(Z')) / 2 c(Z) + c(Z')
    vicregl    s / d, the mean over d  (v(Z) + v(Z')) / 2 (c(Z) + c(Z')) / 2
    ========== ======================= ================== ==================

    The function is :func:`~correspondence_losses.functional.vicreg_loss`.

    A batch of one has no statistics. Its variance term is the constant :math:`\gamma - \sqrt\epsilon`, its covariance
    term is 0, and only the invariance term has a gradient.

    Args:
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Whether the statistics include the batches of all ranks. Every rank then returns the loss of the whole
            batch. After ``DistributedDataParallel`` has averaged the gradients, they equal those of one process with
            the whole batch. Batches must have the same size on all ranks. Without a process group, or with one rank,
            the setting has no effect.
        convention: "equations", "vicreg" or "vicregl": see the table.

    Shape:
        z1, z2: (n, d), floating point. Returns a scalar in float32, or float64 for float64 embeddings.

    Raises:
        TypeError, ValueError: If the settings or the embeddings do not fit this.

    Source:
        Thesis, eq. 2.6; Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
        Self-Supervised Learning", 2021.

    Example:
        >>> import torch
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
        *,
        gamma: float = 1.0,
        eps: float = 1e-4,
        gather: bool = False,
        convention: Convention = "vicreg",
    ) -> None:
        super().__init__(inv_coeff, var_coeff, cov_coeff, gamma, eps, gather, convention)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return vicreg_loss(z1, z2, **self.settings())

    def terms(self, z1: Tensor, z2: Tensor) -> VICRegTerms:
        """Return the three terms, each a scalar with its coefficient."""
        return gathered_vicreg_terms(z1, z2, **self.settings())
