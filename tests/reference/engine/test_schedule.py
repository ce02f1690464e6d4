"""The learning rate of each step."""

import itertools

import pytest

from correspondence_losses.reference.engine.schedule import LearningRateSchedule


def test_schedule_is_constant_or_a_warmed_up_cosine() -> None:
    constant = LearningRateSchedule(kind="constant", peak=0.1, final=0.0, warmup_steps=0, num_steps=10)
    assert {constant(step) for step in range(10)} == {0.1}
    cosine = LearningRateSchedule(kind="cosine", peak=1.0, final=0.1, warmup_steps=4, num_steps=104)
    rates = [cosine(step) for step in range(104)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[3:]))
