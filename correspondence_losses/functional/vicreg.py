"""VICReg's three terms on sets of vectors (thesis, eq. 2.1 to 2.6), and diagnostics of collapse.

Papers and code disagree on factors. ``convention`` names the source to follow, for two sets of n vectors of dimension
d, with v of eq. 2.1, c of eq. 2.4 and s of eq. 2.5:

========== ======================= ================== ==================
convention invariance              variance           covariance
========== ======================= ================== ==================
equations  s, summed over d        v(Z) + v(Z')       c(Z) + c(Z')
vicreg     s / d, the mean over d  (v(Z) + v(Z')) / 2 c(Z) + c(Z')
vicregl    s / d, the mean over d  (v(Z) + v(Z')) / 2 (c(Z) + c(Z')) / 2
========== ======================= ================== ==================

"equations" is the thesis, and the VICReg paper, as printed; "vicreg" and "vicregl" are the official implementations of
VICReg and VICRegL.
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from correspondence_losses._checks import (
    check_floating,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
    check_vector_pair,
    check_vectors,
)
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32
from correspondence_losses._reduction import check_choice
from correspondence_losses.functional._moments import centred, second_moments, variances_of
from correspondence_losses.functional._pair_moments import PairMoments, num_pairs, pair_moments

__all__ = [
    "CollapseDiagnostics",
    "Convention",
    "VICRegTerms",
    "collapse_diagnostics",
    "covariance_loss",
    "invariance_loss",
    "variance_loss",
    "vicreg_loss",
    "vicreg_terms",
]

Convention = Literal["equations", "vicreg", "vicregl"]
"""Whose factors a VICReg loss has: those of the printed equations, or of the official code of VICReg or VICRegL."""
CONVENTIONS = get_args(Convention)

VARIANCE_FACTORS: dict[Convention, float] = {"equations": 1.0, "vicreg": 0.5, "vicregl": 0.5}
COVARIANCE_FACTORS: dict[Convention, float] = {"equations": 1.0, "vicreg": 1.0, "vicregl": 0.5}


class VICRegTerms(NamedTuple):
    """The parts of a VICReg loss, coefficients included: the loss is their sum."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


class CollapseDiagnostics(NamedTuple):
    """What :func:`collapse_diagnostics` returns, without gradient."""

    mean_std: Tensor
    """(...): standard deviation, averaged over the dimensions. 0 if all embeddings are equal."""
    off_diagonal_norm: Tensor
    """(...): Frobenius norm of the covariance matrix without its diagonal. 0 if no two dimensions correlate."""


def variance_loss(z: Tensor, *, gamma: float = 1.0, eps: float = 1e-4, valid: Tensor | None = None) -> Tensor:
    r"""Hinge loss that keeps the standard deviation of each dimension above ``gamma``.

    .. math:: v(Z) = \frac{1}{d} \sum_{j=1}^{d} \max(0, \gamma - S(z^j, \epsilon)), \qquad
        S(x, \epsilon) = \sqrt{\operatorname{Var}(x) + \epsilon}

    with the unbiased variance over the n vectors. A single vector has variance 0: its loss is the constant
    :math:`\gamma - \sqrt\epsilon`, without gradient. Without any (valid) vector the loss is 0.

    Args:
        z: (..., n, d), floating point.
        gamma: The standard deviation to keep; above 0.
        eps: Added to the variance, which keeps the gradient of collapsed dimensions finite; above 0.
        valid: (..., n), bool: which vectors count. All by default.

    Returns:
        (...), in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``z`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, ``z`` is empty, or ``gamma`` or ``eps`` not above 0.

    Source:
        Thesis, eq. 2.1 and 2.2; Bardes, Ponce and LeCun, "VICReg", 2021.

    Example:
        >>> z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])  # variances 2 and 0
        >>> round(variance_loss(z).item(), 4)
        0.495
    """
    check_vectors("z", z, valid)
    _check_hinge(gamma, eps)
    variances = variances_of(centred(at_least_float32(z), valid), valid)
    return _zero_without_samples(variance_hinge(variances, gamma, eps), valid)


def covariance_loss(z: Tensor, *, valid: Tensor | None = None) -> Tensor:
    r"""Sum of the squared off-diagonal covariances, divided by the number of dimensions.

    .. math:: c(Z) = \frac{1}{d} \sum_{i \ne j} [C(Z)]_{i,j}^2, \qquad
        C(Z) = \frac{1}{n - 1} \sum_{i=1}^{n} (z_i - \bar z)(z_i - \bar z)^\top

    It costs O(n d min(n, d)): the covariance matrix is used where n >= d, the Gram matrix of the vectors where n < d.
    A single vector or a single dimension has loss 0.

    Args:
        z: (..., n, d), floating point.
        valid: (..., n), bool: which vectors count. All by default.

    Returns:
        (...), in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``z`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, or ``z`` is empty.

    Source:
        Thesis, eq. 2.3 and 2.4; Bardes, Ponce and LeCun, "VICReg", 2021.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [2.0, 1.0]])  # C = [[2, 1], [1, 0.5]]
        >>> covariance_loss(z).item()
        1.0
    """
    check_vectors("z", z, valid)
    _, off_diagonal = second_moments(z, valid)
    return off_diagonal / z.shape[-1]


def invariance_loss(z1: Tensor, z2: Tensor, *, valid: Tensor | None = None) -> Tensor:
    r"""Mean squared Euclidean distance between corresponding vectors.

    .. math:: s(Z, Z') = \frac{1}{n} \sum_{i} \|z_i - z'_i\|_2^2

    The official implementations also divide by d: see the table of conventions. Without any (valid) pair the loss
    is 0.

    Args:
        z1: (..., n, d), floating point.
        z2: As ``z1``.
        valid: (..., n), bool: which pairs count. All by default.

    Returns:
        (...), in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``z1`` or ``z2`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, or ``z1`` is empty.

    Source:
        Thesis, eq. 2.5; Bardes, Ponce and LeCun, "VICReg", 2021.

    Example:
        >>> invariance_loss(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])).item()
        12.5
    """
    check_vector_pair(z1, z2, valid)
    z1, z2 = at_least_float32(z1), at_least_float32(z2)
    if valid is None:
        return mse_loss(z1, z2, reduction="none").sum((-2, -1)) / z1.shape[-2]
    difference = (z1 - z2).masked_fill(~valid.unsqueeze(-1), 0)
    return difference.square().sum((-2, -1)) / num_pairs(z1.shape[-2], valid)


def vicreg_terms(
    z1: Tensor,
    z2: Tensor,
    *,
    inv_coeff: float = 25.0,
    var_coeff: float = 25.0,
    cov_coeff: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
    convention: Convention = "vicreg",
    valid: Tensor | None = None,
) -> VICRegTerms:
    r"""The three terms of VICReg, for any number of pairs of sets of corresponding vectors.

    .. math:: \ell(Z, Z') = \lambda s(Z, Z') + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    up to the factors that ``convention`` names. :func:`vicreg_loss` is their sum for one pair of sets.

    Args:
        z1: (..., n, d), floating point.
        z2: As ``z1``.
        inv_coeff: λ, the weight of the invariance term; at least 0.
        var_coeff: μ, the weight of the variance term; at least 0.
        cov_coeff: ν, the weight of the covariance term; at least 0.
        gamma: See :func:`variance_loss`.
        eps: See :func:`variance_loss`.
        convention: "equations", "vicreg" or "vicregl": whose factors to use.
        valid: (..., n), bool: which pairs count. All by default.

    Returns:
        Three tensors (...), in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``z1`` or ``z2`` is not floating point, or ``valid`` not bool.
        ValueError: If shapes or devices do not fit, ``z1`` is empty, or a setting is out of its range.

    Source:
        Thesis, eq. 2.6; Bardes, Ponce and LeCun, "VICReg", 2021.

    Example:
        >>> z1, z2 = torch.randn(2, 16, 8).unbind()
        >>> terms = vicreg_terms(z1, z2, convention="equations")
        >>> bool(torch.isclose(terms.invariance, 25 * invariance_loss(z1, z2)))
        True
    """
    check_vector_pair(z1, z2, valid)
    check_settings(inv_coeff, var_coeff, cov_coeff, gamma, eps, convention)
    return terms_of_moments(
        pair_moments(z1, z2, valid),
        valid,
        inv_coeff=inv_coeff,
        var_coeff=var_coeff,
        cov_coeff=cov_coeff,
        gamma=gamma,
        eps=eps,
        convention=convention,
    )


def vicreg_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    inv_coeff: float = 25.0,
    var_coeff: float = 25.0,
    cov_coeff: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
    gather: bool = False,
    convention: Convention = "vicreg",
) -> Tensor:
    r"""VICReg between two batches of embeddings: the function of :class:`~correspondence_losses.losses.VICRegLoss`.

    .. math:: \ell(Z, Z') = \lambda s(Z, Z') + \mu [v(Z) + v(Z')] + \nu [c(Z) + c(Z')]

    up to the factors that ``convention`` names. The default equals the official code of VICReg.

    Args:
        z1: Embeddings of the first view, (n, d), floating point.
        z2: Embeddings of the second view, as ``z1``.
        inv_coeff: λ, the weight of the invariance term; at least 0.
        var_coeff: μ, the weight of the variance term; at least 0.
        cov_coeff: ν, the weight of the covariance term; at least 0.
        gamma: See :func:`variance_loss`.
        eps: See :func:`variance_loss`.
        gather: Whether the statistics include the batches of all ranks.
        convention: "equations", "vicreg" or "vicregl": whose factors to use.

    Returns:
        A scalar in float32, or float64 for float64 embeddings.

    Raises:
        TypeError: If ``z1`` or ``z2`` is not floating point.
        ValueError: If shapes or devices do not fit, ``z1`` is empty, or a setting is out of its range.

    Source:
        Thesis, eq. 2.6; Bardes, Ponce and LeCun, "VICReg", 2021.

    Example:
        >>> z1, z2 = torch.randn(2, 16, 8).unbind()
        >>> bool(vicreg_loss(z1, z2) == sum(vicreg_terms(z1, z2)))
        True
    """
    invariance, variance, covariance = gathered_vicreg_terms(
        z1,
        z2,
        inv_coeff=inv_coeff,
        var_coeff=var_coeff,
        cov_coeff=cov_coeff,
        gamma=gamma,
        eps=eps,
        gather=gather,
        convention=convention,
    )
    return invariance + variance + covariance


def gathered_vicreg_terms(z1: Tensor, z2: Tensor, *, gather: bool, **settings: Any) -> VICRegTerms:
    """Return the terms of :func:`vicreg_loss`, whose arguments it takes."""
    check_floating("z1", z1)
    check_rank("z1", z1, 2, "(n, d)")
    check_floating("z2", z2)
    check_shape("z2", z2, z1.shape, "that of z1")
    check_same_device("z2", z2, "z1", z1)
    if gather:
        z1, z2 = gather_across_ranks(torch.stack((at_least_float32(z1), at_least_float32(z2))), dim=1)
    return vicreg_terms(z1, z2, **settings)


@torch.no_grad()
def collapse_diagnostics(z: Tensor) -> CollapseDiagnostics:
    r"""Two diagnostics of collapse to log during training.

    The mean standard deviation falls to 0 when all embeddings become equal; VICReg keeps it near ``gamma``. The
    off-diagonal norm :math:`\sqrt{\sum_{i \ne j} C_{ij}^2}` grows when dimensions become copies of each other.

    Args:
        z: (..., n, d), floating point.

    Returns:
        ``mean_std`` and ``off_diagonal_norm``, each (...), without gradient.

    Raises:
        TypeError: If ``z`` is not floating point.
        ValueError: If ``z`` has fewer than two dimensions or is empty.

    Example:
        >>> collapsed = torch.ones(16, 8)
        >>> [figure.item() for figure in collapse_diagnostics(collapsed)]
        [0.0, 0.0]
    """
    check_vectors("z", z, None)
    variances, off_diagonal = second_moments(z)
    return CollapseDiagnostics(variances.sqrt().mean(-1), off_diagonal.clamp(min=0).sqrt())


def terms_of_moments(
    moments: PairMoments,
    valid: Tensor | None,
    *,
    inv_coeff: float,
    var_coeff: float,
    cov_coeff: float,
    gamma: float,
    eps: float,
    convention: Convention,
) -> VICRegTerms:
    """Return the terms (...) of :func:`vicreg_terms`, whose settings it takes."""
    invariance, (variances1, variances2), (off_diagonal1, off_diagonal2) = moments
    d = variances1.shape[-1]
    hinges = _zero_without_samples(
        variance_hinge(variances1, gamma, eps) + variance_hinge(variances2, gamma, eps), valid
    )
    return VICRegTerms(
        (inv_coeff if convention == "equations" else inv_coeff / d) * invariance,
        var_coeff * VARIANCE_FACTORS[convention] * hinges,
        cov_coeff * COVARIANCE_FACTORS[convention] / d * (off_diagonal1 + off_diagonal2),
    )


def variance_hinge(variances: Tensor, gamma: float, eps: float) -> Tensor:
    """Return eq. 2.1 from the variances (..., d)."""
    return (gamma - (variances + eps).sqrt()).relu().mean(-1)


def check_settings(
    inv_coeff: float, var_coeff: float, cov_coeff: float, gamma: float, eps: float, convention: str
) -> None:
    """Raise ``ValueError`` unless the settings of a VICReg loss are in their ranges."""
    check_positive("inv_coeff", inv_coeff, zero=True)
    check_positive("var_coeff", var_coeff, zero=True)
    check_positive("cov_coeff", cov_coeff, zero=True)
    _check_hinge(gamma, eps)
    check_choice("convention", convention, CONVENTIONS)


def _zero_without_samples(losses: Tensor, valid: Tensor | None) -> Tensor:
    return losses if valid is None else losses * valid.any(-1)


def _check_hinge(gamma: float, eps: float) -> None:
    check_positive("gamma", gamma)
    check_positive("eps", eps)
