"""What holds for all tests: how many threads they take, and how the processes that they start begin."""

import multiprocessing
import os
from importlib.util import find_spec

import pytest

# No figure opens a window, and nothing is downloaded.
os.environ |= {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}

# Where several test processes share the cores, threads that wait for each other would starve.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Processes that tests start are forked from one that has imported these, where they are there.
multiprocessing.set_forkserver_preload([
    "correspondence_losses",
    "torch.nn.parallel",
    "correspondence_losses.reference.runs.command_line",
    "correspondence_losses.reference.runs.run",
])  # fmt: skip


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked for a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU")


# Triton comes with PyTorch for CUDA only.
collect_ignore_glob = [] if find_spec("triton") else ["correspondence_losses/*/_triton_*.py"]
