"""Peak memory of a step: of a process of its own on a CPU, of PyTorch's allocator on a GPU."""

import resource
import sys
from collections.abc import Callable, Mapping
from typing import Literal

import torch

from benchmarks.process import in_new_process
from benchmarks.workload import Case

Side = Literal["ours", "peer"]
SIDES: tuple[Side, Side] = ("ours", "peer")

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def cpu_peak_mib(build: Callable[..., Case], sizes: Mapping[str, int], warm_up: Mapping[str, int], side: Side) -> float:
    """How far the process's resident memory rises above what it was when the inputs were ready.

    A step of the ``warm_up`` sizes goes first, so that loaded code and thread pools do not count.
    """
    return in_new_process(_peak, build, sizes, warm_up, side)


def cuda_peak_mib(step: Callable[[], object], device: torch.device) -> float:
    """How far the memory of tensors rises above what it is now."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _peak(build: Callable[..., Case], sizes: Mapping[str, int], warm_up: Mapping[str, int], side: Side) -> float:
    getattr(build(**warm_up), side)()
    step = getattr(build(**sizes), side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * _MAXRSS_BYTES / 2**20
