"""The learning rate as a function of the step, so that nothing of it needs to be saved."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["LearningRateSchedule"]


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule:
    """Linear warm-up from 0 to ``peak``, then constant, or a half cosine that reaches ``final`` at the last step.

    Args:
        kind: ``"constant"`` or ``"cosine"``.
        peak: The learning rate after the warm-up.
        final: Where the cosine ends.
        warmup_steps: Length of the warm-up.
        num_steps: Length of the run.

    Example:
        >>> schedule = LearningRateSchedule(kind="cosine", peak=1.0, final=0.0, warmup_steps=2, num_steps=7)
        >>> [round(schedule(step), 2) for step in range(7)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """

    kind: Literal["constant", "cosine"]
    peak: float
    final: float
    warmup_steps: int
    num_steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return self.peak
        progress = (step - self.warmup_steps) / max(self.num_steps - 1 - self.warmup_steps, 1)
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * min(progress, 1))) / 2
