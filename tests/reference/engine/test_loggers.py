"""What is logged besides the CSV files of a run, and where a logger's packages are missing."""

import csv
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loggers import LoggerName, create_logger


def logged(folder: Path, logger: LoggerName, steps: range, history: History | None = None) -> History:
    new = History(folder, 1, logger)
    if history is not None:
        new.load_state_dict(history.state_dict())
    for step in steps:
        new.add_training(step, {"loss": 1 / step})
    new.add_evaluation(steps[-1], 1, {"mean_iou": 0.5})
    new.close()
    return new


def test_tensorboard_hides_what_a_stopped_run_wrote_after_its_checkpoint(tmp_path: Path) -> None:
    history = logged(tmp_path, "tensorboard", range(1, 4))
    logged(tmp_path, "tensorboard", range(4, 6), history)
    logged(tmp_path, "tensorboard", range(4, 7), history)  # as that one was lost
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(event.step for event in events.Scalars("train/loss")) == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("train/loss")[-1].value == pytest.approx(1 / 6)
    assert events.Scalars("evaluation/mean_iou")[-1].step == 6


def test_csv(tmp_path: Path) -> None:
    for _ in range(2):  # the second time in place of the first
        logged(tmp_path, "csv", range(1, 4))
        with (tmp_path / "csv/from-step-1/metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["train/loss"] for row in rows if row["train/loss"]] == ["1.0", "0.5", str(1 / 3)]
        assert rows[-1]["evaluation/mean_iou"] == "0.5"


def test_none_leaves_the_runs_own_files_alone(tmp_path: Path) -> None:
    logged(tmp_path, "none", range(1, 4))
    assert {path.name for path in tmp_path.iterdir()} == {"training.csv", "evaluation.csv"}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_missing_packages_are_named(name: LoggerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install pytorch-lightning {name}"):
        create_logger(name, tmp_path, 1)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_goes_on_under_the_same_id(name: LoggerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason=f"{name} is in the extra loggers")
    pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is in the extra loggers")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    history = logged(tmp_path / "run", name, range(1, 4))
    first = (tmp_path / "run" / "logger.json").read_text()
    logged(tmp_path / "run", name, range(4, 6), history)
    assert (tmp_path / "run" / "logger.json").read_text() == first
