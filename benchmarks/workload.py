"""What a benchmark compares: one step of ours and one of a peer, on the same inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Step = Callable[[], tuple[Tensor, ...]]


class Case(NamedTuple):
    """Two steps on the same inputs; each returns what must agree: a loss and its gradients, or distances."""

    ours: Step
    peer: Step


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    title: str
    """May name sizes in braces."""
    peer: str
    build: Callable[..., Case]
    sizes: Mapping[str, int]
    quick: Mapping[str, int]
    """Sizes that show in a moment that the row works."""
    note: str = ""
    """What made the two sides compute the same number, where their defaults differ."""
    is_floor: bool = False
    """The peer is no rival but the least work that any solution does: no number to agree on."""
    ratio_target: float | None = None
    """Peer's time over ours, at least."""
    memory_ratio_target: float | None = None
    """Peer's peak memory over ours, at least."""
    memory_limit_mib: float | None = None
    """Our peak memory beyond the inputs, at most."""


def gradient_step(loss: Callable[..., Tensor], leaves: list[Tensor]) -> Step:
    """Forward and backward pass of ``loss()``; returns its value and the gradients of ``leaves``."""

    def step() -> tuple[Tensor, ...]:
        value = loss().squeeze()
        return value.detach(), *torch.autograd.grad(value, leaves)

    return step


def relative_difference(ours: tuple[Tensor, ...], peer: tuple[Tensor, ...]) -> float:
    """The largest, over the tensors, of the norm of their difference relative to the peer's norm."""
    return max(
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12))
        for a, b in zip(ours, peer, strict=True)
    )
