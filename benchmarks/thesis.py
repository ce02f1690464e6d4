"""A training step of the thesis's protocol, in several ways: which there are, and their table."""

from dataclasses import dataclass
from typing import TypedDict

import torch


@dataclass(frozen=True)
class Variant:
    """One way to compute the same step."""

    bf16: bool = True
    channels_last: bool = False
    compiled: bool = False
    graph: bool = False
    trainer: bool = False
    """In the training loop, with its logging, rather than alone."""

    @property
    def name(self) -> str:
        """What stands in the table."""
        parts = ["thesis: " + ("bf16" if self.bf16 else "float32")]
        parts += [
            name
            for name, on in (
                ("channels_last", self.channels_last),
                ("torch.compile", self.compiled),
                ("CUDA graph", self.graph),
                ("in the training loop", self.trainer),
            )
            if on
        ]
        return ", ".join(parts)


VARIANTS = [
    Variant(bf16=False),
    Variant(),
    Variant(channels_last=True),
    Variant(trainer=True),
    Variant(graph=True),
    Variant(compiled=True),
    Variant(compiled=True, graph=True),
]


class Result(TypedDict):
    """A variant, measured; seconds are medians of a step."""

    name: str
    seconds: float
    flops: int
    """Of the forward pass, three times: a backward pass is two of them."""
    peak_memory_gib: float
    kernel_share: float
    """Time in which the device computed, as a part of the whole."""
    host_waits: float
    """Calls in a step in which the host waits until the device has done all that it was given."""
    parts: dict[str, float]
    kernels: dict[str, float]
    """Seconds of the longest kernels of a step, by name."""


def markdown(results: list[Result]) -> str:
    """One line a variant."""
    lines = ["| step | ms | steps/s | TFLOP/s | device busy | host waits | peak memory |", f"|{' --- |' * 7}"]
    lines += [
        f"| {result['name']} | {1e3 * result['seconds']:.1f} | {1 / result['seconds']:.1f} "
        f"| {result['flops'] / result['seconds'] / 1e12:.0f} | {result['kernel_share']:.0%} "
        f"| {result['host_waits']:g} | {result['peak_memory_gib']:.1f} GiB |"
        for result in results
    ]
    return "\n".join(lines) + "\n"


def run_variant(variant: Variant, device: torch.device, *, quick: bool) -> Result:
    """Measure one variant; a quick one of a tiny model, whose figures mean nothing."""
    # The benchmarks of the core run without what the reference trainer imports.
    from benchmarks.thesis_step import measure

    return measure(variant, device, quick=quick)
