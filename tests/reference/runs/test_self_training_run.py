"""Whole runs of self-training on a tiny data set: resumed exactly, two processes as one, and its presets."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import run_in_two_processes
from runs import TINY, assert_same_numbers, training_rows

from correspondence_losses.reference.engine.checkpoint import read_checkpoint
from correspondence_losses.reference.experiments import SelfTrainingSettings
from correspondence_losses.reference.experiments.presets import load_tables
from correspondence_losses.reference.models.self_training import PseudoLabelCollapseError
from correspondence_losses.reference.runs.command_line import load_settings, preset_settings
from correspondence_losses.reference.runs.errors import one_line_errors
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import FelzenszwalbSegmenter
from correspondence_losses.reference.streams.images import Augmentation


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> SelfTrainingSettings:
    return SelfTrainingSettings(
        **TINY,
        data=data,
        output=tmp_path / "run",
        fpn_channels=8,
        augmentation=Augmentation(flip=0.5, jitter=0.3),
        segmenter=FelzenszwalbSegmenter(scale=50, min_size=20),
        sam_weight=0.05,
        votes=True,
        mask_weight=1.0,
        mask_block=8,
        threshold=0.05,
        weight_average=0.9,
        supervised_epochs=1,
        least_objects=0.0,
        epochs=3,
        steps_per_epoch=3,
        checkpoint_every=2,
        learning_rate=1e-3,
        prediction_mirror=True,
        prediction_votes=True,
    )


def test_killed_and_resumed_equals_never_stopped(settings: SelfTrainingSettings, tmp_path: Path, steps: Any) -> None:
    results = run(settings)
    assert results["data"]["pseudo_labels"]
    assert results["data"]["segmenter"] is not None
    assert list(results["prediction"]["ways"]) == ["plain", "mirror", "votes", "mirror, votes"]
    rows = read_checkpoint(settings.output / "checkpoint.pt")["history"]["training"]
    assert [row["mixed"] > 0 for row in rows] == [False] * 3 + [True] * 6, "the first epoch has no pseudo labels"
    for row in rows:
        parts = row["segmentation"] + 0.05 * (row["sam_invariance"] + row["sam_separation"])
        assert row["loss"] == pytest.approx(parts + row["mixed"] + row["masked"], rel=1e-5)
    read = load_settings(settings.output)
    assert read == dataclasses.replace(settings, segmenter=read.segmenter)
    assert TrainedModel(settings.output, accelerator="cpu").step == 9

    killed = dataclasses.replace(settings, output=tmp_path / "killed")
    with steps.killed(step=5):  # the last checkpoint is of step 4, where the teacher already labels
        run(killed)
    run(killed)
    assert_same_numbers(settings.output, killed.output)


def test_two_processes_train_as_one_with_the_same_global_batch(data: Path, tmp_path: Path) -> None:
    """Real gloo processes."""

    def training(devices: int) -> list[list[float]]:
        output = tmp_path / f"devices{devices}"
        arguments = f"--data {data} --output {output} --masks {tmp_path / 'masks'} "
        arguments += "--evaluation val --epochs 2 --supervised_epochs 1 --steps_per_epoch 2 --log_every 1 "
        arguments += "--threshold 0.05 --least_objects 0 --num_workers 0 --image_size [32,32] --fpn_channels 4 "
        arguments += "--prediction_scales [1.0] --prediction_mirror false --prediction_votes false "
        arguments += "--mask_block 8 --augmentation.window 1 --augmentation.zoom [1,1] "
        # A backbone with layer normalisation: batch normalisation sees the batch of its own process on CPUs.
        arguments += "--backbone convnext_atto --pretrained false --frozen_stages 0 "
        arguments += f"--accelerator cpu --devices {devices} --batch_size {2 // devices}"
        settings = preset_settings("mic_votes_sam", args=arguments.split())
        run_in_two_processes(settings) if devices == 2 else run(settings)
        assert "mixed" in (output / "training.csv").read_text().splitlines()[0].split(",")
        return training_rows(output)

    one = training(1)
    assert one[-1][-1] > 0
    np.testing.assert_allclose(training(2), one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", [row.name for row in load_tables()["beyond"]])
def test_every_preset_runs(preset: str, data: Path, tmp_path: Path, without_figures: None) -> None:
    changes = {
        **TINY, "data": str(data), "output": str(tmp_path / "run"), "fpn_channels": 4, "batch_size": 1, "epochs": 2,
        "supervised_epochs": 1, "steps_per_epoch": 1, "prediction_scales": [1.0],
    }  # fmt: skip
    results = run(preset_settings(preset, changes=changes))
    terms = results["last_training_terms"]
    assert ("mixed" in terms) == ("source" not in preset)
    assert ("masked" in terms) == preset.startswith("mic")
    assert ("sam_invariance" in terms) == preset.endswith("_sam")
    assert (results["data"]["segmenter"] is not None) == ("votes" in preset or "sam" in preset)
    assert results["data"]["unlabelled_frames"] == (0 if preset == "source_only" else 3)


def test_a_collapse_ends_a_run_in_one_line(
    settings: SelfTrainingSettings, capsys: pytest.CaptureFixture[str], without_figures: None
) -> None:
    collapsing = dataclasses.replace(
        settings, supervised_epochs=0, least_objects=1e9, epochs=1, steps_per_epoch=60, sam_weight=0.0, mask_weight=0.0
    )
    with pytest.raises(SystemExit) as end, one_line_errors():
        run(collapsing)
    assert end.value.code == 1
    assert isinstance(end.value.__cause__, PseudoLabelCollapseError)
    assert "error: the pseudo labels have collapsed: for 50 batches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_average": 0.0}, "weight_average must be above 0 with pseudo labels"),
        ({"threshold": 1.5}, r"threshold must lie in \[0, 1\], got 1.5"),
        ({"mask_ratio": -0.1}, r"mask_ratio must lie in \[0, 1\], got -0.1"),
        ({"mask_block": 0}, "mask_block must be above 0, got 0"),
        ({"supervised_epochs": -1}, "supervised_epochs must be at least 0, got -1"),
    ],
)
def test_bad_settings_name_the_argument(settings: SelfTrainingSettings, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(settings, **change)
