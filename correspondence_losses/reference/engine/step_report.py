"""What a training step reports, on its way from the device to the host."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from correspondence_losses.reference.host_copy import HostCopy

__all__ = ["NonFiniteLossError", "Reading", "StepReport"]


class NonFiniteLossError(RuntimeError):
    """A loss term, or the norm of the gradient, became NaN or infinite."""


class Reading(NamedTuple):
    """A step's report on the host: the mean of each loss term, and whether any process was asked to stop."""

    terms: dict[str, float]
    stopping: bool


class StepReport:
    """Values of a step of all processes, copied to the host while the device goes on.

    A trainer that reads its loss right after a step lets the GPU wait until the next one is launched. So a report is
    read when the next step has been launched. All processes read the same values, and stop at the same step.

    Args:
        fabric: Whose processes report.
        step: Number of the step, from 1.
        names: Those of the loss terms.
        terms: The terms (n,).
        norm: That of the gradient, where it must be finite.
        stop: Whether this process was asked to stop.
    """

    def __init__(
        self, fabric: Fabric, step: int, names: Sequence[str], terms: Tensor, *, norm: Tensor | None, stop: bool
    ) -> None:
        self.step = step
        self._names = [*names, *([] if norm is None else ["gradient norm"])]
        self._num_terms = len(names)
        values = [terms, *([] if norm is None else [norm.detach().float().view(1)]), terms.new_full((1,), float(stop))]
        means = torch.as_tensor(fabric.all_reduce(torch.cat(values), reduce_op="mean"))
        self._means = HostCopy(means)

    def read(self) -> Reading:
        """Wait for the copy, and return what was reported.

        Raises:
            NonFiniteLossError: A term or the norm is not finite.
        """
        *means, stop = self._means.read()
        values = dict(zip(self._names, means, strict=True))
        broken = ", ".join(f"{name} = {value}" for name, value in values.items() if not math.isfinite(value))
        if broken:
            raise NonFiniteLossError(
                f"at step {self.step}: {broken} (all terms: {values}); the last checkpoint is kept"
            )
        return Reading(dict(list(values.items())[: self._num_terms]), stop > 0)
