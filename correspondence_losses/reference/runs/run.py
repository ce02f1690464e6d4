"""One run of any family, from settings to a folder with results and figures."""

import os
import warnings
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import FSDPStrategy
from torch import Tensor, nn
from tqdm import tqdm

from correspondence_losses.reference.data import spread
from correspondence_losses.reference.engine.averaging import WeightAverage
from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.engine.evaluation import MEANS, predict_classes
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loop import train
from correspondence_losses.reference.engine.optimizer import create_optimizer, parameter_rates
from correspondence_losses.reference.experiments import FamilySettings, family_name
from correspondence_losses.reference.experiments.record import plain, versions
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.figures.colors import colorize
from correspondence_losses.reference.figures.panels import save_panels
from correspondence_losses.reference.figures.plots import Panel, plot_curves, plot_predictions
from correspondence_losses.reference.files import empty_folder, held_folder, read_json, write_json
from correspondence_losses.reference.models.backbone import Backbone, has_batch_norm
from correspondence_losses.reference.models.self_training import SelfTrainingModel
from correspondence_losses.reference.runs.report import write_report
from correspondence_losses.reference.seeding import seed_step
from correspondence_losses.reference.streams.batches import StepSampler, loader, workers_beside

__all__ = ["PLACE", "check_same_settings", "launch", "run"]

PLACE = {
    "scenes_folder", "output", "overwrite", "masks", "renders", "num_workers", "checkpoint_every", "logger", "compile",
    "prediction_scales", "prediction_mirror", "prediction_votes", "prediction_object_threshold",
}  # fmt: skip
"""Settings of where and how a run is computed and predicted with, which may change when it is continued."""
_FIGURE_ROWS = 4
_SETTINGS_FILE = "settings.json"
_CHECKPOINT_FILE = "checkpoint.pt"
_CLASSES_FILE = "classes.json"


def run(settings: FamilySettings, *, fabric: Fabric | None = None) -> dict[str, Any]:
    """Train, evaluate and draw one run; continue it where its folder holds an unfinished one.

    The folder ``settings.output`` then holds ``settings.json``, ``checkpoint.pt``, ``training.csv``,
    ``evaluation.csv``, ``scores.json`` of the last evaluation, what the logger writes, ``results.json``, the figures,
    and ``report.html``, which shows all of it. A run of several stages has a folder for each but the last in it.

    Args:
        settings: What to run, of any family.
        fabric: Launched, where several runs share one. Default: one is launched as the settings say.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: A setting or a file of the data does not fit, or another process is writing to the folder; the
            message says what and where.
        CheckpointError: The folder holds a run with other settings.
        NonFiniteLossError: A loss term became NaN or infinite.
        Interrupted: The run was asked to stop, and can be continued.
    """
    fabric = fabric or launch(settings)
    stages = settings.stages()
    results: dict[str, Any] = {}
    with _held(fabric, settings.output):
        if fabric.global_rank == 0:  # before any of them: a stage's folder may hold that of an earlier one
            for stage in stages:
                if stage.overwrite:
                    _remove_run(stage.output)
        for stage in stages:
            with nullcontext() if stage.output == settings.output else _held(fabric, stage.output):
                results = _Run(fabric, stage).run()
    return results


def _held(fabric: Fabric, folder: Path) -> AbstractContextManager[None]:
    return held_folder(folder) if fabric.global_rank == 0 else nullcontext()


def _remove_run(folder: Path) -> None:
    """Empty the folder of a run, and only of a run: other programs have a settings.json too."""
    path = folder / _SETTINGS_FILE
    if not path.exists():
        return
    content = read_json(path)
    if not isinstance(content, dict) or "family" not in content:
        raise ValueError(f"output must be a run's folder, or new, to be overwritten: {path} is not that of a run")
    empty_folder(folder)


def launch(settings: FamilySettings) -> Fabric:
    """Return Fabric, launched as the settings say, or on the processes that torchrun has started.

    Raises:
        ValueError: The settings ask for other processes than torchrun has started.
    """
    devices, num_nodes = _machines(settings)
    # A sharded model is saved in one file like any other, so that it can be resumed and scored on other machines.
    strategy = FSDPStrategy(state_dict_type="full") if settings.strategy == "fsdp" else settings.strategy
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=settings.precision,
    )
    fabric.launch()
    return fabric


class _Run:
    def __init__(self, fabric: Fabric, settings: FamilySettings) -> None:
        self.fabric = fabric
        self.settings = settings
        self.is_first = fabric.global_rank == 0
        self._prepare_folder()
        self.data = RunData(fabric, settings)
        if self.is_first:
            write_json(settings.output / _CLASSES_FILE, list(self.data.source.class_names))
        self.task = settings.task(self.data)
        self.frames = self.data.evaluated if settings.predicts else []
        seed_step(settings.seed, -1 % 2**32, 0)  # the same initial weights on every process
        model = settings.create_model(len(self.data.source.class_names))
        if settings.channels_last:
            model = model.to(memory_format=torch.channels_last)
        backbone = getattr(model, "backbone", None)
        stages = backbone.stages() if isinstance(backbone, Backbone) else []
        self.backbone_weights = backbone.weights if isinstance(backbone, Backbone) else {}
        rates = parameter_rates(
            model, stages, backbone_lr_scale=settings.backbone_lr_scale, layer_decay=settings.layer_decay
        )
        # Set up one after the other, since a model that is sharded has other parameters afterwards.
        model = _with_joint_statistics(fabric, model)
        if settings.compile:  # what is called to train, and nothing of what predicts
            model.forward = torch.compile(model.forward)
        self.model: Any = fabric.setup_module(model)
        for method in self.task.methods:
            self.model.mark_forward_method(method)
        optimizer = create_optimizer(
            self.model.module,
            settings.optimizer,
            rates,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=settings.precision != "16-mixed",
        )
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.average = WeightAverage(self.model.module, settings.weight_average) if settings.weight_average else None
        if isinstance(self.model.module, SelfTrainingModel):
            self.model.module.teacher = self.average

    def run(self) -> dict[str, Any]:
        settings = self.settings
        history = History(settings.output if self.is_first else None, settings.log_every, settings.logger)
        train(
            self.fabric,
            self.model,
            self.optimizer,
            self._batches_from,
            self._evaluate if self.frames else None,
            plan=settings,
            history=history,
            checkpoint=settings.output / _CHECKPOINT_FILE,
            average=self.average,
        )
        history.close()
        self.model.eval()
        with nullcontext() if self.average is None else self.average.applied():
            self._draw(history)
            prediction = self._score_ways()
        results = {**self._results(history), **prediction}
        if self.is_first:
            write_json(settings.output / "results.json", results)
            report = settings.output / "report.html"
            write_report(report, [settings.output])
            score = f"mean IoU {100 * results['mean_iou']:.2f} % on {settings.evaluation}; " if self.frames else ""
            tqdm.write(f"{score}see {report}")
        self.fabric.barrier()
        return results

    def _batches_from(self, step: int) -> Generator[Any, None, None]:
        settings = self.settings
        sampler = StepSampler(
            start=step,
            stop=settings.num_steps,
            batch_size=settings.batch_size,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            accumulate=settings.accumulate,
        )
        workers = settings.num_workers
        if workers is None:
            workers = workers_beside(self.fabric.device)
        return loader(self.task.stream, sampler, workers, self.task.collate)

    def _evaluate(self) -> Mapping[str, float]:
        self.model.eval()
        scores = self.data.scores(lambda frame: {"plain": self._predict(frame)}, ["plain"], "evaluating", nested=True)
        if self.is_first:
            write_json(self.settings.output / "scores.json", scores["plain"].record())
        return scores["plain"].metrics()

    def _score_ways(self) -> dict[str, Any]:
        """Return what several sizes, the mirrored image and votes of segments make of the last prediction."""
        ways, source = self.settings.prediction_ways(), self.data.source
        if not self.frames or len(ways.names) == 1:
            return {}
        scores = self.data.scores(
            lambda frame: ways.predict(self.model, source.image(frame), self.settings.predicted_at).classes(),
            ways.names,
            "predicting in several ways",
        )
        return {"prediction": {"settings": plain(ways), "ways": {way: of.metrics() for way, of in scores.items()}}}

    def _predict(self, frame: str) -> Tensor:
        """Return the classes (H, W) of a frame at its label's own size."""
        source = self.data.source
        height, width = source.label(frame).shape
        return predict_classes(self.model, self.data.inputs(source, frame), (height, width))

    @torch.no_grad()
    def _draw(self, history: History) -> None:
        """Save the figures; all processes take part, since a model may be sharded over them."""
        folder, source = self.settings.output / "figures", self.data.source
        if self.is_first:
            plot_curves(folder / "curves.png", history.training, history.evaluation)
        rows: list[list[Panel]] = []
        shown: set[int] = set()
        for frame in spread(self.frames, _FIGURE_ROWS):
            label, prediction = source.label(frame), self._predict(frame).cpu().numpy()
            shown |= {*np.unique(label).tolist(), *np.unique(prediction).tolist()}
            rows.append([
                (frame, source.image(frame)),
                ("truth", colorize(label)),
                ("prediction", colorize(prediction)),
                *self.task.panels(self.model, self.data.inputs(source, frame)),
            ])  # fmt: skip
        if rows and self.is_first:
            plot_predictions(folder / "predictions.png", rows, "Predictions", source.class_names, sorted(shown))
            save_panels(folder / "predictions", rows)
        self.task.draw(self.model, folder, write=self.is_first)

    def _prepare_folder(self) -> None:
        if self.is_first:
            check_same_settings(self.settings)
            write_json(self.settings.output / _SETTINGS_FILE, _content(self.settings))
        self.fabric.barrier()

    def _results(self, history: History) -> dict[str, Any]:
        settings = self.settings
        averaged = [row for row in history.evaluation if row["epoch"] > settings.epochs - settings.average_epochs]
        scores: dict[str, Any] = {}
        if averaged:
            scores = {
                **{name: float(np.mean([row[name] for row in averaged])) for name in MEANS},
                "averaged_evaluations": len(averaged),
                "final": history.evaluation[-1],
                "evaluations": history.evaluation,
            }
        return {
            "family": family_name(settings),
            **scores,
            "backbone_weights": self.backbone_weights,
            "data": {
                "root": str(self.data.source.root),
                "layout": self.data.source.layout,
                "evaluated_frames": len(self.frames),
                **self.task.record(),
            },
            "last_training_terms": history.training[-1] if history.training else {},
            "seconds": round(history.seconds, 1),
            "processes": self.fabric.world_size,
            "settings": plain(settings),
            "versions": versions(),
        }


def _machines(settings: FamilySettings) -> tuple[int | str, int]:
    """Return the number of processes on each machine and that of machines."""
    asked = (settings.devices, settings.num_nodes)
    if not torch.distributed.is_torchelastic_launched():
        return asked
    # Fabric would take one device for a process that knows no others: each would train alone, in the same folder.
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    started = (local, world // local)
    if asked not in ((1, 1), ("auto", 1), started):
        raise ValueError(
            f"devices and num_nodes must be left out under torchrun, or be what it started, {started[0]} and "
            f"{started[1]}; got {asked[0]} and {asked[1]}"
        )
    return started


def _content(settings: FamilySettings) -> dict[str, Any]:
    return {"family": family_name(settings), **plain(settings)}


def _with_joint_statistics(fabric: Fabric, model: nn.Module) -> nn.Module:
    """Let the batch normalisation of all processes share its statistics, as that of one with their batch would."""
    if fabric.world_size == 1 or not has_batch_norm(model):
        return model
    if fabric.device.type == "cpu":
        warnings.warn("on CPUs each process normalises its own batch: SyncBatchNorm needs GPUs", stacklevel=2)
        return model
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def check_same_settings(settings: FamilySettings) -> None:
    """Check that the folder of a run of one stage holds no run with other settings.

    Raises:
        CheckpointError: It does; the message says which settings differ.
    """
    path = settings.output / _SETTINGS_FILE
    if not path.exists() or not (settings.output / _CHECKPOINT_FILE).exists():  # or none that came to its first step
        return
    before = read_json(path)
    changed = [
        f"{name}: {before.get(name)!r} there, {value!r} now"
        for name, value in _content(settings).items()
        if name not in PLACE and before.get(name) != value
    ]
    if changed:
        raise CheckpointError(
            f"{path.parent}: holds a run with other settings ({'; '.join(changed)}). Give another --output, the same "
            "settings to continue it, or --overwrite true to start anew"
        )
