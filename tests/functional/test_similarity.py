"""Gram anchoring, kernel alignment and feature distance against loops in float64, in both of their ways."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.functional import feature_distance_loss, gram_loss, kernel_alignment_loss

seeds = st.integers(0, 2**16)
examples = settings(max_examples=25, deadline=None)
LOSSES = (gram_loss, kernel_alignment_loss, feature_distance_loss)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm() if vector.norm() > 0 else vector


def literal_gram(features: Tensor, targets: Tensor) -> float:
    total = 0.0
    for i in range(len(features)):
        for j in range(len(features)):
            ours = float(unit(features[i]) @ unit(features[j]))
            theirs = float(unit(targets[i]) @ unit(targets[j]))
            total += (ours - theirs) ** 2
    return total


def literal_alignment(features: Tensor, targets: Tensor) -> float:
    k = len(features)
    centring = torch.eye(k, dtype=torch.float64) - torch.ones(k, k, dtype=torch.float64) / k
    a, b = (centring @ (vectors @ vectors.mT) @ centring for vectors in (features, targets))
    return 1 - float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


def masks(seed: int, k: int) -> Tensor:
    valid = torch.rand(k, generator=torch.Generator().manual_seed(seed)) < 0.7
    valid[:2] = True
    return valid


# One size for each way: the similarities, and the products of dimensions; teachers of the same and of another width.
sizes = st.sampled_from([(3, 5, 5), (3, 4, 6), (12, 3, 3), (13, 2, 4), (11, 4, 2)])


@examples
@given(seeds, sizes)
def test_gram_is_its_equation(seed: int, size: tuple[int, int, int]) -> None:
    k, d, width = size
    features, targets, valid = draw(seed, 2, k, d), draw(seed + 1, 2, k, width), masks(seed, k)
    expected = [literal_gram(features[i][valid], targets[i][valid]) for i in range(2)]
    got = gram_loss(features, targets, valid=valid.expand(2, k), element_reduction="sum", reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
    mean = gram_loss(features, targets, valid=valid.expand(2, k))
    assert mean.item() == pytest.approx(sum(expected) / 2 / int(valid.sum()) ** 2)


@examples
@given(seeds, sizes)
def test_kernel_alignment_is_its_equation(seed: int, size: tuple[int, int, int]) -> None:
    k, d, width = size
    features, targets, valid = draw(seed, 2, k, d), draw(seed + 1, 2, k, width), masks(seed, k)
    expected = [literal_alignment(features[i][valid], targets[i][valid]) for i in range(2)]
    got = kernel_alignment_loss(features, targets, valid=valid.expand(2, k), reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@examples
@given(seeds)
def test_feature_distance_is_its_equation(seed: int) -> None:
    features, targets, valid = draw(seed, 6, 4), draw(seed + 1, 6, 4), masks(seed, 6)
    rows = [i for i in range(6) if valid[i]]
    euclidean = sum(math.dist(features[i].tolist(), targets[i].tolist()) for i in rows) / len(rows)
    cosine = sum(1 - float(unit(features[i]) @ unit(targets[i])) for i in rows) / len(rows)
    assert feature_distance_loss(features, targets, valid=valid).item() == pytest.approx(euclidean)
    assert feature_distance_loss(features, targets, valid=valid, distance="cosine").item() == pytest.approx(cosine)


@pytest.mark.parametrize("k", [4, 12])  # either way
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss, k: int) -> None:
    features, targets = draw(0, 2, k, 5).requires_grad_(), draw(1, 2, k, 5).requires_grad_()
    valid = masks(0, k).expand(2, k)

    def of_both(a: Tensor, b: Tensor) -> Tensor:
        return loss(a, b, valid=valid, detach_target=False, reduction="none")

    assert torch.autograd.gradcheck(of_both, (features, targets))
    assert torch.autograd.grad(loss(features, targets, valid=valid), targets, allow_unused=True) == (None,)


@pytest.mark.parametrize("k", [4, 300])
def test_rotations_of_a_teacher_change_nothing(k: int) -> None:
    """Similarities do not turn; nor does the alignment of kernels know scale and shift."""
    targets = draw(1, k, 8)
    rotation = torch.linalg.qr(draw(2, 8, 8)).Q
    turned = targets @ rotation
    assert gram_loss(turned, targets).item() == pytest.approx(0, abs=1e-12)
    assert kernel_alignment_loss(3 * turned + 7, targets).item() == pytest.approx(0, abs=1e-12)
    assert feature_distance_loss(turned, targets).item() > 0.1
    assert gram_loss(turned, 5 * targets).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("difference", [1e-2, 1e-4])
def test_close_features_do_not_cancel_in_float32(difference: float) -> None:
    """What is left of two Gram matrices that are nearly equal is far below the rounding of their norms."""
    targets = draw(0, 500, 16)
    features = targets + difference * draw(1, 500, 16)
    expected = gram_loss(features, targets).item()
    got = gram_loss(features.float(), targets.float())
    assert got.item() == pytest.approx(expected, rel=2e-2)
    assert gram_loss(targets.float(), targets.float()).item() == 0


@pytest.mark.parametrize("k", [4, 12])
@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_valid_has_no_effect_and_nothing_valid_is_0(loss, k: int) -> None:
    features, targets, valid = draw(0, 2, k, 5), draw(1, 2, k, 5), masks(0, k).expand(2, k).clone()
    expected = loss(features, targets, valid=valid)
    for vectors in (features, targets):
        vectors[~valid] = torch.nan
    torch.testing.assert_close(loss(features, targets, valid=valid), expected)
    valid[1] = False  # an image with nothing in it does not count in the mean
    torch.testing.assert_close(loss(features, targets, valid=valid), loss(features[:1], targets[:1], valid=valid[:1]))
    features = features.nan_to_num().requires_grad_()
    nothing = loss(features, targets, valid=torch.zeros_like(valid))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("k", [4, 12])
@pytest.mark.parametrize("loss", LOSSES)
def test_collapsed_and_equal_features_have_finite_gradients(loss, k: int) -> None:
    for features in (torch.zeros(k, 5), torch.ones(k, 5)):
        features = features.requires_grad_()
        for targets in (draw(0, k, 5).float(), features.detach().clone()):
            value = loss(features, targets)
            (gradient,) = torch.autograd.grad(value, features)
            assert value.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_computes_in_float32(loss, dtype: torch.dtype) -> None:
    features, targets = ((200 * draw(seed, 40, 16)).to(dtype) for seed in (0, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(features, targets)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), loss(features.double(), targets.double()), rtol=1e-4, atol=1e-6)
