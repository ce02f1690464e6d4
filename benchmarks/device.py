"""The device that a benchmark runs on: which one, its clock, and how fast it copies and multiplies."""

import argparse
from collections.abc import Callable
from time import perf_counter

import torch

_COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
_PRODUCT_SIZE = {"cpu": 1024, "cuda": 8192}
_TRIES = 5


def benchmark_device(name: str) -> torch.device:
    """Parse ``--device``: cpu or cuda, or cuda:1 and so on where there is one."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{name!r} is no device; give cpu or cuda") from error
    if device.type not in _COPY_BYTES:
        raise argparse.ArgumentTypeError(f"the benchmarks run on cpu and cuda, not on {name}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(f"{name} was asked for, but PyTorch {torch.__version__} finds no CUDA device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"there is no {name}, only {torch.cuda.device_count()} CUDA devices")
    return device


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Time a run; on a GPU by events before and after what it launches."""
    if device.type != "cuda":
        start = perf_counter()
        run()
        return perf_counter() - start
    with torch.cuda.device(device):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1e3


def copy_rate(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy into memory that has been used before."""
    source = torch.ones(_COPY_BYTES[device.type] // 4, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / _least_seconds(lambda: target.copy_(source), device)


def product_rate(device: torch.device) -> float:
    """Operations a second of a large square product in float32."""
    size = _PRODUCT_SIZE[device.type]
    a, b = torch.randn(2, size, size, device=device)
    result = torch.empty_like(a)
    return 2 * size**3 / _least_seconds(lambda: torch.mm(a, b, out=result), device)


def _least_seconds(step: Callable[[], object], device: torch.device) -> float:
    step()
    return min(seconds_of(step, device) for _ in range(_TRIES))
