"""Moments of pairs of sets of rows of a table: in blocks that fit a CPU's cache, forward and backward."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.functional._moments import (
    centre_,
    gradient_of_moments,
    off_diagonal_of,
    variances_of,
)
from correspondence_losses.functional._pair_moments import PairMoments, num_pairs, plain_moments
from correspondence_losses.functional._vmap import all_batch_first

# A block, the rows of both sides, takes twice that many numbers, which should stay in the cache.
_BLOCK_ELEMENTS = 2**20


def row_moments(table: Tensor, rows: Tensor, valid: Tensor | None) -> PairMoments:
    """Return the moments of the m pairs of sets of vectors that a table (r, c) holds in these rows (2, m, n).

    ``valid`` (m, n) says which of the n pairs of vectors count. The vectors are looked up once more in the backward
    pass, rather than kept.
    """
    squared_distances, variances, off_diagonals = _RowMoments.apply(table, rows, valid)[:3]
    invariance = squared_distances / num_pairs(rows.shape[-1], valid)
    return PairMoments(invariance, variances.unbind(), off_diagonals.unbind())


class _RowMoments(torch.autograd.Function):
    """Squared distances (m,), variances (2, m, c), off-diagonal sums (2, m); then what the backward pass needs."""

    @staticmethod
    def forward(table: Tensor, rows: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        squared_distances, others = [], []
        for sets, vectors, scratch in _blocks(table, rows):
            mask = _mask(valid, sets)
            difference = torch.sub(vectors[0], vectors[1], out=scratch[0])
            if mask is not None:
                difference.masked_fill_(~mask[0].unsqueeze(-1), 0)
            squared_distances.append(difference.square_().sum((-2, -1)))
            u = centre_(vectors, mask)
            variances = variances_of(u, mask, scratch)
            others.append((variances, *off_diagonal_of(u, variances, mask)))
        return torch.cat(squared_distances), *(torch.cat(parts, dim=1) for parts in zip(*others, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, variances, _, *products = output
        ctx.mark_non_differentiable(*products)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, variances, *products)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None, None]:
        table, rows, valid, variances, *products = ctx.saved_tensors
        of_distances = torch.zeros_like(variances[0, :, 0]) if grads[0] is None else grads[0]
        of_variances = torch.zeros_like(variances) if grads[1] is None else grads[1]
        of_off_diagonals = torch.zeros_like(variances[..., 0]) if grads[2] is None else grads[2]
        if torch.is_grad_enabled():  # a second derivative is wanted: all must be functions of the table
            pull_back = torch.func.vjp(lambda leaf: _in_one_piece(leaf, rows, valid), table)[1]
            return pull_back((of_distances, of_variances, of_off_diagonals))[0], None, None
        gradient = torch.zeros_like(table)
        for sets, vectors, total in _blocks(table, rows):
            mask = _mask(valid, sets)
            torch.sub(vectors[0], vectors[1], out=total[0]).mul_(2 * of_distances[sets, None, None])
            if mask is not None:
                total[0].masked_fill_(~mask[0].unsqueeze(-1), 0)
            torch.neg(total[0], out=total[1])
            gradient_of_moments(
                centre_(vectors, mask), variances[:, sets], [product[:, sets] for product in products], mask,
                of_variances[:, sets], of_off_diagonals[:, sets], onto=total,
            )  # fmt: skip
            gradient.index_add_(0, rows[:, sets].flatten(), total.flatten(0, 2))
        return gradient, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *arguments: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        batches = all_batch_first(info, in_dims, arguments)
        items = [[None if batch is None else batch[i] for batch in batches] for i in range(info.batch_size)]
        results = zip(*(_RowMoments.apply(*item) for item in items), strict=True)
        outputs = tuple(torch.stack(parts) for parts in results)
        return outputs, (0,) * len(outputs)


def _blocks(table: Tensor, rows: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Ranges of sets, their vectors (2, s, n, c), and memory of that size; both are for use until the next block."""
    m, n = rows.shape[1:]
    size = max(_BLOCK_ELEMENTS // (2 * n * table.shape[1]), 1)
    memory = table.new_empty(2, 2 * min(size, m) * n, table.shape[1])
    for start in range(0, m, size):
        sets = slice(start, start + size)
        of_block = rows[:, sets]
        vectors, scratch = memory[:, : of_block.numel()]
        torch.index_select(table, 0, of_block.flatten(), out=vectors)
        yield sets, vectors.view(*of_block.shape, -1), scratch.view(*of_block.shape, -1)


def _mask(valid: Tensor | None, sets: slice) -> Tensor | None:
    return None if valid is None else valid[sets].expand(2, -1, -1)


def _in_one_piece(table: Tensor, rows: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    """The three moments, of operations that autograd knows."""
    vectors = F.embedding(rows, table)
    squared_distances, *others = plain_moments(vectors[0], vectors[1], valid)
    return squared_distances, torch.stack(others[:2]), torch.stack(others[2:])
