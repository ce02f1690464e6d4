"""Variances and off-diagonal covariances of a set of vectors, from one centring and one matrix product."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from correspondence_losses._precision import at_least_float32, matmul, without_autocast
from correspondence_losses.functional._vmap import all_batch_first


def second_moments(z: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return the unbiased variances (..., d) of z (..., n, d), and :math:`\sum_{i \ne j} C_{ij}^2` (...) of eq. 2.3.

    ``valid`` (..., n) says which of the n vectors count. Fewer than two of them have no spread: all is 0.

    With :math:`u = z - \bar z`, the covariance matrix is :math:`C = u^\top u / (n - 1)`. Where n >= d it is formed as
    it stands. Where n < d, the sum comes from the n x n Gram matrix :math:`G = u u^\top / (n - 1)`,

    .. math:: \sum_{i \ne j} C_{ij}^2 = \|G\|_F^2 - \sum_j C_{jj}^2 ,

    in O(n² d) instead of O(n d²). The subtraction would lose all digits where a single dimension has most of the
    variance, so the dimension of the largest variance is left out of the Gram matrix, and its covariances with the
    others are computed as they stand.

    The gradient is in closed form, one more matrix product of the same size; autograd would take two, and keep more.
    """
    moments: tuple[Tensor, ...] = _SecondMoments.apply(at_least_float32(z), valid)
    return moments[0], moments[1]


def centred(z: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return z - mean over the valid ones of the n vectors z (..., n, d); 0 for the others."""
    return _subtract_mean(z - _one_of(z, valid), valid)


def centre_(z: Tensor, valid: Tensor | None = None) -> Tensor:
    """The same in place."""
    return _subtract_mean(z.sub_(_one_of(z, valid).clone()), valid)


def _one_of(z: Tensor, valid: Tensor | None) -> Tensor:
    # Vectors far from 0 have a mean whose rounding error is larger than their spread: seen from one of them, they
    # are not far from 0.
    if valid is None:
        return z[..., :1, :]
    return z.take_along_dim(valid.to(torch.uint8).argmax(-1, keepdim=True).unsqueeze(-1), -2)


def _subtract_mean(shifted: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return shifted.sub_(shifted.mean(-2, keepdim=True))
    absent = ~valid.unsqueeze(-1)
    shifted.masked_fill_(absent, 0)
    mean = shifted.sum(-2, keepdim=True) / valid.sum(-1, dtype=shifted.dtype).clamp(min=1)[..., None, None]
    return shifted.sub_(mean).masked_fill_(absent, 0)


def variances_of(u: Tensor, valid: Tensor | None = None, scratch: Tensor | None = None) -> Tensor:
    """Return the unbiased variances (..., d) of centred vectors u (..., n, d); ``scratch`` is memory of their size."""
    squares = u.square() if scratch is None else torch.mul(u, u, out=scratch)
    return squares.sum(-2) / _freedom(u, valid)


class _SecondMoments(torch.autograd.Function):
    """z (..., n, d) and valid (..., n) or None -> variances, off-diagonal sum; then what the backward pass needs."""

    @staticmethod
    def forward(z: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        u = centred(z, valid)
        variances = variances_of(u, valid)
        off_diagonal, *products = off_diagonal_of(u, variances, valid)
        return variances, off_diagonal, u, *products

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        variances, _, u, *products = output
        ctx.mark_non_differentiable(u, *products)
        if not torch.compiler.is_compiling():  # which does not know the method in every version
            # Zeros as the gradients of u and of the products would be as much memory again.
            ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, variances, u, *products)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None]:
        z, valid, variances, u, *products = ctx.saved_tensors
        grad_variances = torch.zeros_like(variances) if grads[0] is None else grads[0]
        grad_off_diagonal = torch.zeros_like(variances[..., 0]) if grads[1] is None else grads[1]
        if torch.is_grad_enabled():  # a second derivative is wanted: u and its products must be functions of z
            u = centred(z, valid)
            variances = variances_of(u, valid)
            _, *products = off_diagonal_of(u, variances, valid)
        return gradient_of_moments(u, variances, products, valid, grad_variances, grad_off_diagonal), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], z: Tensor, valid: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        outputs = _SecondMoments.apply(*all_batch_first(info, in_dims, (z, valid)))
        return outputs, (0,) * len(outputs)


def off_diagonal_of(u: Tensor, variances: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    """Return the sum of the squared off-diagonal covariances (...), and what its gradient needs.

    That is the off-diagonal C (..., d, d); or the Gram matrix without the largest dimension, and which one that is.
    """
    (n, d), freedom = u.shape[-2:], _freedom(u, valid)
    if n >= d:
        covariance = matmul(u.mT, u) / _matrix(freedom)
        covariance = covariance - torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        return covariance.square().sum((-2, -1)), covariance
    largest = variances.argmax(-1, keepdim=True)
    column = u.take_along_dim(largest.unsqueeze(-2), -1)
    cross = (matmul(column.mT, u).squeeze(-2) / freedom).scatter(-1, largest, 0)
    gram = _gram_without(u, column, largest) / _matrix(freedom)
    others = variances.scatter(-1, largest, 0)
    off_diagonal = 2 * cross.square().sum(-1) + gram.square().sum((-2, -1)) - others.square().sum(-1)
    return off_diagonal, gram, largest


def gradient_of_moments(
    u: Tensor,
    variances: Tensor,
    products: Sequence[Tensor],
    valid: Tensor | None,
    grad_variances: Tensor,
    grad_off_diagonal: Tensor,
    *,
    onto: Tensor | None = None,
) -> Tensor:
    """Gradient with respect to the vectors, given those of the variances (..., d) and of the off-diagonal sum (...).

    It is added to ``onto``, in place, where that is given. Since u is centred, so is the gradient with respect to it:
    the mean needs no backward pass of its own.
    """
    freedom = _freedom(u, valid)
    of_variances = (2 * grad_variances / freedom).unsqueeze(-2)
    of_covariances = (4 * grad_off_diagonal.unsqueeze(-1) / freedom).unsqueeze(-1)
    if len(products) == 1:
        return _add_matmul(_add_scaled(onto, of_variances, u), u, of_covariances * products[0])
    gram, largest = products
    index = largest.unsqueeze(-2).expand(*u.shape[:-1], 1)
    column = u.gather(-1, index)
    # Here the largest dimension may stay in the Gram matrix: its share of a gradient is no larger than that of its
    # covariances. In its own gradient it would cancel.
    weights = of_covariances * (gram + column * column.mT / _matrix(freedom))
    slopes = of_variances - of_covariances * variances.unsqueeze(-2)
    own = of_variances.take_along_dim(largest.unsqueeze(-2), -1) * column
    own = own + of_covariances * (gram * column.mT).sum(-1, keepdim=True)  # a matrix product is slow for vectors
    if onto is not None:
        own = own + onto.gather(-1, index)
    return _add_matmul(_add_scaled(onto, slopes, u), weights, u).scatter_(-1, index, own)


def _add_scaled(total: Tensor | None, factors: Tensor, u: Tensor) -> Tensor:
    return factors * u if total is None else total.addcmul_(factors, u)


def _freedom(u: Tensor, valid: Tensor | None) -> Tensor | int:
    """Return n - 1 of u (..., n, d), as (..., 1) if it depends on ``valid``; 1 for n of 1 or less."""
    if valid is None:
        return max(u.shape[-2] - 1, 1)
    return (valid.sum(-1, keepdim=True, dtype=u.dtype) - 1).clamp(min=1)


def _matrix(freedom: Tensor | int) -> Tensor | int:
    return freedom if isinstance(freedom, int) else freedom.unsqueeze(-1)


def _add_matmul(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add a @ b to ``total``, in place."""
    n, d = total.shape[-2:]
    with without_autocast(total.device):
        total.view(-1, n, d).baddbmm_(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]))
    return total


def _gram_without(u: Tensor, column: Tensor, dimension: Tensor) -> Tensor:
    """Return the inner products of u (..., n, d) without one dimension (..., 1), which has this column (..., n, 1)."""
    index = dimension.unsqueeze(-2).expand_as(column)
    if torch.is_grad_enabled():
        rest = u.scatter(-1, index, 0)
        return matmul(rest, rest.mT)
    rest = u.scatter_(-1, index, 0)  # for as long as it takes: a copy would be of the size of u
    gram = matmul(rest, rest.mT)
    u.scatter_(-1, index, column)
    return gram
