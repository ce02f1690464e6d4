"""What a run has logged so far: part of its checkpoint, and mirrored to CSV files and a logger."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import Logger

from correspondence_losses.reference.engine.loggers import LoggerName, create_logger
from correspondence_losses.reference.files import write_text

__all__ = ["History"]

Row = dict[str, float]


class History:
    """Rows of training terms and of evaluations.

    Living in the checkpoint, they go back with it when a run is resumed: no row is doubled and none is lost. So does
    ``seconds``, the time spent so far.

    Args:
        folder: Where ``training.csv``, ``evaluation.csv`` and what the logger writes go; ``None`` writes nothing (all
            processes but the first).
        interval: Training terms are averaged over this many steps a row.
        logger: What the rows go to besides, as they come.
    """

    def __init__(self, folder: Path | None, interval: int, logger: LoggerName = "tensorboard") -> None:
        self.training: list[Row] = []
        self.evaluation: list[Row] = []
        self.seconds = 0.0
        self.interval = interval
        self._sums: Row = {}
        self._folder = folder
        self._logger_name = logger
        self._logger: Logger | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return all rows, and the sums of the row that is not yet full, as plain values."""
        return {"training": self.training, "evaluation": self.evaluation, "sums": self._sums, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to the rows of :meth:`state_dict`."""
        self.training, self.evaluation = list(state["training"]), list(state["evaluation"])
        self._sums, self.seconds = dict(state["sums"]), float(state["seconds"])

    def add_training(self, step: int, terms: Mapping[str, float]) -> None:
        """Add the terms of the training step counted ``step``, from 1."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if step % self.interval == 0:
            row = {name: value / self.interval for name, value in self._sums.items()}
            self._sums = {}
            self.training.append({"step": step, **row})
            self._log("train", step, row)

    def add_evaluation(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of the evaluation after ``epoch``, counted from 1."""
        self.evaluation.append({"epoch": epoch, "step": step, **metrics})
        self._log("evaluation", step, metrics)

    def flush(self) -> None:
        """Bring the CSV files and the logger's up to date."""
        if self._folder is None:
            return
        for name, rows in (("training", self.training), ("evaluation", self.evaluation)):
            if rows:
                text = io.StringIO()
                writer = csv.DictWriter(text, fieldnames=list(rows[-1]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
                write_text(self._folder / f"{name}.csv", text.getvalue())
        if self._logger is not None:
            self._logger.save()

    def close(self) -> None:
        """Flush and close the files."""
        self.flush()
        if self._logger is not None:
            self._logger.finalize("success")

    def _log(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if self._folder is None:
            return
        if self._logger is None:
            self._logger = create_logger(self._logger_name, self._folder, step)
        if self._logger is not None:
            self._logger.log_metrics({f"{group}/{name}": value for name, value in values.items()}, step)
