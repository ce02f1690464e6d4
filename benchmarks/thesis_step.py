"""A training step of the thesis's protocol: ConvNeXt-XL, FPN and SAM pooling at 480 x 640.

A batch is a labelled and an unlabelled image of random numbers, with 60 segments.
"""

import statistics
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.device import seconds_of
from benchmarks.thesis import Result, Variant
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loop import train
from correspondence_losses.reference.engine.optimizer import create_optimizer, parameter_rates
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.models.segmentation import SegmentationModel
from correspondence_losses.reference.runs.command_line import settings_from_command_line

_NUM_CLASSES, _NUM_SEGMENTS = 22, 60
_WARM_UP, _STEPS, _PROFILED = 5, 20, 4
_WAITING_CALLS = {"cudaStreamSynchronize", "cudaMemcpy"}


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
            if event.device_type == torch.autograd.DeviceType.CUDA and not event.key.startswith("Optimizer.step#")
        }
        waits = sum(event.count for event in events if event.key in _WAITING_CALLS)
        return Profile(dict(sorted(kernels.items(), key=lambda item: -item[1])), waits / _PROFILED)


def measure(variant: Variant, device: torch.device, *, quick: bool) -> Result:
    """Measure one variant; a quick one of a tiny model, whose figures mean nothing."""
    settings = _settings(quick)
    torch.manual_seed(0)
    with torch.device(device):
        module = cast(SegmentationModel, settings.create_model(_NUM_CLASSES)).train()
    if variant.channels_last:
        module = module.to(memory_format=torch.channels_last)
    fabric = Fabric(accelerator=device.type, devices=1, precision="bf16-mixed" if variant.bf16 else "32-true")
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
        seconds, profile = _in_the_loop(fabric, module, optimizer, settings, batch)
    else:
        step = _step(variant, fabric, module, optimizer, batch)
        for _ in range(_WARM_UP):
            step()
        seconds = statistics.median(seconds_of(step, device) for _ in range(_STEPS))
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
) -> tuple[float, Profile]:
    """Return the seconds of a step of the training loop, which gets its batches from pinned memory."""
    device = fabric.device
    kept = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in batch.items()}
    if device.type == "cuda":
        kept = pin_memory(kept)
    found: list[tuple[float, Profile]] = []

    def batches(_step: int) -> Generator[dict[str, Any], None, None]:
        yield from [kept] * _WARM_UP
        _wait(device)
        start = perf_counter()
        yield from [kept] * _STEPS
        _wait(device)
        seconds = (perf_counter() - start) / _STEPS
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
