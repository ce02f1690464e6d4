"""Moments of rows of a table, in blocks, against those of the vectors that it holds there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from correspondence_losses.functional import _row_moments
from correspondence_losses.functional._pair_moments import PairMoments, pair_moments
from correspondence_losses.functional._row_moments import row_moments


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_row_moments, "_BLOCK_ELEMENTS", 150)


def of_vectors(table: Tensor, rows: Tensor, valid: Tensor | None) -> PairMoments:
    return pair_moments(table[rows[0]], table[rows[1]], valid)


def inputs(n: int, c: int, *, masked: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(n)
    table = (torch.randn(11, c, generator=generator, dtype=torch.float64) + 3).requires_grad_()
    rows = torch.randint(11, (2, 7, n), generator=generator)  # of the 11, most are there several times
    valid = torch.rand(7, n, generator=generator) < 0.6
    valid[0] = False
    return table, rows, valid if masked else None


def total(moment: Tensor | tuple[Tensor, ...]) -> Tensor:
    return moment.sum() if isinstance(moment, Tensor) else sum(part.sum() for part in moment)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "c"), [(1, 4), (4, 6), (7, 3)])  # Gram matrices where n < c, covariances elsewhere
def test_equals_moments_of_the_vectors(n: int, c: int, masked: bool) -> None:
    table, rows, valid = inputs(n, c, masked=masked)

    def value_and_derivatives(function: Callable[..., PairMoments]) -> tuple[Tensor, ...]:
        moments = function(table, rows, valid)
        parts = moments.invariance, *moments.variances, *moments.off_diagonals
        loss = sum((part * torch.linspace(1, 2, part.numel()).view_as(part)).sum() for part in parts)
        (plain,) = torch.autograd.grad(loss, table, retain_graph=True)
        (first,) = torch.autograd.grad(loss, table, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), table)
        return *parts, plain, first, second

    got, expected = value_and_derivatives(row_moments), value_and_derivatives(of_vectors)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", PairMoments._fields)
def test_gradient_of_one_moment_alone(name: str) -> None:
    table, rows, valid = inputs(4, 6, masked=True)
    got, expected = (
        torch.autograd.grad(total(getattr(function(table, rows, valid), name)), table)
        for function in (row_moments, of_vectors)
    )
    torch.testing.assert_close(got, expected)


def test_vmap_over_tables_and_rows() -> None:
    table, rows, valid = inputs(4, 6, masked=True)
    tables = torch.stack([table.detach(), table.detach().flip(0)])
    for arguments, in_dims in (((tables, rows), (0, None)), ((tables, torch.stack([rows, rows.flip(0)], 2)), (0, 2))):

        def gradient(table: Tensor, rows: Tensor) -> Tensor:
            return torch.func.grad(lambda leaf: sum(map(total, row_moments(leaf, rows, valid))))(table)

        got = torch.vmap(gradient, in_dims)(*arguments)
        singly = [rows, rows] if in_dims[1] is None else [rows, rows.flip(0)]
        expected = torch.stack([gradient(one, own) for one, own in zip(tables, singly, strict=True)])
        torch.testing.assert_close(got, expected)
