"""Wall time of steps that take turns, so that whatever else the machine does falls on all of them."""

import statistics
from collections.abc import Callable, Mapping
from math import ceil
from time import perf_counter
from typing import NamedTuple

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


def time_alternately(steps: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Timing]:
    """Time each step for about so many seconds, at least twice; all of them have been run once before."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    repeats, runs = {}, {}
    for name, step in steps.items():
        once = _time(step, 1)
        if once >= _SLOW:
            samples[name].append(once)
        repeats[name] = ceil(_SHORTEST_RUN / once)
        least = 1 if once >= _VERY_SLOW else 2
        runs[name] = min(max(int(seconds / (once * repeats[name])), least), _MOST_RUNS)
    for _ in range(max(runs.values())):
        for name, step in steps.items():
            if len(samples[name]) < runs[name]:
                samples[name].append(_time(step, repeats[name]))
    return {
        name: Timing(statistics.median(times), min(times), max(times), len(times)) for name, times in samples.items()
    }


def _time(step: Callable[[], object], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        step()
    return (perf_counter() - start) / repeats
