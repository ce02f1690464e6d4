"""The tests that need a GPU, as a part of the benchmarks' report."""

import subprocess
import sys
from pathlib import Path
from typing import TypedDict

_ROOT = Path(__file__).parents[1]


class GpuTests(TypedDict):
    """What pytest said."""

    passed: bool
    summary: str


def run_gpu_tests(seconds: float) -> GpuTests:
    """Run the tests marked ``gpu`` for so many seconds at most."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests"]
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return GpuTests(passed=False, summary=f"not finished after {seconds:.0f} s")
    lines = (done.stdout + done.stderr).strip().splitlines()
    return GpuTests(passed=done.returncode == 0, summary=lines[-1] if lines else "pytest printed nothing")
