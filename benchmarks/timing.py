"""Time of steps that take turns, so that whatever else the machine does falls on all of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import torch

from benchmarks.device import seconds_of

_SHORTEST_RUN = 0.02
_MOST_RUNS = 15
# Seconds: from here on, the call that shows how long a step takes counts as its first run, and one run is enough.
_SLOW, _VERY_SLOW = 1, 20


class Timing(NamedTuple):
    """Seconds a step over several runs; a run repeats a short step until its time can be told."""

    median: float
    least: float
    most: float
    runs: int


def time_alternately(
    steps: Mapping[str, Callable[[], object]], seconds: float, device: torch.device
) -> dict[str, Timing]:
    """Time each step for about so many seconds, at least twice; all of them have been run once before."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    repeats, runs = {}, {}
    for name, step in steps.items():
        once = _time(step, 1, device)
        if once >= _SLOW:
            samples[name].append(once)
        repeats[name] = ceil(_SHORTEST_RUN / once)
        least = 1 if once >= _VERY_SLOW else 2
        runs[name] = min(max(int(seconds / (once * repeats[name])), least), _MOST_RUNS)
    for _ in range(max(runs.values())):
        for name, step in steps.items():
            if len(samples[name]) < runs[name]:
                samples[name].append(_time(step, repeats[name], device))
    return {name: _summary(times) for name, times in samples.items()}


def over_processes(timings: Sequence[Timing]) -> Timing:
    """Return the median of several processes' medians, and their spread; of one process, its own."""
    return timings[0] if len(timings) == 1 else _summary([timing.median for timing in timings])


def _summary(times: Sequence[float]) -> Timing:
    return Timing(statistics.median(times), min(times), max(times), len(times))


def _time(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    def run() -> None:
        for _ in range(repeats):
            step()

    return seconds_of(run, device) / repeats
