"""Distances between the feature distributions of two domains: CORAL and the maximum mean discrepancy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32, matmul

__all__ = ["coral_loss", "mmd_loss"]


def coral_loss(source: Tensor, target: Tensor, *, gather: bool = False) -> Tensor:
    r"""CORAL: the squared distance between the covariances of two sets of vectors.

    .. math:: \mathcal{L} = \frac{1}{4 d^2} \lVert C_S - C_T \rVert_F^2, \qquad
        C = \frac{1}{n - 1} \sum_i (x_i - \bar x)(x_i - \bar x)^\top

    Args:
        source: Vectors of one domain, (..., n, d), floating point, n at least 2.
        target: Vectors of the other domain, (..., m, d), m at least 2. Of dense features, take some positions:
            ``features.flatten(2).mT.flatten(0, 1)``.
        gather: Whether the vectors are those of all ranks, each of which has as many.

    Returns:
        (...): the loss, in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``source`` or ``target`` is not floating point.
        ValueError: If shapes or devices do not fit, or there are fewer than two vectors.

    Source:
        Sun and Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", 2016, eq. 1 to 3.

    Example:
        >>> source = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # covariance 2 of the first channel alone
        >>> target = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
        >>> coral_loss(source, target)  # (2² + 2²) / (4 · 2²)
        tensor(0.5000)
    """
    source, target = _vectors(source, target, gather)
    difference = _covariance(source) - _covariance(target)
    return difference.square().sum((-2, -1)) / (4 * source.shape[-1] ** 2)


def mmd_loss(
    source: Tensor,
    target: Tensor,
    *,
    bandwidths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    gather: bool = False,
) -> Tensor:
    r"""The squared maximum mean discrepancy between two sets of vectors, with several Gaussian kernels.

    .. math::

        \mathcal{L} = \frac{1}{n^2} \sum_{i,j} k(x_i, x_j) + \frac{1}{m^2} \sum_{i,j} k(y_i, y_j)
        - \frac{2}{nm} \sum_{i,j} k(x_i, y_j), \qquad
        k(u, v) = \frac{1}{K} \sum_{b} \exp\left(-\frac{\lVert u - v \rVert_2^2}{b \, \bar\delta}\right)

    with the K factors b of ``bandwidths`` and the mean squared distance :math:`\bar\delta` of two different vectors of
    both sets together, which is constant. It is the biased estimate, which is at least 0, and 0 for equal sets.

    Args:
        source: Vectors x of one domain, (..., n, d), floating point, n at least 2.
        target: Vectors y of the other domain, (..., m, d), m at least 2.
        bandwidths: Factors on the mean squared distance, above 0.
        gather: Whether the vectors are those of all ranks, each of which has as many.

    Returns:
        (...): the loss, in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``source`` or ``target`` is not floating point.
        ValueError: If shapes or devices do not fit, there are fewer than two vectors, or a bandwidth is not above 0.

    Source:
        Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A Kernel Two-Sample Test", 2012, eq. 5; several kernels as in
        Long, Cao, Wang and Jordan, "Learning Transferable Features with Deep Adaptation Networks", 2015.

    Example:
        >>> source, target = torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]])
        >>> mmd_loss(source, target, bandwidths=[1.0])  # 4 of 6 pairs differ: 2 - 2 exp(-1 / (4 / 6))
        tensor(1.5537)
    """
    if len(bandwidths) == 0:
        raise ValueError("bandwidths must hold at least one factor, got none")
    for index, factor in enumerate(bandwidths):
        check_positive(f"bandwidths[{index}]", factor)
    source, target = _vectors(source, target, gather)
    n = source.shape[-2]
    vectors = torch.cat((source, target), dim=-2)
    # The kernels see differences alone: about the common mean there is less to cancel.
    vectors = vectors - vectors.detach().mean(-2, keepdim=True)
    squares = vectors.square().sum(-1)
    distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * matmul(vectors, vectors.mT)
    same = torch.eye(distances.shape[-1], dtype=torch.bool, device=distances.device)
    distances = distances.masked_fill(same, 0).clamp(min=0)
    pairs = distances.shape[-1] * (distances.shape[-1] - 1)
    mean = (distances.detach().sum((-2, -1), keepdim=True) / pairs).clamp(min=torch.finfo(distances.dtype).tiny)
    kernel = torch.stack([torch.exp(-distances / (factor * mean)) for factor in bandwidths]).mean(0)
    within = kernel[..., :n, :n].mean((-2, -1)) + kernel[..., n:, n:].mean((-2, -1))
    return within - 2 * kernel[..., :n, n:].mean((-2, -1))


def _vectors(source: Tensor, target: Tensor, gather: bool) -> tuple[Tensor, Tensor]:
    for name, vectors in (("source", source), ("target", target)):
        check_floating(name, vectors)
        check_rank(name, vectors, 2, "(..., n, d)", exact=False)
        check_not_empty(name, vectors)
        if vectors.shape[-2] < 2:
            raise ValueError(f"{name} must hold at least 2 vectors, got shape {tuple(vectors.shape)}")
    wanted = (*source.shape[:-2], target.shape[-2], source.shape[-1])
    check_shape("target", target, wanted, "leading dimensions and channels of source")
    check_same_device("target", target, "source", source)
    source, target = at_least_float32(source), at_least_float32(target)
    if gather:
        return gather_across_ranks(source, dim=-2), gather_across_ranks(target, dim=-2)
    return source, target


def _covariance(vectors: Tensor) -> Tensor:
    centred = vectors - vectors.mean(-2, keepdim=True)
    return matmul(centred.mT, centred) / (vectors.shape[-2] - 1)
