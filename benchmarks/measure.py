"""One comparison, measured: time, memory, and whether both sides computed the same."""

import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

import torch

from benchmarks.memory import SIDES, cpu_peak_mib, cuda_peak_mib
from benchmarks.process import in_new_process
from benchmarks.timing import Timing, over_processes, time_alternately
from benchmarks.workload import Case, build_on, relative_difference

SAME_NUMBER = 1e-4
"""Largest relative difference of values and gradients."""


class SideResult(TypedDict):
    """One side of a comparison; times are those of a step."""

    median_s: float
    least_s: float
    most_s: float
    runs: int
    peak_memory_mib: float


class FloorResult(TypedDict):
    """The least work of any solution, beside ours."""

    median_s: float
    bytes: int
    flops: int
    times: float
    """Our time over the floor's."""
    least_times: float
    most_times: float


class Measurement(TypedDict):
    """Both sides; ratios are the peer's over ours. Over several processes, all are medians."""

    ours: SideResult
    peer: SideResult
    floor: FloorResult | None
    ratio: float
    least_ratio: float
    most_ratio: float
    relative_difference: float
    same_number: bool


class _Process(NamedTuple):
    timings: dict[str, Timing]
    relative_difference: float
    cuda_peaks_mib: dict[str, float]
    floor_bytes: int
    floor_flops: int


def measure(
    build: Callable[..., Case],
    sizes: Mapping[str, int],
    warm_up: Mapping[str, int],
    *,
    seconds: float,
    device: torch.device,
    processes: int = 1,
    with_floor: bool = False,
) -> Measurement:
    """Measure a case of these sizes in so many new processes, in each of them each step for about so many seconds."""
    found = [in_new_process(_time_and_compare, build, sizes, seconds, device, with_floor) for _ in range(processes)]
    if device.type == "cuda":
        peaks = found[0].cuda_peaks_mib
    else:
        peaks = {side: cpu_peak_mib(build, sizes, warm_up, side) for side in SIDES}
    timings = {name: over_processes([process.timings[name] for process in found]) for name in found[0].timings}
    ours, peer = (
        SideResult(
            median_s=timings[side].median,
            least_s=timings[side].least,
            most_s=timings[side].most,
            runs=timings[side].runs,
            peak_memory_mib=peaks[side],
        )
        for side in SIDES
    )
    ratios = _quotients(found, "peer", "ours")
    difference = max(process.relative_difference for process in found)
    return Measurement(
        ours=ours,
        peer=peer,
        floor=_floor(found, timings["floor"]) if with_floor else None,
        ratio=statistics.median(ratios),
        least_ratio=min(ratios),
        most_ratio=max(ratios),
        relative_difference=difference,
        same_number=difference <= SAME_NUMBER,
    )


def _floor(found: list[_Process], timing: Timing) -> FloorResult:
    times = _quotients(found, "ours", "floor")
    return FloorResult(
        median_s=timing.median,
        bytes=found[0].floor_bytes,
        flops=found[0].floor_flops,
        times=statistics.median(times),
        least_times=min(times),
        most_times=max(times),
    )


def _quotients(found: list[_Process], above: str, below: str) -> list[float]:
    return [process.timings[above].median / process.timings[below].median for process in found]


def _time_and_compare(
    build: Callable[..., Case], sizes: Mapping[str, int], seconds: float, device: torch.device, with_floor: bool
) -> _Process:
    case = build_on(device, build, sizes)
    values = case.ours(), case.peer()
    difference = relative_difference(*values)
    del values
    steps: dict[str, Callable[[], object]] = {"ours": case.ours, "peer": case.peer}
    peaks = {side: cuda_peak_mib(steps[side], device) for side in SIDES} if device.type == "cuda" else {}
    floor = case.floor() if with_floor and case.floor is not None else None
    if floor is not None:
        floor.step()
        steps["floor"] = floor.step
    timings = time_alternately(steps, seconds, device)
    return _Process(timings, difference, peaks, floor.bytes if floor else 0, floor.flops if floor else 0)
