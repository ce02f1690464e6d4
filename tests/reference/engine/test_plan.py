"""The learning rate of each step."""

import itertools

import pytest

from correspondence_losses.reference.engine.plan import TrainingPlan


def test_schedule_is_constant_or_a_warmed_up_cosine() -> None:
    constant = TrainingPlan(epochs=5, steps_per_epoch=2, learning_rate=0.1)
    assert {constant.rate(step) for step in range(10)} == {0.1}
    cosine = TrainingPlan(
        epochs=52,
        steps_per_epoch=2,
        learning_rate=1.0,
        final_learning_rate=0.1,
        schedule="cosine",
        warmup_epochs=2,
    )
    rates = [cosine.rate(step) for step in range(cosine.num_steps)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[3:]))
