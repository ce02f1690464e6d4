"""The contrastive equations against loops over queries and keys."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.functional import detcon_loss, info_nce_loss

seeds = st.integers(0, 2**16)
examples = settings(max_examples=30, deadline=None)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.7


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def literal_patch_nce(queries, keys, temperature, valid, cells) -> list[float]:
    losses = [0.0] * len(queries)
    count = len(queries)
    for i in (i for i in range(count) if valid[i]):
        positive = math.exp(cosine(queries[i], keys[i]) / temperature)
        negatives = sum(
            math.exp(cosine(queries[i], keys[j]) / temperature)
            for j in range(count)
            if j != i and valid[j] and cells[j] != cells[i]
        )
        losses[i] = -math.log(positive / (positive + negatives))
    return losses


def literal_segment_contrast(views, present, temperature) -> list[float]:
    """Over a list of the two views' vectors of all segments of all images."""
    losses = [0.0] * len(views[0])
    count = len(views[0])
    for own, other in ((0, 1), (1, 0)):
        for m in (m for m in range(count) if present[0][m] and present[1][m]):
            across = [math.exp(cosine(views[own][m], views[other][n]) / temperature) for n in range(count)]
            within = [math.exp(cosine(views[own][m], views[own][n]) / temperature) for n in range(count)]
            below = sum(value for n, value in enumerate(across) if present[other][n])
            below += sum(value for n, value in enumerate(within) if present[own][n] and n != m)
            losses[m] -= math.log(across[m] / below)
    return losses


@examples
@given(seeds, st.integers(1, 6), st.integers(1, 4), st.floats(0.05, 2))
def test_patch_nce_equation(seed, k, d, temperature):
    queries, keys = draw(seed, 2, 3, k, d)
    valid = mask(seed, 3, k)
    cells = torch.randint(4, (3, k), generator=torch.Generator().manual_seed(seed))
    expected = [
        literal_patch_nce(queries[image], keys[image], temperature, valid[image], cells[image]) for image in range(3)
    ]
    total = sum(map(sum, expected))
    for reduction, value in {
        "none": [value for image in expected for value in image],
        "sum": [total],
        "mean": [total / max(int(valid.sum()), 1)],
    }.items():
        actual = info_nce_loss(
            queries, keys, temperature=temperature, valid=valid, key_cells=cells, reduction=reduction
        )
        assert actual.shape == ((3, k) if reduction == "none" else ())
        assert actual.flatten().tolist() == pytest.approx(value, abs=1e-9)
    everything = info_nce_loss(queries, keys, temperature=temperature, reduction="none")
    expected = literal_patch_nce(queries[0], keys[0], temperature, torch.ones(k), torch.arange(k))
    assert everything[0].tolist() == pytest.approx(expected, abs=1e-9)


@examples
@given(seeds, st.integers(1, 3), st.integers(1, 4), st.floats(0.05, 2))
def test_segment_contrast_equation(seed, b, s, temperature):
    means_a, means_b = draw(seed, 2, b, s, 3)
    present_a, present_b = mask(seed, 2, b, s)
    expected = literal_segment_contrast(
        (means_a.flatten(0, 1), means_b.flatten(0, 1)), (present_a.flatten(), present_b.flatten()), temperature
    )
    shared = int((present_a & present_b).sum())
    for reduction, value in {
        "none": expected,
        "sum": [sum(expected)],
        "mean": [sum(expected) / max(shared, 1)],
    }.items():
        actual = detcon_loss(
            means_a,
            means_b,
            temperature=temperature,
            present_a=present_a,
            present_b=present_b,
            reduction=reduction,
        )
        assert actual.shape == ((b, s) if reduction == "none" else ())
        assert actual.flatten().tolist() == pytest.approx(value, abs=1e-9)


@examples
@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_segment_contrast_equals_detcon(seed, b, s):
    peer = pytest.importorskip("lightly.loss").DetConSLoss(temperature=0.3, gather_distributed=False)
    means = draw(seed, 2, b, s, 4).float()
    ours, theirs = means.clone().requires_grad_(), means.clone().requires_grad_()
    labels = torch.arange(s).expand(b, -1)
    loss = detcon_loss(*ours, temperature=0.3)
    expected = peer(*theirs, labels, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        *(torch.autograd.grad(*pair)[0] for pair in ((loss, ours), (expected, theirs))), rtol=1e-3, atol=1e-5
    )


@examples
@given(seeds, st.floats(0.01, 100))
def test_invariances(seed, scale):
    a, b = draw(seed, 2, 3, 5, 4)
    rotation = torch.linalg.qr(draw(seed, 4, 4)).Q
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    for loss in (info_nce_loss, detcon_loss):
        for other in (loss(scale * a, b), loss(a @ rotation, b @ rotation), loss(a[:, order], b[:, order])):
            torch.testing.assert_close(other, loss(a, b))
    torch.testing.assert_close(detcon_loss(b, a), detcon_loss(a, b))


def test_known_values():
    keys = torch.eye(4, dtype=torch.float64)
    assert info_nce_loss(keys, keys, temperature=0.01).item() == pytest.approx(0)
    assert info_nce_loss(torch.ones(4, 4), keys).item() == pytest.approx(math.log(4), rel=1e-6)
    assert info_nce_loss(keys[:1], keys[:1]) == 0  # no negatives


def losses(valid: Tensor):
    return {
        "patches": lambda a, b: info_nce_loss(a, b, valid=valid),
        "segments": lambda a, b: detcon_loss(a, b, present_a=valid, present_b=valid.flip(-1)),
    }


@pytest.mark.parametrize("name", ["patches", "segments"])
def test_gradients(name):
    a, b = draw(0, 2, 2, 4, 3).requires_grad_().unbind()
    assert torch.autograd.gradcheck(losses(mask(0, 2, 4))[name], (a, b))


@pytest.mark.parametrize("name", ["patches", "segments"])
def test_what_is_not_valid_contributes_nothing(name):
    a, b = draw(0, 2, 2, 4, 3)
    valid = mask(0, 2, 4)
    expected = losses(valid)[name](a, b)
    absent_a, absent_b = (valid, valid) if name == "patches" else (valid, valid.flip(-1))
    a[~absent_a] = torch.nan
    b[~absent_b] = torch.inf
    a.requires_grad_()
    actual = losses(valid)[name](a, b)
    torch.testing.assert_close(actual, expected)
    actual.backward()
    assert a.grad.isfinite().all()
    nothing = losses(torch.zeros_like(valid))[name](a, b)
    assert nothing == 0
    (grad,) = torch.autograd.grad(nothing, a)
    assert (grad == 0).all()


@pytest.mark.parametrize("name", ["patches", "segments"])
def test_zero_vectors_have_finite_gradients(name):
    a, b = draw(0, 2, 2, 4, 3)
    a[0, 0] = 0
    b[1, 2] = 0
    a.requires_grad_()
    loss = losses(torch.ones(2, 4, dtype=torch.bool))[name](a, b)
    loss.backward()
    assert loss.isfinite()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["patches", "segments"])
def test_half_precision_and_autocast(name, dtype):
    a, b = (1e3 * draw(0, 2, 2, 4, 3)).to(dtype)
    loss = losses(mask(0, 2, 4))[name]
    a.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(a, b)
        actual.backward()
    torch.testing.assert_close(actual.double(), loss(a.detach().double(), b.double()), rtol=1e-4, atol=1e-4)
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("name", ["patches", "segments"])
def test_compiles_whole_and_transforms(name):
    a, b = draw(0, 2, 2, 4, 3)
    loss = losses(mask(0, 2, 4))[name]
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="aot_eager")(a, b), loss(a, b))
    stacked = torch.stack((a, b))
    torch.testing.assert_close(torch.func.vmap(loss)(stacked, stacked.flip(0)), torch.stack([loss(a, b), loss(b, a)]))


A = torch.randn(2, 4, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: info_nce_loss(A.long(), A), TypeError, "queries must be"),
        (lambda: info_nce_loss(A[0, 0], A[0, 0]), ValueError, "queries must have shape"),
        (lambda: info_nce_loss(A, A[:1]), ValueError, r"keys must have shape \(2, 4, 3\)"),
        (lambda: info_nce_loss(A[:0], A[:0]), ValueError, "queries must not be empty"),
        (lambda: info_nce_loss(A, A, temperature=0), ValueError, "temperature must be above 0"),
        (
            lambda: info_nce_loss(A, A, reduction="batchmean"),
            ValueError,
            "reduction must be one of 'none', 'mean', 'sum'",
        ),
        (lambda: info_nce_loss(A, A, valid=torch.ones(2, 4)), TypeError, "valid must be a bool"),
        (lambda: info_nce_loss(A, A, key_cells=torch.ones(2, 4)), TypeError, "key_cells must be an integer"),
        (lambda: info_nce_loss(A, A, key_cells=torch.ones(4, dtype=torch.int64)), ValueError, "key_cells must have"),
        (lambda: info_nce_loss(A, A.to("meta")), ValueError, "keys must be on the device of queries"),
        (lambda: detcon_loss(A[0], A[0]), ValueError, r"means_a must have shape \(b, s, d\)"),
        (lambda: detcon_loss(A, A[:, :1]), ValueError, "means_b must have shape"),
        (lambda: detcon_loss(A, A, temperature=-1), ValueError, "temperature must be above 0"),
        (lambda: detcon_loss(A, A, present_b=torch.ones(2, 4)), TypeError, "present_b must be a bool"),
        (lambda: detcon_loss(A, A.long()), TypeError, "means_b must be"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
