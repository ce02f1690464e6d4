"""Time a training step of the thesis's protocol on a GPU: ConvNeXt-XL, FPN and SAM pooling at 480 x 640.

    python -m benchmarks.thesis --device cuda

One labelled and one unlabelled image, of random numbers, with 60 segments. Each variant runs in a process of its own.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple, TypedDict, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.device import benchmark_device, seconds_of
from benchmarks.machine import describe_machine
from benchmarks.process import in_new_process
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loop import train
from correspondence_losses.reference.engine.optimizer import create_optimizer, parameter_rates
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.models.segmentation import SegmentationModel
from correspondence_losses.reference.runs.command_line import settings_from_command_line

_NUM_CLASSES, _NUM_SEGMENTS = 22, 60
_WARM_UP, _PROFILED = 5, 4
_WAITING_CALLS = {"cudaStreamSynchronize", "cudaMemcpy"}


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
        parts = ["bf16" if self.bf16 else "float32"]
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
    Variant(channels_last=True, trainer=True),
    Variant(channels_last=True, graph=True),
    Variant(channels_last=True, compiled=True),
    Variant(channels_last=True, compiled=True, graph=True),
]


class Profile(NamedTuple):
    """What the profiler saw of a step."""

    kernels: dict[str, float]
    """Seconds of each kernel, by name, the longest first."""
    host_waits: float

    @staticmethod
    def of(profiler: "torch.profiler.profile") -> "Profile":
        """Read a profile of so many steps as are profiled."""
        events = profiler.key_averages()
        kernels = {
            event.key: event.self_device_time_total / 1e6 / _PROFILED
            for event in events
            if event.device_type == torch.autograd.DeviceType.CUDA
        }
        waits = sum(event.count for event in events if event.key in _WAITING_CALLS)
        return Profile(dict(sorted(kernels.items(), key=lambda item: -item[1])), waits / _PROFILED)


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


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and write everything to a JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thesis", description=__doc__)
    parser.add_argument("--device", type=benchmark_device, default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it works")
    parser.add_argument("--only", metavar="NAME", help="variants that have this in their name")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/thesis.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"machine": describe_machine(options.device), "variants": []}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for variant in VARIANTS:
        if options.only not in (None, variant.name):
            continue
        start = perf_counter()
        result = in_new_process(measure, variant, options.device, options.steps, options.quick)
        sys.stderr.write(f"{perf_counter() - start:4.0f} s  {variant.name}\n")
        report["variants"].append(result)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(markdown(report["variants"]))


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


def measure(variant: Variant, device: torch.device, steps: int, quick: bool) -> Result:
    """Measure one variant."""
    settings = _settings(quick)
    torch.manual_seed(0)
    with torch.device(device):
        module = cast(SegmentationModel, settings.create_model(_NUM_CLASSES)).train()
    if variant.channels_last:
        module = module.to(memory_format=torch.channels_last)
    fabric = Fabric(
        accelerator=device.type, devices=1, precision="bf16-mixed" if variant.bf16 else "32-true"
    )  # as the trainer sets it up
    batch = _batch(settings, device)
    rates = parameter_rates(module, backbone_lr_scale=settings.backbone_lr_scale)
    optimizer = create_optimizer(
        module, settings.optimizer, rates, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    for group in optimizer.param_groups:
        group["capturable"] = variant.graph
    with FlopCounterMode(display=False) as counter, fabric.autocast(), torch.no_grad():
        module(batch)
    flops = 3 * counter.get_total_flops()  # it counts the backward pass of grouped convolutions as of dense ones
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    parts: dict[str, float] = {}
    if variant.trainer:
        seconds, profile = _in_the_loop(fabric, module, optimizer, settings, batch, steps)
    else:
        step = _step(variant, fabric, module, optimizer, batch)
        for _ in range(_WARM_UP):
            step()
        seconds = statistics.median(seconds_of(step, device) for _ in range(steps))
        with _profiling(device) as profiler:
            for _ in range(_PROFILED):
                step()
            _wait(device)
        profile = Profile.of(profiler)
        if not variant.compiled and not variant.graph:
            parts = _parts(fabric, module, optimizer, batch)
    return Result(
        name=variant.name,
        seconds=seconds,
        flops=flops,
        peak_memory_gib=torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0,
        kernel_share=sum(profile.kernels.values()) / seconds,
        host_waits=profile.host_waits,
        parts=parts,
        kernels=dict(islice(profile.kernels.items(), 12)),
    )


def _settings(quick: bool) -> SegmentationSettings:
    small = ["--backbone", "convnext_atto", "--fpn_channels", "8", "--image_size", "[64, 96]"]
    settings = settings_from_command_line(
        preset="sam_fpn", description=None, tables=["4.4"],
        args=["--scale", "thesis", "--pretrained", "false", *(small if quick else [])],
    )  # fmt: skip
    return cast(SegmentationSettings, settings)


def _batch(settings: SegmentationSettings, device: torch.device) -> dict[str, Any]:
    """A labelled and an unlabelled image, whose labels and segments are rectangles."""
    height, width = settings.image_size
    generator = torch.Generator().manual_seed(0)

    def areas(count: int) -> Tensor:
        blocks = torch.randint(count, (1, 1, height // 16, width // 16), generator=generator)
        return blocks.float().repeat_interleave(16, 2).repeat_interleave(16, 3)[0].long()

    images = torch.randn(2, 1, 3, height, width, generator=generator)
    batch = {
        "image": images[0],
        "label": areas(_NUM_CLASSES),
        "unlabelled_image": images[1],
        "segments": areas(_NUM_SEGMENTS + 1),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()} | {"num_segments": _NUM_SEGMENTS + 1}


def _step(
    variant: Variant, fabric: Fabric, module: SegmentationModel, optimizer: torch.optim.Optimizer, batch: Any
) -> Callable[[], object]:
    model: Callable[..., dict[str, Tensor]] = torch.compile(module) if variant.compiled else module

    def step() -> None:
        optimizer.zero_grad()
        with fabric.autocast():
            loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()

    if not variant.graph:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _parts(
    fabric: Fabric, module: SegmentationModel, optimizer: torch.optim.Optimizer, batch: dict[str, Any]
) -> dict[str, float]:
    """Seconds of the parts of a step, the least of five."""
    seconds: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        results: list[Any] = []
        taken = seconds_of(lambda: results.append(function()), batch["image"].device)
        seconds[name] = min(taken, seconds.get(name, taken))
        return results[0]

    images = torch.cat([batch[name] for name in module.seen_images])
    size = (images.shape[-2] // module.head_stride, images.shape[-1] // module.head_stride)
    for _ in range(5):
        with fabric.autocast():
            maps = timed("backbone, forward", lambda: module.backbone(images))
            output = timed("head, forward", lambda maps=maps: module.head(maps, size))
            terms = timed("losses", lambda output=output: module.losses(batch, output.logits, output.features))
        timed("backward pass", lambda terms=terms: terms["loss"].backward())
        timed("optimiser", lambda: (optimizer.step(), optimizer.zero_grad()))
    return seconds


def _in_the_loop(
    fabric: Fabric,
    module: SegmentationModel,
    optimizer: torch.optim.Optimizer,
    settings: SegmentationSettings,
    batch: dict[str, Any],
    steps: int,
) -> tuple[float, Profile]:
    """Return the seconds of a step of the training loop, which gets its batches from pinned memory."""
    device = fabric.device
    kept = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in batch.items()}
    if device.type == "cuda":
        kept = pin_memory(kept)
    found: list[tuple[float, Profile]] = []

    def batches(_step: int) -> Iterator[dict[str, Any]]:
        yield from [kept] * _WARM_UP
        _wait(device)
        start = perf_counter()
        yield from [kept] * steps
        _wait(device)
        seconds = (perf_counter() - start) / steps
        with _profiling(device) as profiler:
            yield from [kept] * _PROFILED
            _wait(device)
        found.append((seconds, Profile.of(profiler)))
        raise _Enough  # before the loop saves 4 GB

    model, wrapped = fabric.setup_module(module), fabric.setup_optimizers(optimizer)
    with TemporaryDirectory() as folder, suppress(_Enough):
        train(
            fabric, model, wrapped, batches, None,
            plan=replace(settings, epochs=1, steps_per_epoch=10**6, checkpoint_every=10**6),
            history=History(None, settings.log_every),
            checkpoint=Path(folder) / "checkpoint.pt",
        )  # fmt: skip
    return found[0]


class _Enough(Exception):  # noqa: N818
    """All steps that were wanted are done."""


def _profiling(device: torch.device) -> "torch.profiler.profile":
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=activities)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
