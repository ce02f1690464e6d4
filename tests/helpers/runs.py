"""Whether two runs are one."""

from pathlib import Path

import torch

from correspondence_losses.reference.engine.checkpoint import read_checkpoint


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
