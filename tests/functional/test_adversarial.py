import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)

scores = st.lists(st.floats(-30, 30), min_size=1, max_size=12)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@settings(max_examples=50, deadline=None)
@given(scores, scores)
def test_least_squares_equals_its_equations(real, fake):
    real_scores, fake_scores = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    discriminator = mean((d - 1) ** 2 for d in real) / 2 + mean(d**2 for d in fake) / 2
    assert lsgan_discriminator_loss(real_scores, fake_scores).item() == pytest.approx(discriminator, rel=1e-12)
    assert lsgan_generator_loss(fake_scores).item() == pytest.approx(mean((d - 1) ** 2 for d in fake) / 2, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(scores, scores)
def test_minimax_equals_equation_3_2(real, fake):
    real_logits, fake_logits = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    # 1 - D(x) = D with the logit negated: literally 1 - D would cancel.
    value = mean(math.log(sigmoid(x)) for x in real) + mean(math.log(sigmoid(-x)) for x in fake)
    assert minimax_discriminator_loss(real_logits, fake_logits).item() == pytest.approx(-value, rel=1e-9)
    generator = mean(math.log(sigmoid(-x)) for x in fake)
    assert minimax_generator_loss(fake_logits).item() == pytest.approx(generator, rel=1e-9)
    alternative = -mean(math.log(sigmoid(x)) for x in fake)
    assert minimax_generator_loss(fake_logits, saturating=False).item() == pytest.approx(alternative, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(scores)
def test_the_generator_plays_the_discriminators_term(fake):
    logits = torch.tensor(fake, dtype=torch.float64)
    certain = torch.full((1,), 1e4, dtype=torch.float64)
    torch.testing.assert_close(minimax_generator_loss(logits), -minimax_discriminator_loss(certain, logits))


@pytest.mark.parametrize(
    "loss",
    [
        lsgan_generator_loss,
        minimax_generator_loss,
        lambda x: minimax_generator_loss(x, saturating=False),
        lambda x: lsgan_discriminator_loss(x[:2], x[2:]),
        lambda x: minimax_discriminator_loss(x[:2], x[2:]),
    ],
)
def test_gradients_and_single_graph(loss):
    logits = torch.randn(5, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: 0.3 * loss(x), logits)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits), loss(logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_half_precision_scores_stay_finite(dtype, sign):
    fake = torch.full((4, 1, 3, 3), sign * 6e4, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = (
            lsgan_generator_loss(fake)
            + lsgan_discriminator_loss(fake, fake)
            + minimax_generator_loss(fake)
            + minimax_generator_loss(fake, saturating=False)
            + minimax_discriminator_loss(fake, fake)
        )
    total.backward()
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert fake.grad.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**16))
def test_reductions(n, seed):
    real, fake = torch.randn(2, 2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for loss, arguments in (
        (lsgan_discriminator_loss, (real, fake)),
        (lsgan_generator_loss, (fake,)),
        (minimax_discriminator_loss, (real, fake)),
        (minimax_generator_loss, (fake,)),
        (functools.partial(minimax_generator_loss, saturating=False), (fake,)),
    ):
        values = loss(*arguments, reduction="none")
        assert values.shape == fake.shape
        torch.testing.assert_close(loss(*arguments), values.mean())
        torch.testing.assert_close(loss(*arguments, reduction="sum"), values.sum())


def test_reductions_that_are_refused():
    with pytest.raises(ValueError, match=r"fake_scores must have the shape of real_scores, \(3,\)"):
        lsgan_discriminator_loss(torch.zeros(3), torch.zeros(4), reduction="none")
    with pytest.raises(ValueError, match="reduction must be one of 'none', 'mean', 'sum', got 'all'"):
        minimax_generator_loss(torch.zeros(3), reduction="all")
