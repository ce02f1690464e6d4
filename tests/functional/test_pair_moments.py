"""Moments of pairs of sets in few passes, against the same one after the other."""

import pytest
import torch
from torch import Tensor

from correspondence_losses.functional._pair_moments import PairMoments, pair_moments, plain_moments

SIZES = [(1, 4), (4, 6), (7, 3)]  # Gram matrices where n < d, covariances elsewhere


def inputs(n: int, d: int, *, masked: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(n)
    z1, z2 = torch.randn(2, 3, n, d, generator=generator, dtype=torch.float64) + 3
    valid = torch.rand(3, n, generator=generator) < 0.6
    valid[0] = False
    return z1.requires_grad_(), z2.requires_grad_(), valid if masked else None


def flat(moments: PairMoments) -> tuple[Tensor, ...]:
    return moments.invariance, *moments.variances, *moments.off_diagonals


def expected_moments(z1: Tensor, z2: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
    squared_distances, *others = plain_moments(z1, z2, valid)
    return squared_distances / (z1.shape[-2] if valid is None else valid.sum(-1).clamp(min=1)), *others


def weighted(moments: tuple[Tensor, ...]) -> Tensor:
    return sum((moment * torch.linspace(1, 2, moment.numel()).view_as(moment)).sum() for moment in moments)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_value_and_derivatives(n: int, d: int, masked: bool) -> None:
    z1, z2, valid = inputs(n, d, masked=masked)

    def value_and_derivatives(moments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        loss = weighted(moments)
        plain = torch.autograd.grad(loss, (z1, z2), retain_graph=True)
        first = torch.autograd.grad(loss, (z1, z2), create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), (z1, z2))
        return *moments, *plain, *first, *second

    got = value_and_derivatives(flat(pair_moments(z1, z2, valid)))
    expected = value_and_derivatives(expected_moments(z1, z2, valid))
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("part", range(5))
def test_gradient_of_one_moment_alone(part: int) -> None:
    arguments = inputs(4, 6, masked=True)
    got, expected = (
        torch.autograd.grad(moments[part].sum(), arguments[:2], allow_unused=True, materialize_grads=True)
        for moments in (flat(pair_moments(*arguments)), expected_moments(*arguments))
    )
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("wanted", [0, 1])
def test_gradient_of_one_set_alone(wanted: int) -> None:
    *sets, valid = inputs(4, 6, masked=False)
    both = torch.autograd.grad(weighted(flat(pair_moments(*sets, valid))), sets)
    sets[1 - wanted] = sets[1 - wanted].detach()
    (alone,) = torch.autograd.grad(weighted(flat(pair_moments(*sets, valid))), sets[wanted])
    torch.testing.assert_close(alone, both[wanted])


def test_vmap() -> None:
    z1, z2, valid = inputs(4, 6, masked=True)

    def gradient(z1: Tensor, z2: Tensor, valid: Tensor) -> Tensor:
        return torch.func.grad(lambda leaf: weighted(flat(pair_moments(leaf, z2, valid))))(z1)

    got = torch.vmap(gradient, (0, None, 0))(z1, z2[1], valid)
    expected = torch.stack([gradient(one, z2[1], own) for one, own in zip(z1, valid, strict=True)])
    torch.testing.assert_close(got, expected)


def test_layout_and_dtype_of_the_inputs_do_not_matter() -> None:
    z1, z2, _ = inputs(4, 6, masked=False)
    expected = torch.autograd.grad(weighted(flat(pair_moments(z1, z2, None))), (z1, z2))

    def stored_otherwise(z: Tensor) -> Tensor:
        return z.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()

    leaves = stored_otherwise(z1), stored_otherwise(z2)
    torch.testing.assert_close(torch.autograd.grad(weighted(flat(pair_moments(*leaves, None))), leaves), expected)
    mixed = pair_moments(z1, z2.float(), None)
    assert {moment.dtype for moment in flat(mixed)} == {torch.float64}
