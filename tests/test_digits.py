"""The digit table: its two domains, its methods, and that a stopped table goes on."""

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.py"
pytestmark = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(EXAMPLE))


def test_domains_are_what_they_say(example: dict[str, Any]) -> None:
    source, target, test = example["domains"](8, 0)
    again = example["domains"](8, 0)
    other = example["domains"](8, 1)
    for images, same, different in zip((source, target, test), again, other, strict=True):
        assert torch.equal(images.images, same.images)
        assert not torch.equal(images.images, different.images)
        assert images.images.shape == (len(images.labels), 3, 64, 96)
        assert images.images.min() >= 0
        assert images.images.max() <= 1
        assert set(images.labels.unique().tolist()) <= set(range(11))
        for label in images.labels:
            assert len(label.unique()) >= 2, "a digit and the background"
            assert 0.01 < (label > 0).float().mean() < 0.5
        assert images.segments.min() == 1
        assert images.segments.max() < 512
    assert len(test.images) == 4
    digits, names = example["handwritten"]()
    assert digits.shape == (len(names), 8, 8)
    assert digits.max() == 1


def test_the_score_is_the_mean_iou(example: dict[str, Any]) -> None:
    _, _, test = example["domains"](4, 0)
    classes = torch.randint(0, 11, test.labels.shape, generator=torch.Generator().manual_seed(0))

    class Teacher:
        def __call__(self, images: torch.Tensor) -> Any:
            return type("Output", (), {"logits": 50 * torch.nn.functional.one_hot(classes, 11).movedim(-1, 1).float()})

    expected = []
    for label in range(11):
        truth, found = test.labels == label, classes == label
        if (truth | found).any():
            expected.append(((truth & found).sum() / (truth | found).sum()).item())
    assert example["score"](Teacher(), test)["plain"] == pytest.approx(100 * np.mean(expected), rel=1e-5)


def test_one_command_trains_all_methods_and_goes_on(tmp_path: Path) -> None:
    def table(*arguments: str) -> str:
        command = [sys.executable, str(EXAMPLE), "--output", str(tmp_path), "--steps", "4", "--images", "4"]
        run = subprocess.run([*command, "--batch_size", "2", *arguments], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    table("--seeds", "0", "--methods", "source only", "MIC, votes of segments, SAM pooling")
    first = json.loads((tmp_path / "results.json").read_text())["scores"]
    printed = table("--seeds", "0", "1")
    scores = json.loads((tmp_path / "results.json").read_text())["scores"]
    assert all(set(runs) == {"0", "1"} for runs in scores.values())
    for name, runs in first.items():
        assert scores[name]["0"] == runs["0"], "what was there is not trained again"
    assert len(scores) == 14
    assert len(printed.strip().splitlines()) == 2 + len(scores)
    assert (tmp_path / "results.md").read_text() == printed


def test_every_method_trains_with_what_it_names(example: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each changes the weights that labelled images alone lead to, but AdaBN, which changes statistics."""
    source, target, _ = example["domains"](6, 0)

    def sure_votes(probabilities: torch.Tensor, *_: Any) -> Any:
        """In eight steps no teacher is sure of anything, and votes would count nowhere."""
        votes = torch.zeros_like(probabilities)
        votes[:, 3] = 1
        return type("Votes", (), {"probabilities": votes})

    monkeypatch.setitem(example["train"].__globals__, "segment_vote", sure_votes)

    def weights(method: Any) -> torch.Tensor:
        teacher = example["train"](method, source, target, steps=8, batch_size=2, seed=0)
        return torch.cat([parameter.flatten() for parameter in teacher.module.parameters()])

    found = {method.name: weights(method) for method in example["METHODS"]}
    assert torch.equal(found["source only"], found["AdaBN"])
    distinct = [name for name in found if name not in ("AdaBN", "MIC")]  # of which an unsure teacher masks nothing
    for i, name in enumerate(distinct):
        for other in distinct[:i]:
            assert not torch.equal(found[name], found[other]), (name, other)
