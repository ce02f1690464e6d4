"""A run's model as a program of ``torch.export`` and as ONNX, checked against the model."""

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from correspondence_losses.reference.figures.colors import PALETTE
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.runs.trained import TrainedModel

__all__ = ["ExportError", "export_model"]

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_KEY = "correspondence-losses"
_TOLERANCE = 1e-3
_SMALLEST = 64


class ExportError(ValueError):
    """A model cannot be exported, or its export computes something else."""


class _Logits(nn.Module):
    """From images to logits: what a model's ``predict`` does, as a forward."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model.predict(images)
        return logits


@torch.no_grad()
def export_model(trained: TrainedModel, output: Path) -> dict[str, float]:
    """Write a model as ``model.pt2`` and ``model.onnx``, with the ``predict.py`` that runs the latter, into a folder.

    Both take images (b, 3, H, W) with values from 0 to 1, of any number and of any size from 64 x 64. They normalise
    them and return the logits (b, classes, H, W). Both hold the names and colours of the classes and the size that
    images are predicted at, as JSON under ``correspondence-losses``: the ONNX file in its metadata, the program among
    its extra files.

    Args:
        trained: The model.
        output: The folder. Files of these names are replaced.

    Returns:
        How far each is from the model: the largest difference of the logits of random images, two of the size that
        images are predicted at and one of another, relative to the largest logit.

    Raises:
        ModuleNotFoundError: A package of the extra ``export`` is missing.
        ExportError: The model cannot be exported, it predicts smaller images, or the difference is above a thousandth.
    """
    for package in _NEEDED:
        if find_spec(package) is None:
            message = f"an export needs {package}: pip install 'correspondence-losses[export]'"
            raise ModuleNotFoundError(message, name=package)
    from correspondence_losses.reference.deploy import predict

    size = trained.settings.predicted_at
    if min(size) < _SMALLEST:
        raise ExportError(f"images must be predicted at {_SMALLEST} x {_SMALLEST} or more for an export, got {size}")
    model = _Logits(trained.module.cpu().float()).eval()
    description = json.dumps({
        "class_names": list(trained.class_names),
        "colors": PALETTE[: len(trained.class_names)].tolist(),
        "prediction_size": list(size),
    })  # fmt: skip
    program, onnx = _program(model), output / "model.onnx"
    with atomic_path(output / "model.pt2") as temporary:
        torch.export.save(program, temporary, extra_files={_KEY: description})
    with atomic_path(onnx) as temporary:
        _write_onnx(program, temporary, description)
    shutil.copyfile(Path(predict.__file__), output / "predict.py")
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "model.pt2": torch.export.load(output / "model.pt2").module(),
        "model.onnx": lambda images: torch.from_numpy(
            predict.Model(onnx, ["CPUExecutionProvider"]).logits(images.numpy())
        ),
    }
    differences = {name: _difference(model, way, size) for name, way in ways.items()}
    for name, difference in differences.items():
        if not difference <= _TOLERANCE:  # NaN is none
            raise ExportError(f"{output / name}: computes other logits than the model, by {difference:.1e}")
    return differences


def _program(model: nn.Module) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    # The sizes of the example have no divisor that a program could take for granted.
    example = torch.rand(3, 3, 101, 134)
    try:
        return torch.export.export(model, (example,), dynamic_shapes={"images": {0: dynamic, 2: dynamic, 3: dynamic}})
    except Exception as error:  # what torch.export raises for what it cannot trace is of many kinds
        raise ExportError(f"the model cannot be exported: {error}") from error


def _write_onnx(program: torch.export.ExportedProgram, path: Path, description: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own workings
            written = torch.onnx.export(
                program, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
            )
    except Exception as error:  # of many kinds, as above
        version = torch.__version__  # what an exporter knows grows: that of 2.6 resizes to no computed size
        raise ExportError(f"PyTorch {version} cannot write the model as ONNX: {error}") from error
    if written is None:
        raise ExportError("the model cannot be written as ONNX")
    written.model.metadata_props[_KEY] = description
    written.save(path, external_data=False)


def _difference(model: nn.Module, way: Callable[[Tensor], Tensor], size: tuple[int, int]) -> float:
    generator = torch.Generator().manual_seed(0)
    found = []
    for images, (height, width) in ((2, size), (1, (size[0] + 33, size[1] + 17))):
        inputs = torch.rand(images, 3, height, width, generator=generator)
        expected = model(inputs)
        found.append(float((way(inputs) - expected).abs().max() / expected.abs().max()))
    return max(found)
