"""How long to train, how fast, and when to do what."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["TrainingPlan"]


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The settings of the training loop.

    Args:
        epochs: Number of epochs.
        steps_per_epoch: Steps of an epoch.
        accumulate: Batches whose gradients are added up to one step.
        learning_rate: The peak learning rate.
        final_learning_rate: Where a cosine schedule ends.
        schedule: ``"constant"`` or ``"cosine"``.
        warmup_epochs: Epochs of linear warm-up.
        clip_gradients: Greatest norm of the gradient of a step; 0 clips nothing.
        evaluate_every: Evaluate after each such number of epochs, and after the last.
        checkpoint_every: Save after each such number of steps, besides each epoch.
        seed: Seed of everything.

    Example:
        >>> plan = TrainingPlan(epochs=7, steps_per_epoch=1, warmup_epochs=2, learning_rate=1.0, schedule="cosine")
        >>> [round(plan.rate(step), 2) for step in range(plan.num_steps)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15, 0.0]
    """

    epochs: int = 100
    steps_per_epoch: int = 1500
    accumulate: int = 1
    learning_rate: float = 1e-5
    final_learning_rate: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = 0
    clip_gradients: float = 0.0
    evaluate_every: int = 1
    checkpoint_every: int = 500
    seed: int = 0

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0.

        It rises from 0 to its peak, and then stays, or falls along half a cosine that ends with the last step.
        """
        warmup = self.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - warmup) / max(self.num_steps - 1 - warmup, 1)
        fallen = (1 + math.cos(math.pi * min(progress, 1))) / 2
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * fallen
