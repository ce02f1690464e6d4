"""SIGReg: vectors that are distributed as an isotropic Gaussian, and LeJEPA, which adds it to invariance."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_count,
    check_floating,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
    check_vector_pair,
    check_vectors,
)
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32, matmul
from correspondence_losses._reduction import Reduction, check_reduction, reduce

__all__ = ["LeJEPATerms", "lejepa_loss", "sigreg_loss"]


class LeJEPATerms(NamedTuple):
    """The parts of a LeJEPA loss, weights included: the loss is their sum."""

    invariance: Tensor
    sigreg: Tensor


def sigreg_loss(
    z: Tensor,
    *,
    valid: Tensor | None = None,
    directions: Tensor | None = None,
    num_slices: int = 1024,
    num_points: int = 17,
    max_t: float = 5.0,
    gather: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Sketched isotropic Gaussian regularisation: along random directions, vectors should be standard normal.

    .. math:: \text{SIGReg}(Z) = \frac{1}{|A|} \sum_{a \in A} T(a^\top z_1, \dots, a^\top z_n), \qquad
        T(x) = n \int \left| \frac{1}{n} \sum_{j} e^{i t x_j} - e^{-t^2 / 2} \right|^2 e^{-t^2 / 2} \, dt

    T is the Epps-Pulley statistic of a test for normality. It compares all moments, where the variance and covariance
    of VICReg compare the second ones. The integral is by the trapezoidal rule. Along a direction, collapsed vectors
    score about 0.4 n, and normal ones about 1 for any n.

    It holds n values for each direction, and one cosine and one sine of each: the others are their powers.

    Args:
        z: Vectors, (..., d), floating point. All of them are one sample.
        valid: (...), bool: which vectors count. All by default.
        directions: Unit vectors, (d, s). By default ``num_slices`` random ones, new in each call.
        num_slices: Number of random directions.
        num_points: Points of the trapezoidal rule, an odd number: 0 is one of them.
        max_t: The points lie in [-max_t, max_t]; above 0.
        gather: Whether the vectors of all ranks are one sample. Each rank draws directions of its own, and DDP's mean
            over the ranks is the loss over the directions of all.
        reduction: ``"none"`` returns T for each direction, (s,); ``"mean"`` their mean, ``"sum"`` their sum. Without
            valid vectors they are 0.

    Returns:
        The loss in float32, or float64 for float64 vectors.

    Raises:
        TypeError: If ``z`` or ``directions`` is not floating point, ``valid`` not bool, or a number not an int.
        ValueError: If shapes or devices do not fit, ``z`` is empty, or a setting is out of its range.

    Source:
        Balestriero and LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", 2025;
        Epps and Pulley, "A Test for Normality Based on the Empirical Characteristic Function", 1983.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> normal, collapsed = torch.randn(1000, 8), torch.zeros(1000, 8)
        >>> sigreg_loss(normal).item() < 3, sigreg_loss(collapsed).item() > 400
        (True, True)
    """
    check_sigreg_settings(num_slices, num_points, max_t)
    check_reduction(reduction)
    check_vectors("z", z, valid, "(..., d)")
    vectors = at_least_float32(z).flatten(0, -2)
    weights = torch.ones_like(vectors[:, 0], dtype=torch.bool) if valid is None else valid.flatten()
    directions = _directions(vectors, directions, num_slices)
    if gather:
        vectors, weights = gather_across_ranks(vectors), gather_across_ranks(weights)
    return reduce(_epps_pulley(vectors, weights, directions, num_points, max_t), reduction)


def lejepa_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    valid: Tensor | None = None,
    directions: Tensor | None = None,
    sigreg_weight: float = 0.05,
    num_slices: int = 1024,
    num_points: int = 17,
    max_t: float = 5.0,
    gather: bool = False,
) -> Tensor:
    r"""LeJEPA of two views: corresponding vectors should be equal, and all of a view's an isotropic Gaussian.

    .. math:: \mathcal{L} = (1 - \lambda) \frac{1}{n d} \sum_i \frac{\| z_i - z'_i \|_2^2}{4}
        + \lambda \frac{\text{SIGReg}(Z) + \text{SIGReg}(Z')}{2}

    The first term is the mean squared distance of the two views to their mean, and the second
    :func:`sigreg_loss`, in place of the variance and covariance of VICReg.

    Args:
        z1: Vectors of the first view, (..., d), floating point.
        z2: The corresponding ones of the second view, as ``z1``.
        valid: (...), bool: which pairs count. All by default.
        directions: See :func:`sigreg_loss`. Both views have the same.
        sigreg_weight: λ, from 0 to 1.
        num_slices: See :func:`sigreg_loss`.
        num_points: See :func:`sigreg_loss`.
        max_t: See :func:`sigreg_loss`.
        gather: See :func:`sigreg_loss`.

    Returns:
        A scalar in float32, or float64 for float64 vectors; 0 without valid pairs.

    Raises:
        TypeError, ValueError: As :func:`sigreg_loss`, or if ``sigreg_weight`` is not from 0 to 1.

    Source:
        Balestriero and LeCun, "LeJEPA", 2025.

    Example:
        >>> z1, z2 = torch.randn(2, 64, 8).unbind()
        >>> lejepa_loss(z1, z2).shape
        torch.Size([])
    """
    invariance, sigreg = lejepa_terms(
        z1,
        z2,
        valid=valid,
        directions=directions,
        sigreg_weight=sigreg_weight,
        num_slices=num_slices,
        num_points=num_points,
        max_t=max_t,
        gather=gather,
    )
    return invariance + sigreg


def lejepa_terms(
    z1: Tensor,
    z2: Tensor,
    *,
    valid: Tensor | None,
    directions: Tensor | None,
    sigreg_weight: float,
    num_slices: int,
    num_points: int,
    max_t: float,
    gather: bool,
) -> LeJEPATerms:
    """Return the terms of :func:`lejepa_loss`, whose arguments it takes."""
    check_lejepa_settings(sigreg_weight, num_slices, num_points, max_t)
    check_vector_pair(z1, z2, valid, "(..., d)")
    first, second = at_least_float32(z1).flatten(0, -2), at_least_float32(z2).flatten(0, -2)
    weights = torch.ones_like(first[:, 0], dtype=torch.bool) if valid is None else valid.flatten()
    directions = _directions(first, directions, num_slices)
    if gather:
        first, second = gather_across_ranks(torch.stack((first, second)), dim=1)
        weights = gather_across_ranks(weights)
    difference = (first - second).masked_fill(~weights.unsqueeze(-1), 0)
    invariance = difference.square().sum() / (4 * first.shape[-1] * weights.sum().clamp(min=1))
    statistics = [_epps_pulley(vectors, weights, directions, num_points, max_t).mean() for vectors in (first, second)]
    return LeJEPATerms((1 - sigreg_weight) * invariance, sigreg_weight * (statistics[0] + statistics[1]) / 2)


def check_lejepa_settings(sigreg_weight: float, num_slices: int, num_points: int, max_t: float) -> None:
    """Raise unless the settings of a LeJEPA loss are in their ranges."""
    if not 0 <= sigreg_weight <= 1:
        raise ValueError(f"sigreg_weight must lie in [0, 1], got {sigreg_weight}")
    check_sigreg_settings(num_slices, num_points, max_t)


def check_sigreg_settings(num_slices: int, num_points: int, max_t: float) -> None:
    """Raise unless the settings of SIGReg are in their ranges."""
    check_count("num_slices", num_slices)
    check_count("num_points", num_points)
    if num_points < 3 or num_points % 2 == 0:
        raise ValueError(f"num_points must be odd and at least 3, got {num_points}")
    check_positive("max_t", max_t)


def _directions(vectors: Tensor, directions: Tensor | None, num_slices: int) -> Tensor:
    """Return unit vectors (d, s)."""
    if directions is None:
        drawn = torch.randn(vectors.shape[-1], num_slices, dtype=vectors.dtype, device=vectors.device)
        lengths: Tensor = torch.linalg.vector_norm(drawn, dim=0)
        return drawn / lengths
    check_floating("directions", directions)
    check_rank("directions", directions, 2, "(d, s)")
    check_not_empty("directions", directions)
    check_shape("directions", directions, (vectors.shape[-1], directions.shape[1]), "a row for each dimension")
    check_same_device("directions", directions, "z", vectors)
    return directions.to(vectors.dtype)


def _epps_pulley(vectors: Tensor, valid: Tensor, directions: Tensor, num_points: int, max_t: float) -> Tensor:
    """Return the statistic of the valid ones of vectors (n, d) along each of directions (d, s)."""
    count = valid.sum()
    weights = valid.to(vectors.dtype) / count.clamp(min=1)
    values = matmul(vectors.masked_fill(~valid.unsqueeze(-1), 0), directions)
    # The integrand is even, and 0 at 0: the points above 0 stand for both halves.
    half = num_points // 2
    step = max_t / half
    cosines, sines = _CharacteristicFunction.apply(values, weights, step, half)
    t = step * torch.arange(1, half + 1, dtype=values.dtype, device=values.device)
    normal = (-t.square() / 2).exp()
    quadrature = torch.full_like(t, 2 * step)
    quadrature = torch.where(t == t[-1], step, quadrature) * normal
    error = (cosines - normal.unsqueeze(-1)).square() + sines.square()
    return matmul(quadrature, error) * count


class _CharacteristicFunction(torch.autograd.Function):
    """Weighted means of cos(t x) and sin(t x) of values x (n, s), each (points, s), at multiples t of a step.

    Autograd would keep the cosines and sines of all points; this keeps the values, and computes them again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, weights: Tensor, step: float, points: int) -> tuple[Tensor, Tensor]:
        angle = first = _angle(step * values)
        cosines, sines = [], []
        for _ in range(points):
            cosines.append(matmul(weights, angle.cosine))
            sines.append(matmul(weights, angle.sine))
            angle = _sum(angle, first)
        return torch.stack(cosines), torch.stack(sines)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG004
        values, weights, ctx.step, ctx.points = inputs
        ctx.save_for_backward(values, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        values, weights = ctx.saved_tensors
        grad_cosines, grad_sines = grads
        angle = first = _angle(ctx.step * values)
        gradient = torch.zeros_like(values)
        for k in range(ctx.points):
            gradient = gradient + (k + 1) * (grad_sines[k] * angle.cosine - grad_cosines[k] * angle.sine)
            angle = _sum(angle, first)
        return ctx.step * weights.unsqueeze(-1) * gradient, None, None, None


class _Angle(NamedTuple):
    cosine: Tensor
    sine: Tensor


def _angle(radians: Tensor) -> _Angle:
    return _Angle(radians.cos(), radians.sin())


def _sum(a: _Angle, b: _Angle) -> _Angle:
    return _Angle(a.cosine * b.cosine - a.sine * b.sine, a.sine * b.cosine + a.cosine * b.sine)
