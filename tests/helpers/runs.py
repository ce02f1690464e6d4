"""What the runs of the tests are like, and whether two of them are one."""

from pathlib import Path
from typing import Any

import torch

from correspondence_losses.reference.engine.checkpoint import read_checkpoint

QUICK: dict[str, Any] = {"log_every": 1, "average_epochs": 1, "num_workers": 0, "accelerator": "cpu"}
"""Settings of a run that is short, in one process."""

TINY: dict[str, Any] = {
    **QUICK,
    "evaluation": "val",
    "backbone": "convnext_atto",
    "pretrained": False,
    "image_size": (32, 64),
}
"""Settings of such a run on the data set that ``ycb_layouts.write_tiny`` writes."""


def training_rows(folder: Path) -> list[list[float]]:
    """Return the numbers of a run's ``training.csv``, row by row."""
    rows = (folder / "training.csv").read_text().splitlines()[1:]
    return [[float(value) for value in row.split(",")] for row in rows]


def assert_same_numbers(one: Path, other: Path) -> None:
    """Check that two folders hold the same run, bit for bit: its weights, their average, its history."""
    a, b = (read_checkpoint(folder / "checkpoint.pt") for folder in (one, other))
    assert a["step"] == b["step"]
    for part in ("training", "evaluation"):
        assert a["history"][part] == b["history"][part]
    for weights in ("model", "average"):
        assert a.get(weights, {}).keys() == b.get(weights, {}).keys()
        for name, tensor in a.get(weights, {}).items():
            assert torch.equal(tensor, b[weights][name]), name
    first, second = (
        path.read_text() if (path := folder / "evaluation.csv").exists() else None for folder in (one, other)
    )
    assert first == second
