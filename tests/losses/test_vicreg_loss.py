"""VICRegLoss: the function behind it, its peer, and what a user may get wrong."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import vicreg_terms
from correspondence_losses.losses import VICRegLoss


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 2**16))
def test_equals_lightly(n, d, seed):
    peer = pytest.importorskip("lightly.loss").VICRegLoss(lambda_param=10, mu_param=20, nu_param=3, eps=1e-3)
    z = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss = VICRegLoss(inv_coeff=10, var_coeff=20, cov_coeff=3, eps=1e-3)(*ours)
    expected = peer(*theirs)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("convention", ["equations", "vicreg", "vicregl"])
def test_is_the_sum_of_its_terms_and_the_terms_those_of_the_function(convention):
    z1, z2 = torch.randn(2, 8, 16, dtype=torch.float64)
    loss = VICRegLoss(1, 2, 3, gamma=0.5, eps=1e-3, convention=convention)
    terms = loss.terms(z1, z2)
    assert terms == vicreg_terms(
        z1, z2, inv_coeff=1, var_coeff=2, cov_coeff=3, gamma=0.5, eps=1e-3, convention=convention
    )
    assert loss(z1, z2) == sum(terms)
    assert loss(z1, z2).shape == ()


def test_gather_without_a_process_group_changes_nothing():
    z1, z2 = torch.randn(2, 8, 16)
    assert VICRegLoss(gather=True)(z1, z2) == VICRegLoss()(z1, z2)


def test_compiles_whole():
    z1, z2 = torch.randn(2, 4, 8)
    loss = VICRegLoss(gather=True)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True)(z1, z2), loss(z1, z2))


def test_repr_shows_the_settings():
    assert "convention='vicreg'" in repr(VICRegLoss())


Z = torch.randn(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: VICRegLoss(var_coeff=-1), ValueError, "var_coeff must be at least 0, got -1"),
        (lambda: VICRegLoss(cov_coeff=float("nan")), ValueError, "cov_coeff must be at least 0"),
        (lambda: VICRegLoss(gamma=-1), ValueError, "gamma must be above 0"),
        (lambda: VICRegLoss(convention="lightly"), ValueError, "convention must be one of"),
        (lambda: VICRegLoss()(Z, Z[None]), ValueError, r"z2 must have shape \(4, 3\)"),
        (lambda: VICRegLoss()(Z[None], Z[None]), ValueError, r"z1 must have shape \(n, d\)"),
        (lambda: VICRegLoss()(Z[:0], Z[:0]), ValueError, "z1 must not be empty"),
        (lambda: VICRegLoss()(Z, Z.long()), TypeError, "z2 must be a floating-point"),
        (lambda: VICRegLoss()(Z, Z.to("meta")), ValueError, "z2 must be on the device of z1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
