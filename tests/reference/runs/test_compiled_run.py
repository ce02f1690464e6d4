"""Training steps through ``torch.compile`` have the numbers that they have without."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import TINY, training_rows

from correspondence_losses.reference.experiments import CUTSettings, FamilySettings, SelfTrainingSettings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.segments import FelzenszwalbSegmenter

SHORT: dict[str, Any] = {**TINY, "evaluation": None, "epochs": 1, "steps_per_epoch": 3, "learning_rate": 1e-3}
# Weights that are exchanged in a step, and two networks against each other.
FAMILIES: dict[str, tuple[type[FamilySettings], dict[str, Any]]] = {
    "self_training": (
        SelfTrainingSettings,
        {
            "fpn_channels": 8,
            "segmenter": FelzenszwalbSegmenter(scale=50, min_size=20),
            "sam_weight": 0.05,
            "votes": True,
            "mask_weight": 1.0,
            "mask_block": 8,
            "weight_average": 0.9,
            "supervised_epochs": 0,
            "least_objects": 0.0,
        },
    ),
    "cut": (CUTSettings, {"channels": 8, "num_blocks": 2, "num_places": 16, "image_size": (32, 40)}),
}


@pytest.fixture
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are traced and differentiated, and run as they are: generating their code would take minutes."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiled(function, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures", "_traced_only")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_are_those_of_a_run_that_is_not_compiled(family: str, data: Path, tmp_path: Path) -> None:
    settings_type, changes = FAMILIES[family]
    plain = settings_type(**{**SHORT, **changes}, data=data, output=tmp_path / "plain")
    compiled = dataclasses.replace(plain, output=tmp_path / "compiled", compile=True)
    run(plain)
    assert not torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for one, other in zip(training_rows(plain.output), training_rows(compiled.output), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
