"""Wall time of steps that take turns, so that whatever else the machine does falls on all of them."""

import statistics
from collections.abc import Callable, Mapping
from math import ceil
from time import perf_counter
from typing import NamedTuple

_SHORTEST_RUN = 0.02
_MOST_RUNS = 15


class Timing(NamedTuple):
    """Seconds a step over several runs; a run repeats a short step until its time can be told."""

    median: float
    least: float
    most: float
    runs: int


def time_alternately(steps: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Timing]:
    """Time each step for about so many seconds, at least once, after a warm-up."""
    repeats, runs = {}, {}
    for name, step in steps.items():
        once = _time(step, 1)
        if once < 1:  # the first call loads code and fills caches
            once = min(_time(step, 1) for _ in range(2))
        repeats[name] = ceil(_SHORTEST_RUN / once)
        runs[name] = min(max(int(seconds / (once * repeats[name])), 1), _MOST_RUNS)
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(max(runs.values())):
        for name, step in steps.items():
            if run < runs[name]:
                samples[name].append(_time(step, repeats[name]))
    return {
        name: Timing(statistics.median(times), min(times), max(times), len(times)) for name, times in samples.items()
    }


def _time(step: Callable[[], object], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        step()
    return (perf_counter() - start) / repeats
