"""Masked consistency and entropy, against their equations written out in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import entropy_loss, masked_consistency_loss


@st.composite
def predictions(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    logits, teacher = 3 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape[0], *shape[2:], generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return logits, teacher.softmax(1), mask, draw(st.sampled_from([0.0, 0.6, 0.9]))


def literal(logits, probabilities, mask, threshold):
    values = []
    for image in range(len(logits)):
        total, count, sure = 0.0, 0, 0
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                teacher = probabilities[image, :, y, x].tolist()
                sure += max(teacher) > threshold
                if mask is None or mask[image, y, x]:
                    student = [math.exp(z) for z in logits[image, :, y, x].tolist()]
                    total -= math.log(student[teacher.index(max(teacher))] / sum(student))
                    count += 1
        values.append(sure / logits[0, 0].numel() * (total / count if count else 0.0))
    return values


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_masked_consistency_equals_the_equation(arguments):
    logits, probabilities, mask, threshold = arguments
    for pixels in (mask, None):
        values = literal(logits, probabilities, pixels, threshold)
        loss = masked_consistency_loss(logits, probabilities, pixels, threshold=threshold, reduction="none")
        assert loss.tolist() == pytest.approx(values, rel=1e-9, abs=1e-12)
        mean = masked_consistency_loss(logits, probabilities, pixels, threshold=threshold)
        assert mean.item() == pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-12)


def test_gradients_are_the_student_s_alone():
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    probabilities = torch.randn(2, 3, 4, 4, dtype=torch.float64).softmax(1).requires_grad_()
    mask = torch.rand(2, 4, 4) < 0.5

    def loss(z):
        return masked_consistency_loss(z, probabilities, mask, threshold=0.5, reduction="none")

    assert torch.autograd.gradcheck(loss, logits)
    loss(logits).sum().backward()
    assert probabilities.grad is None
    assert logits.grad.abs().sum() > 0
    hidden = mask.unsqueeze(1).expand_as(logits)
    assert (logits.grad[~hidden] == 0).all()


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_entropy_equals_the_equation(arguments):
    logits, *_ = arguments
    values = []
    for image in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                powers = [math.exp(z) for z in logits[image, :, y, x].tolist()]
                shares = [power / sum(powers) for power in powers]
                values.append(-sum(p * math.log(p) for p in shares) / math.log(len(shares)))
    loss = entropy_loss(logits, reduction="none")
    assert loss.flatten().tolist() == pytest.approx(values, rel=1e-9)
    assert entropy_loss(logits).item() == pytest.approx(sum(values) / len(values), rel=1e-9)
    assert (loss >= 0).all()
    assert (loss <= 1 + 1e-12).all()
    torch.testing.assert_close(entropy_loss(logits + 5), entropy_loss(logits))


def test_entropy_s_gradients_and_limits():
    logits = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: entropy_loss(z, reduction="none"), logits)
    sure = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    entropy_loss(sure).backward()
    assert entropy_loss(sure) == 0
    assert sure.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert entropy_loss(torch.zeros(2, 5).half()).item() == pytest.approx(1)
