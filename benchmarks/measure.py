"""One comparison, measured: time, memory, and whether both sides computed the same."""

from collections.abc import Callable, Mapping
from typing import TypedDict

from benchmarks.memory import peak_memory_mib
from benchmarks.process import in_new_process
from benchmarks.timing import Timing, time_alternately
from benchmarks.workload import Case, relative_difference

SAME_NUMBER = 1e-4
"""Largest relative difference of values and gradients."""


class SideResult(TypedDict):
    """One side of a comparison; times are those of a step."""

    median_s: float
    least_s: float
    most_s: float
    runs: int
    peak_memory_mib: float


class Measurement(TypedDict):
    """Both sides; ratios are the peer's over ours."""

    ours: SideResult
    peer: SideResult
    ratio: float
    relative_difference: float | None
    same_number: bool


def measure(
    build: Callable[..., Case],
    sizes: Mapping[str, int],
    warm_up: Mapping[str, int],
    *,
    seconds: float,
    is_floor: bool = False,
) -> Measurement:
    """Measure a case of these sizes, each side's time for about so many seconds."""
    timings, difference = in_new_process(_time_and_compare, build, sizes, seconds, is_floor)
    ours, peer = (
        SideResult(
            median_s=timings[side].median,
            least_s=timings[side].least,
            most_s=timings[side].most,
            runs=timings[side].runs,
            peak_memory_mib=peak_memory_mib(build, sizes, warm_up, side),
        )
        for side in ("ours", "peer")
    )
    return Measurement(
        ours=ours,
        peer=peer,
        ratio=peer["median_s"] / ours["median_s"],
        relative_difference=difference,
        same_number=difference is None or difference <= SAME_NUMBER,
    )


def _time_and_compare(
    build: Callable[..., Case], sizes: Mapping[str, int], seconds: float, is_floor: bool
) -> tuple[dict[str, Timing], float | None]:
    case = build(**sizes)
    values = case.ours(), case.peer()
    difference = None if is_floor else relative_difference(*values)
    del values
    return time_alternately(case._asdict(), seconds), difference
