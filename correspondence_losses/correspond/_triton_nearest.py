"""The nearest-neighbour search by inner products as one Triton kernel: no matrix of all pairs, not even in blocks."""
# Triton has no types, and its constants are written as such.
# ruff: noqa: N803
# mypy: disable-error-code="import-untyped,import-not-found,untyped-decorator,no-untyped-def,no-untyped-call,misc"

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_ROWS = 64
_BLOCK_COLUMNS = 64
_BLOCK_CHANNELS = 32


def best_columns(a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
    """The first argmax over q of ⟨a_p, b_q⟩ + bias_q, int64 (s, rows).

    All float32: a (s, d, rows), b (s, d, columns), bias (s, 1, columns).
    """
    samples, channels, rows = a.shape
    columns = b.shape[2]
    result = torch.empty(samples, rows, dtype=torch.int64, device=a.device)
    with torch.cuda.device_of(a):
        _best_columns_kernel[triton.cdiv(rows, _BLOCK_ROWS), samples](
            a.contiguous(), b.contiguous(), bias.contiguous(), result, channels, rows, columns,
            BLOCK_ROWS=_BLOCK_ROWS, BLOCK_COLUMNS=_BLOCK_COLUMNS, BLOCK_CHANNELS=_BLOCK_CHANNELS,
        )  # fmt: skip
    return result


@triton.jit
def _best_columns_kernel(
    a,
    b,
    bias,
    result,
    num_channels,
    num_rows,
    num_columns,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    sample = tl.program_id(1).to(tl.int64)
    is_row = rows < num_rows
    best = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    best_column = tl.zeros((BLOCK_ROWS,), tl.int64)
    for first in range(0, num_columns, BLOCK_COLUMNS):
        columns = first + tl.arange(0, BLOCK_COLUMNS)
        is_column = columns < num_columns
        products = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
        for channel in range(0, num_channels, BLOCK_CHANNELS):
            channels = channel + tl.arange(0, BLOCK_CHANNELS)
            is_channel = channels < num_channels
            vectors = sample * num_channels + channels
            of_a = tl.load(
                a + vectors[None, :] * num_rows + rows[:, None], mask=is_row[:, None] & is_channel[None, :], other=0
            )
            of_b = tl.load(
                b + vectors[:, None] * num_columns + columns[None, :],
                mask=is_channel[:, None] & is_column[None, :],
                other=0,
            )
            products = tl.dot(of_a, of_b, products, input_precision="ieee")
        added = tl.load(bias + sample * num_columns + columns, mask=is_column, other=float("-inf"))
        scores = products + added[None, :]
        scores = tl.where(scores == scores, scores, float("-inf"))  # the order of a NaN is undefined
        score, place = tl.max(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
        better = score > best  # an equal one further on is not
        best = tl.where(better, score, best)
        best_column = tl.where(better, first + place, best_column)
    tl.store(result + sample * num_rows + rows, best_column, mask=is_row)
