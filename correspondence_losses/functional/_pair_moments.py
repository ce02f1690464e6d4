"""What VICReg's terms are of, for pairs of sets of corresponding vectors: in few passes over them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from correspondence_losses.functional._moments import (
    centred,
    gradient_of_moments,
    off_diagonal_of,
    second_moments,
    variances_of,
)
from correspondence_losses.functional._vmap import all_batch_first


class PairMoments(NamedTuple):
    """Of pairs of sets of n corresponding vectors of dimension d."""

    invariance: Tensor
    """(...): mean squared distance of the vectors of a pair."""
    variances: tuple[Tensor, Tensor]
    """(..., d), of both sets."""
    off_diagonals: tuple[Tensor, Tensor]
    """(...): sums of the squared off-diagonal covariances, of both sets."""


def pair_moments(z1: Tensor, z2: Tensor, valid: Tensor | None) -> PairMoments:
    """Return the moments of sets z1 and z2 (..., n, d), of which those vectors count that are valid (..., n)."""
    dtype = torch.promote_types(torch.promote_types(z1.dtype, z2.dtype), torch.float32)
    # A compiler saves the same passes by itself.
    function = plain_moments if torch.compiler.is_compiling() else _PairMoments.apply
    moments = function(z1.to(dtype), z2.to(dtype), valid)
    squared_distances, variances1, variances2, off_diagonal1, off_diagonal2 = moments[:5]
    invariance = squared_distances / num_pairs(z1.shape[-2], valid)
    return PairMoments(invariance, (variances1, variances2), (off_diagonal1, off_diagonal2))


def plain_moments(z1: Tensor, z2: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    """Return squared distances, both variances and both off-diagonal sums, of operations that autograd knows."""
    difference = z1 - z2 if valid is None else (z1 - z2).masked_fill(~valid.unsqueeze(-1), 0)
    variances, off_diagonals = zip(second_moments(z1, valid), second_moments(z2, valid), strict=True)
    return difference.square().sum((-2, -1)), *variances, *off_diagonals


def num_pairs(n: int, valid: Tensor | None) -> Tensor | int:
    """Return how many of n pairs of vectors count, (...) if that depends on ``valid``; at least 1."""
    return n if valid is None else valid.sum(-1).clamp(min=1)


class _PairMoments(torch.autograd.Function):
    """What :func:`plain_moments` returns; then what the backward pass needs."""

    @staticmethod
    def forward(z1: Tensor, z2: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        scratch = _difference(z1, z2, valid)
        squared_distances = scratch.square_().sum((-2, -1))
        u1, u2 = centred(z1, valid), centred(z2, valid)
        variances1, variances2 = variances_of(u1, valid, scratch), variances_of(u2, valid, scratch)
        off_diagonal1, *products1 = off_diagonal_of(u1, variances1, valid)
        off_diagonal2, *products2 = off_diagonal_of(u2, variances2, valid)
        moments = squared_distances, variances1, variances2, off_diagonal1, off_diagonal2
        return *moments, u1, *products1, u2, *products2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, variances1, variances2, _, _, *vectors_and_products = output
        ctx.mark_non_differentiable(*vectors_and_products)
        ctx.set_materialize_grads(False)  # zeros as the gradients of these would be as much memory again
        ctx.save_for_backward(*inputs, variances1, variances2, *vectors_and_products)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        z1, z2, valid, variances1, variances2, *saved = ctx.saved_tensors
        one_each = variances1[..., 0]
        moments = one_each, variances1, variances2, one_each, one_each
        of_distances, *of_others = (
            torch.zeros_like(moment) if grad is None else grad for grad, moment in zip(grads[:5], moments, strict=True)
        )
        if torch.is_grad_enabled():  # a second derivative is wanted: all must be functions of the vectors
            pull_back = torch.func.vjp(lambda a, b: plain_moments(a, b, valid), z1, z2)[1]
            return *pull_back((of_distances, *of_others)), None
        of_variances1, of_variances2, of_off_diagonal1, of_off_diagonal2 = of_others
        (u1, *products1), (u2, *products2) = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        of_z1 = _difference(z1, z2, valid).mul_(2 * of_distances[..., None, None])
        of_z2 = None
        if ctx.needs_input_grad[1]:
            of_z2 = gradient_of_moments(u2, variances2, products2, valid, of_variances2, of_off_diagonal2, onto=-of_z1)
        if ctx.needs_input_grad[0]:
            gradient_of_moments(u1, variances1, products1, valid, of_variances1, of_off_diagonal1, onto=of_z1)
        return of_z1, of_z2, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *arguments: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        outputs = _PairMoments.apply(*all_batch_first(info, in_dims, arguments))
        return outputs, (0,) * len(outputs)


def _difference(z1: Tensor, z2: Tensor, valid: Tensor | None) -> Tensor:
    """A new tensor, contiguous."""
    difference = torch.sub(z1, z2, out=z1.new_empty(z1.shape))
    return difference if valid is None else difference.masked_fill_(~valid.unsqueeze(-1), 0)
