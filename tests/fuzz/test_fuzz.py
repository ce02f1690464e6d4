"""A short run of the fuzzer; ``python tests/fuzz`` runs as long as one likes."""

import importlib.util
import os

import pytest
from fuzz_runner import fuzz
from fuzz_targets import TARGETS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a fork server and limits on resources")

SEEDS = range(32)


def test_damaged_files_are_read_or_refused_by_name() -> None:
    names = [name for name in TARGETS if name != "light" or importlib.util.find_spec("mitsuba")]
    names = [name for name in names if name != "mesh" or importlib.util.find_spec("trimesh")]
    report = fuzz((name, seed) for name in names for seed in SEEDS)
    assert report.failures == {}, str(report)
    assert sum(report.inputs.values()) == len(names) * len(SEEDS)
    for name in names:  # the damage is neither nothing nor always the same
        distinct = [error for error in report.refused if error.startswith(f"{name}: ")]
        assert report.read[name] > 0
        assert len(distinct) > 1, str(report)
