"""Properties of VICReg's equations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.functional import (
    collapse_diagnostics,
    covariance_loss,
    invariance_loss,
    variance_loss,
    vicreg_terms,
)
from correspondence_losses.functional._moments import second_moments

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**16)
examples = settings(max_examples=30, deadline=None)


def vectors(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def mask(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def literal_covariance_matrix(z: Tensor) -> Tensor:
    n, d = z.shape
    mean = sum(z[i] for i in range(n)) / n
    matrix = torch.zeros(d, d, dtype=z.dtype)
    for i in range(n):
        matrix = matrix + torch.outer(z[i] - mean, z[i] - mean)
    return matrix / (n - 1) if n > 1 else matrix


def literal_variance(z: Tensor, gamma: float, eps: float) -> Tensor:
    variances = literal_covariance_matrix(z).diagonal()
    return sum(max(0.0, gamma - (float(v) + eps) ** 0.5) for v in variances) / z.shape[1]


def literal_covariance(z: Tensor) -> float:
    c = literal_covariance_matrix(z)
    d = len(c)
    return sum(float(c[i, j]) ** 2 for i in range(d) for j in range(d) if i != j) / d


def literal_invariance(z1: Tensor, z2: Tensor) -> float:
    return sum(float((a - b) @ (a - b)) for a, b in zip(z1, z2, strict=True)) / len(z1)


@examples
@given(shapes, seeds, st.floats(0.1, 3), st.floats(1e-6, 0.1))
def test_equations(shape, seed, gamma, eps):
    z1, z2 = vectors(seed, 2, *shape)
    assert float(variance_loss(z1, gamma=gamma, eps=eps)) == pytest.approx(literal_variance(z1, gamma, eps))
    assert float(covariance_loss(z1)) == pytest.approx(literal_covariance(z1), abs=1e-12)
    assert float(invariance_loss(z1, z2)) == pytest.approx(literal_invariance(z1, z2))


@examples
@given(shapes, seeds)
def test_masked_vectors_do_not_exist(shape, seed):
    z1, z2 = vectors(seed, 2, *shape)
    valid = mask(seed, shape[0])
    kept1, kept2 = z1[valid], z2[valid]
    z1[~valid] = torch.nan
    z2[~valid] = torch.inf
    if valid.any():
        torch.testing.assert_close(variance_loss(z1, valid=valid), variance_loss(kept1))
        torch.testing.assert_close(covariance_loss(z1, valid=valid), covariance_loss(kept1))
        torch.testing.assert_close(invariance_loss(z1, z2, valid=valid), invariance_loss(kept1, kept2))
    else:
        assert variance_loss(z1, valid=valid) == 0
        assert covariance_loss(z1, valid=valid) == 0
        assert invariance_loss(z1, z2, valid=valid) == 0
    z1.requires_grad_()
    z2.requires_grad_()
    sum(vicreg_terms(z1, z2, valid=valid)).backward()
    for grad in (z1.grad, z2.grad):
        assert grad.isfinite().all()
        assert (grad[~valid] == 0).all()


@examples
@given(shapes, seeds, st.sampled_from(["equations", "vicreg", "vicregl"]))
def test_conventions_differ_by_the_factors_of_the_table(shape, seed, convention):
    z1, z2 = vectors(seed, 2, *shape)
    d = shape[1]
    inv, var, cov = {"equations": (1, 1, 1), "vicreg": (1 / d, 0.5, 1), "vicregl": (1 / d, 0.5, 0.5)}[convention]
    terms = vicreg_terms(z1, z2, inv_coeff=3, var_coeff=5, cov_coeff=7, convention=convention)
    torch.testing.assert_close(terms.invariance, 3 * inv * invariance_loss(z1, z2))
    torch.testing.assert_close(terms.variance, 5 * var * (variance_loss(z1) + variance_loss(z2)))
    torch.testing.assert_close(terms.covariance, 7 * cov * (covariance_loss(z1) + covariance_loss(z2)))


@examples
@given(shapes, seeds)
def test_leading_dimensions_are_a_batch(shape, seed):
    z1, z2 = vectors(seed, 2, 2, 3, *shape)
    valid = mask(seed, 2, 3, shape[0])
    for of_batch, of_each in (
        (variance_loss(z1, valid=valid), lambda i, j: variance_loss(z1[i, j], valid=valid[i, j])),
        (covariance_loss(z1, valid=valid), lambda i, j: covariance_loss(z1[i, j], valid=valid[i, j])),
        (covariance_loss(z1), lambda i, j: covariance_loss(z1[i, j])),
        (invariance_loss(z1, z2), lambda i, j: invariance_loss(z1[i, j], z2[i, j])),
    ):
        expected = torch.stack([torch.stack([of_each(i, j) for j in range(3)]) for i in range(2)])
        torch.testing.assert_close(of_batch, expected)


@examples
@given(shapes, seeds)
def test_invariances(shape, seed):
    n, d = shape
    z1, z2 = vectors(seed, 2, n, d)
    shift = 5 * vectors(seed + 1, d)
    samples = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    channels = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    terms = vicreg_terms(z1, z2)
    for other in (
        vicreg_terms(z1 + shift, z2 + shift),
        vicreg_terms(z1[samples], z2[samples]),
        vicreg_terms(z1[:, channels], z2[:, channels]),
        vicreg_terms(z2, z1),
        vicreg_terms(-z1, -z2),
    ):
        torch.testing.assert_close(other, terms)
    rotation = torch.linalg.qr(vectors(seed, d, d)).Q
    torch.testing.assert_close(invariance_loss(z1 @ rotation, z2 @ rotation), invariance_loss(z1, z2))
    # A rotation keeps the norm of the whole covariance matrix, so what leaves the diagonal enters the rest.
    variances, off_diagonal = second_moments(z1)
    rotated_variances, rotated_off_diagonal = second_moments(z1 @ rotation)
    torch.testing.assert_close(
        off_diagonal + variances.square().sum(), rotated_off_diagonal + rotated_variances.square().sum()
    )


@examples
@given(shapes, seeds, st.floats(0.1, 10))
def test_scale_laws(shape, seed, scale):
    z1, z2 = vectors(seed, 2, *shape)
    torch.testing.assert_close(covariance_loss(scale * z1), scale**4 * covariance_loss(z1))
    torch.testing.assert_close(invariance_loss(scale * z1, scale * z2), scale**2 * invariance_loss(z1, z2))
    wide = 100 * torch.cat((torch.eye(shape[1]), -torch.eye(shape[1])))
    assert variance_loss(wide) == 0


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4, 9), (9, 4), (1, 1), (2, 2, 5), (2, 5, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(shape, masked):
    z1, z2 = vectors(0, 2, *shape).requires_grad_().unbind()
    valid = mask(1, *shape[:-1]) if masked else None

    def terms(z1, z2):
        return vicreg_terms(z1, z2, gamma=2.0, valid=valid)

    assert torch.autograd.gradcheck(terms, (z1, z2))
    assert torch.autograd.gradgradcheck(terms, (z1, z2))
    assert torch.autograd.gradcheck(lambda z: variance_loss(z, gamma=2.0, valid=valid), z1)


@pytest.mark.parametrize("shape", [(1, 4), (6, 1), (6, 4), (4, 6)])
def test_collapse_has_finite_values_and_gradients(shape):
    z = torch.full(shape, 3.0, requires_grad=True)
    assert float(variance_loss(z.detach())) == pytest.approx(1 - 1e-2)
    assert covariance_loss(z) == 0
    sum(vicreg_terms(z, z.detach() + 1)).backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(3, 700), (64, 512), (63, 64), (64, 63), (200, 20)])
@pytest.mark.parametrize(
    "kind", ["large mean, tiny variance", "larger mean", "one direction", "one dimension", "decaying", "outlier"]
)
def test_float32_keeps_its_digits_where_sums_would_cancel(shape, kind):
    n, d = shape
    z = vectors(0, n, d)
    z = {
        "large mean, tiny variance": lambda: 1e3 + 1e-3 * z,
        "larger mean": lambda: 1e5 + z,
        "one direction": lambda: 5 + 1e-3 * z[:, :1] + 1e-6 * z,
        "one dimension": lambda: z * torch.cat((torch.tensor([1e4]), torch.ones(d - 1))),
        "decaying": lambda: z * torch.logspace(2, -4, d),
        "outlier": lambda: torch.cat((1e4 * z[:1], z[1:])),
    }[kind]()
    z = z.float()
    exact = z.double().requires_grad_()
    covariance = torch.cov(exact.T) - torch.diag(exact.var(0))
    expected = covariance.square().sum() / d
    actual_input = z.clone().requires_grad_()
    actual = covariance_loss(actual_input)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-3)
    assert float(variance_loss(z.detach())) == pytest.approx(
        (1 - (exact.detach().var(0) + 1e-4).sqrt()).relu().mean().item(), rel=1e-3
    )
    (expected_grad,) = torch.autograd.grad(expected, exact)
    (actual_grad,) = torch.autograd.grad(actual, actual_input)
    error = (actual_grad - expected_grad).norm(dim=0) / expected_grad.norm(dim=0)
    assert float(error.max()) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 32), (32, 8)])
def test_half_precision_neither_overflows_nor_loses_gradients(dtype, shape):
    z1, z2 = (200 * vectors(0, 2, *shape)).to(dtype)
    z1.requires_grad_()
    terms = vicreg_terms(z1, z2)
    expected = vicreg_terms(z1.detach().double(), z2.double())
    for actual, wanted in zip(terms, expected, strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual.double(), wanted, rtol=1e-4, atol=1e-4)
    (sum(terms) / 1e6).backward()
    assert z1.grad.dtype == dtype
    assert z1.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(8, 32), (32, 8)])
def test_autocast_changes_nothing(shape):
    z1, z2 = vectors(0, 2, *shape, dtype=torch.float32)
    inside, outside = z1.clone().requires_grad_(), z1.clone().requires_grad_()
    sum(vicreg_terms(outside, z2)).backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sum(vicreg_terms(inside, z2))
        loss.backward()
    assert loss == sum(vicreg_terms(z1, z2))
    assert torch.equal(inside.grad, outside.grad)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(3, 6), (6, 3)])
def test_compiles_whole(shape, masked):
    z1, z2 = vectors(0, 2, *shape)
    valid = mask(0, shape[0]) if masked else None

    def loss(z1, z2):
        return sum(vicreg_terms(z1, z2, valid=valid))

    eager, compiled = z1.clone().requires_grad_(), z1.clone().requires_grad_()
    loss(eager, z2).backward()
    torch.compile(loss, fullgraph=True, backend="aot_eager")(compiled, z2).backward()
    torch.testing.assert_close(compiled.grad, eager.grad)


@pytest.mark.parametrize("shape", [(3, 6), (6, 3)])
def test_function_transforms(shape):
    z1, z2 = vectors(0, 2, 4, *shape)
    valid = mask(0, shape[0])

    def loss(z1, z2):
        return sum(vicreg_terms(z1, z2)) + sum(vicreg_terms(z1, z2, valid=valid))

    torch.testing.assert_close(torch.func.vmap(loss)(z1, z2), torch.stack([loss(*z) for z in zip(z1, z2, strict=True)]))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(z1, z2[0]),
        torch.stack([torch.func.grad(loss)(z, z2[0]) for z in z1]),
    )
    hessian = torch.func.jacrev(torch.func.grad(loss))(z1[0], z2[0])
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(lambda z: loss(z, z2[0]), z1[0]))


def test_diagnostics():
    z = vectors(0, 5, 7, 4)
    mean_std, off_diagonal_norm = collapse_diagnostics(z)
    for i in range(5):
        c = literal_covariance_matrix(z[i])
        torch.testing.assert_close(mean_std[i], c.diagonal().sqrt().mean())
        torch.testing.assert_close(off_diagonal_norm[i], (c - torch.diag(c.diagonal())).norm())
    assert not collapse_diagnostics(z.requires_grad_()).mean_std.requires_grad
    copies = z[0, :, :1].expand(-1, 4)
    assert collapse_diagnostics(copies).off_diagonal_norm > 0


Z = torch.randn(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: variance_loss([1.0]), TypeError, "z must be a torch.Tensor"),
        (lambda: variance_loss(Z.long()), TypeError, "z must be a floating-point"),
        (lambda: variance_loss(Z[0]), ValueError, r"z must have shape \(..., n, d\)"),
        (lambda: variance_loss(Z[:0]), ValueError, "z must not be empty"),
        (lambda: variance_loss(Z, gamma=0), ValueError, "gamma must be above 0"),
        (lambda: variance_loss(Z, eps=0), ValueError, "eps must be above 0"),
        (lambda: variance_loss(Z, valid=torch.ones(4)), TypeError, "valid must be a bool"),
        (lambda: variance_loss(Z, valid=torch.ones(3, dtype=torch.bool)), ValueError, r"valid must have shape \(4,\)"),
        (lambda: covariance_loss(Z[0]), ValueError, "z must have shape"),
        (lambda: covariance_loss(Z.int()), TypeError, "z must be"),
        (lambda: covariance_loss(Z.to("meta"), valid=torch.ones(4, dtype=torch.bool)), ValueError, "device of z"),
        (lambda: invariance_loss(Z, Z[:1]), ValueError, r"z2 must have shape \(4, 3\)"),
        (lambda: invariance_loss(Z, Z.long()), TypeError, "z2 must be"),
        (lambda: invariance_loss(Z, Z.to("meta")), ValueError, "z2 must be on the device of z1"),
        (lambda: vicreg_terms(Z, Z, inv_coeff=-1), ValueError, "inv_coeff must be at least 0"),
        (lambda: vicreg_terms(Z, Z, convention="paper"), ValueError, "convention must be one of 'equations'"),
        (lambda: collapse_diagnostics(Z[:, :0]), ValueError, "z must not be empty"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
