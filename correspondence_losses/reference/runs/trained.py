"""The model of a run, loaded to predict."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from correspondence_losses.reference.data import CLASS_NAMES
from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint, scored_weights
from correspondence_losses.reference.engine.evaluation import predict_classes
from correspondence_losses.reference.engine.prediction import Prediction, PredictionWays
from correspondence_losses.reference.experiments import FamilySettings
from correspondence_losses.reference.files import read_json
from correspondence_losses.reference.runs.command_line import load_settings
from correspondence_losses.reference.streams.images import image_to_tensor

__all__ = ["TrainedModel", "blank_model", "image_classes", "load_model"]


class TrainedModel:
    """The model of a run, which predicts the classes of images of any size.

    Args:
        run: The run's folder, finished or not.
        accelerator: Fabric's, such as ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Attributes:
        settings: The run's.
        class_names: Names of the classes, the background first.
        step: Steps that the model was trained for.
        fabric: What the model is computed with.

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
    """

    def __init__(self, run: Path, *, accelerator: str = "auto") -> None:
        self.settings = load_settings(run)
        self.class_names = _class_names(run / "classes.json")
        if not self.settings.predicts:
            raise CheckpointError(f"{run}: holds a model that predicts no classes")
        model, self.step = load_model(run, self.settings, len(self.class_names))
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=self.settings.precision)
        self._model: Any = self.fabric.setup_module(model)
        self._model.mark_forward_method("predict")
        self._model.eval()

    @property
    def module(self) -> Any:
        """The model as it was made, in full precision."""
        return self._model.module

    def predict(
        self, image: NDArray[np.uint8], ways: PredictionWays, segments: NDArray[np.integer] | None = None
    ) -> Prediction:
        """Return what is predicted for an (H, W, 3) RGB image by each way, with its segments where they are known."""
        return ways.predict(self._model, image, self.settings.predicted_at, segments)

    def classes(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class (H, W) of each pixel of an (H, W, 3) RGB image."""
        return image_classes(self._model, image, self.settings.predicted_at)


@torch.no_grad()
def image_classes(model: Any, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the class (H, W) of each pixel of an (H, W, 3) RGB image, which a model predicts at a size."""
    inputs = image_to_tensor(image, size)[None].to(next(model.parameters()).device)
    predicted = predict_classes(model, inputs, (image.shape[0], image.shape[1]))
    classes: NDArray[np.uint8] = predicted.to(torch.uint8).cpu().numpy()
    return classes


def load_model(run: Path, settings: FamilySettings, num_classes: int) -> tuple[nn.Module, int]:
    """Return the model of a run with the weights that are scored, and the steps that it was trained for.

    Raises:
        CheckpointError: The checkpoint is missing or damaged, or of another model.
    """
    path = run / "checkpoint.pt"
    checkpoint = read_checkpoint(path)
    model = blank_model(settings, num_classes)
    try:
        model.load_state_dict(scored_weights(checkpoint))
        return model, int(checkpoint["step"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not hold the model of {run}: {error}") from error


def blank_model(settings: FamilySettings, num_classes: int) -> nn.Module:
    """Create the model of a run without the weights that the run started from: its own are loaded into it."""
    blank: dict[str, Any] = {name: None for name in _STARTS if hasattr(settings, name)}
    return dataclasses.replace(settings, pretrained=False, **blank).create_model(num_classes)


def _class_names(path: Path) -> tuple[str, ...]:
    """Return the names of a run's classes; runs of before they were written down have YCB-Video's."""
    if not path.exists():
        return CLASS_NAMES
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: must be a list of names of classes")
    return tuple(names)


_STARTS = ("backbone_weights", "backbone_run", "start_run")
