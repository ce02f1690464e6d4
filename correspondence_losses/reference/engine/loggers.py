"""Where a run's terms and scores are logged besides its CSV files: Lightning's loggers, by name."""

import shutil
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.loggers import CSVLogger, Logger, TensorBoardLogger

from correspondence_losses.reference.files import read_json, write_json

__all__ = ["LoggerName", "create_logger"]

LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow", "none"]
_PROJECT = "correspondence-losses"


def create_logger(name: LoggerName, folder: Path, first_step: int) -> Logger | None:
    """Create a logger that writes below the folder of a run.

    Args:
        name: ``"tensorboard"`` writes events to ``tensorboard``, ``"csv"`` to
            ``csv/from-step-N/metrics.csv``. ``"wandb"`` and
            ``"mlflow"`` take the project, the server and the keys from the variables of these tools, such as
            ``WANDB_MODE`` and ``MLFLOW_TRACKING_URI``; a run that is continued goes on under the same id, which
            ``logger.json`` keeps.
        folder: Of the run.
        first_step: Of this process. TensorBoard hides the events of a stopped run from this step on.

    Raises:
        ModuleNotFoundError: The packages of the logger are not installed.
    """
    if name == "none":
        return None
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=first_step)
    if name == "csv":
        version = f"from-step-{first_step}"
        shutil.rmtree(folder / "csv" / version, ignore_errors=True)  # of a run that was stopped before it was saved
        return CSVLogger(folder, name="csv", version=version)
    try:
        return _remote_logger(name, folder)
    except ModuleNotFoundError as error:
        message = f"logger {name!r} needs packages that are not installed: pip install pytorch-lightning {name}"
        raise ModuleNotFoundError(message) from error


def _remote_logger(name: Literal["wandb", "mlflow"], folder: Path) -> Logger:
    from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

    record = folder / "logger.json"
    known = read_json(record).get(name) if record.exists() else None
    logger: Any
    if name == "wandb":
        logger = WandbLogger(name=folder.name, save_dir=folder, project=_PROJECT, id=known)
        identifier = logger.experiment.id
    else:
        logger = MLFlowLogger(_PROJECT, run_name=folder.name, save_dir=str(folder / "mlruns"), run_id=known)
        identifier = logger.run_id
    write_json(record, {name: identifier})
    created: Logger = logger
    return created
