"""What a benchmark compares: a step of ours and one of a peer on the same inputs, and the least work of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

Step = Callable[[], tuple[Tensor, ...]]


class Floor(NamedTuple):
    """The least work of any solution, and how much of one kind it is."""

    step: Callable[[], object]
    bytes: int = 0
    """Read and written."""
    flops: int = 0


class Case(NamedTuple):
    """Two steps on the same inputs; each returns what must agree: a loss and its gradients, or distances."""

    ours: Step
    peer: Step
    floor: Callable[[], Floor] | None = None
    """Made where it is timed only, so that it never counts as anyone's memory."""


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
    floor: str
    """What the case's floor is."""
    note: str = ""
    """What made the two sides compute the same number, where their defaults differ."""
    ratio_target: float | None = None
    """Peer's time over ours, at least."""
    floor_target: float | None = None
    """Our time over the floor's, at most."""
    memory_ratio_target: float | None = None
    """Peer's peak memory over ours, at least."""
    memory_limit_mib: float | None = None
    """Our peak memory beyond the inputs, at most."""
    cuda_only: bool = False


def build_on(device: torch.device, build: Callable[..., Case], sizes: Mapping[str, int]) -> Case:
    """Build a case whose tensors and modules lie on a device."""
    # Both sides in float32 proper; convolutions would be in TF32 by default, and not agree.
    torch.backends.cudnn.allow_tf32 = False
    with torch.device(device):
        return build(**sizes)


def seeded() -> torch.Generator:
    """Return a random generator on the device that a case is being built on."""
    return torch.Generator(torch.get_default_device()).manual_seed(0)


def gradient_step(loss: Callable[..., Tensor], leaves: list[Tensor]) -> Step:
    """Forward and backward pass of ``loss()``; returns its value and the gradients of ``leaves``."""

    def step() -> tuple[Tensor, ...]:
        value = loss().squeeze()
        return value.detach(), *torch.autograd.grad(value, leaves)

    return step


def copying(tensors: Sequence[Tensor]) -> Floor:
    """One copy: each value read once, and a value of its size, such as its gradient, written once."""
    tensors = [tensor.detach() for tensor in tensors]
    return Floor(lambda: [tensor.clone() for tensor in tensors], bytes=2 * sum(tensor.nbytes for tensor in tensors))


def products(*pairs: tuple[Tensor, Tensor]) -> Floor:
    """The matrix products of these pairs."""
    pairs = tuple((a.detach(), b.detach()) for a, b in pairs)
    return counted(lambda: [a @ b for a, b in pairs])


def counted(step: Callable[[], object]) -> Floor:
    """A step of products or convolutions, with their number of operations."""
    with FlopCounterMode(display=False) as counter:
        step()
    return Floor(step, flops=counter.get_total_flops())


def convolutions(run: Callable[[], object]) -> Floor:
    """Forward and backward passes of the convolutions of ``run()`` alone, each on the input that it has there."""
    with _Convolutions() as recorded:
        run()

    def step() -> None:
        for call, inputs in recorded.calls:
            output = call(*inputs)
            torch.autograd.grad(output, [x for x in inputs if x.requires_grad], torch.ones_like(output))

    return counted(step)


class _Convolutions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Tensor], list[Tensor]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.conv2d, F.conv_transpose2d):
            features, weight, _, *rest = (*args, None) if len(args) == 2 else args
            inputs = [tensor.detach().requires_grad_() for tensor in (features, weight)]
            self.calls.append((lambda x, w: func(x, w, None, *rest, **kwargs), inputs))
        elif func is torch.baddbmm:  # a convolution of size 1
            inputs = [tensor.detach().requires_grad_() for tensor in args[1:]]
            self.calls.append((torch.bmm, inputs))
        return func(*args, **kwargs)


def relative_difference(ours: tuple[Tensor, ...], peer: tuple[Tensor, ...]) -> float:
    """The largest, over the tensors, of the norm of their difference relative to the peer's norm."""
    return max(
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12))
        for a, b in zip(ours, peer, strict=True)
    )
