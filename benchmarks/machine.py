"""What a figure depends on besides the code: the machine, its rates and the versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import torch

import correspondence_losses
from benchmarks.device import copy_rate, product_rate

_PEERS = ("lightly", "pytorch-metric-learning")


class Rates(TypedDict):
    """How fast the device does what the floors are made of."""

    bytes_s: float
    """Bytes a second, read and written, of a large copy."""
    flops_s: float
    """Operations a second of a large product in float32."""


def measure_rates(device: torch.device) -> Rates:
    """Copy and multiply on the device."""
    return Rates(bytes_s=copy_rate(device), flops_s=product_rate(device))


def describe_machine(device: torch.device) -> dict[str, object]:
    """Processor, memory, threads, load, the GPU if it is the device, and versions."""
    return {
        **(_gpu(device) if device.type == "cuda" else {}),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in _PEERS},
        "correspondence_losses": correspondence_losses.__version__,
        "dtype": "float32",
    }


def _gpu(device: torch.device) -> dict[str, object]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "tf32": "off",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
