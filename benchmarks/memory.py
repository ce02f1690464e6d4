"""Peak memory of a step, in a process of its own."""

import resource
import sys
from collections.abc import Callable, Mapping
from typing import Literal

from benchmarks.process import in_new_process
from benchmarks.workload import Case

Side = Literal["ours", "peer"]

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def peak_memory_mib(
    build: Callable[..., Case], sizes: Mapping[str, int], warm_up: Mapping[str, int], side: Side
) -> float:
    """How far the process's resident memory rises above what it was when the inputs were ready.

    A step of the ``warm_up`` sizes goes first, so that loaded code and thread pools do not count.
    """
    return in_new_process(_peak, build, sizes, warm_up, side)


def _peak(build: Callable[..., Case], sizes: Mapping[str, int], warm_up: Mapping[str, int], side: Side) -> float:
    getattr(build(**warm_up), side)()
    step = getattr(build(**sizes), side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * _MAXRSS_BYTES / 2**20
