"""CORAL and the maximum mean discrepancy, against their equations written out in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import coral_loss, mmd_loss


@st.composite
def sets(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, m, d = draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(st.integers(1, 4))
    make = {"generator": generator, "dtype": torch.float64}
    return torch.randn(n, d, **make), 2 * torch.randn(m, d, **make) + 1


def covariance(rows):
    n, d = len(rows), len(rows[0])
    means = [sum(row[c] for row in rows) / n for c in range(d)]
    return [
        [sum((row[i] - means[i]) * (row[j] - means[j]) for row in rows) / (n - 1) for j in range(d)] for i in range(d)
    ]


@settings(max_examples=60, deadline=None)
@given(sets())
def test_coral_equals_the_equation(vectors):
    source, target = vectors
    a, b = covariance(source.tolist()), covariance(target.tolist())
    d = source.shape[1]
    expected = sum((a[i][j] - b[i][j]) ** 2 for i in range(d) for j in range(d)) / (4 * d**2)
    assert coral_loss(source, target).item() == pytest.approx(expected, rel=1e-9)


def kernel(x, y, bandwidths, mean):
    distance = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return sum(math.exp(-distance / (factor * mean)) for factor in bandwidths) / len(bandwidths)


@settings(max_examples=60, deadline=None)
@given(sets(), st.sampled_from([(1.0,), (0.25, 0.5, 1.0, 2.0, 4.0)]))
def test_mmd_equals_the_equation(vectors, bandwidths):
    source, target = (rows.tolist() for rows in vectors)
    both = source + target
    distances = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x in both for y in both]
    mean = sum(distances) / (len(both) * (len(both) - 1))

    def average(first, second):
        return sum(kernel(x, y, bandwidths, mean) for x in first for y in second) / (len(first) * len(second))

    expected = average(source, source) + average(target, target) - 2 * average(source, target)
    assert mmd_loss(*vectors, bandwidths=bandwidths).item() == pytest.approx(expected, rel=1e-8, abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(sets(), st.floats(0.1, 10))
def test_what_they_do_not_see(vectors, scale):
    source, target = vectors
    for loss in (coral_loss, mmd_loss):
        value = loss(source, target)
        torch.testing.assert_close(loss(target, source), value)
        torch.testing.assert_close(loss(source + scale, target + scale), value)
        torch.testing.assert_close(loss(source.flip(0), target), value)
        torch.testing.assert_close(loss(source, source), torch.zeros_like(value), atol=1e-12, rtol=0)
        assert value >= -1e-12
    torch.testing.assert_close(coral_loss(scale * source, scale * target), scale**4 * coral_loss(source, target))
    torch.testing.assert_close(mmd_loss(scale * source, scale * target), mmd_loss(source, target))
    torch.testing.assert_close(coral_loss(source, target + scale), coral_loss(source, target))


def test_gradients():
    source = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(coral_loss, (source, target))
    loss = mmd_loss(source, target)
    loss.sum().backward()
    # The mean distance is constant: the numerical gradient is that of the equation with it held.
    with torch.no_grad():
        both = torch.cat((source, target), 1)
        mean = torch.cdist(both, both).square().sum((1, 2)) / 72

    def kernel_mean(a, b):
        distances = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
        kernels = [torch.exp(-distances / (factor * mean[:, None, None])) for factor in (0.25, 0.5, 1, 2, 4)]
        return torch.stack(kernels).mean((0, 2, 3))

    def held(x, y):
        return kernel_mean(x, x) + kernel_mean(y, y) - 2 * kernel_mean(x, y)

    ours = (source.grad.clone(), target.grad.clone())
    expected = torch.autograd.grad(held(source, target).sum(), (source, target))
    torch.testing.assert_close(ours, expected)


def test_far_from_zero_and_at_collapse():
    source, target = torch.randn(2, 40, 8, dtype=torch.float64)
    for loss in (coral_loss, mmd_loss):
        torch.testing.assert_close(
            loss(source.float() + 1000, target.float() + 1000).double(), loss(source, target), rtol=1e-2, atol=1e-4
        )
        same = torch.full((6, 4), 3.0, requires_grad=True)
        value = loss(same, same.detach())
        value.backward()
        assert value == 0
        assert same.grad.isfinite().all()
