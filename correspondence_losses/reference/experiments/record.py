"""The record of a run: what was run, on what, with which versions, and what came out."""

import dataclasses
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from correspondence_losses import __version__
from correspondence_losses.reference.segments import Segmenter

__all__ = ["plain", "versions"]

_PACKAGES = ("torchvision", "timm", "lightning-fabric", "segment-anything", "scikit-image", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run's numbers depend on."""
    found = {"python": platform.python_version(), "correspondence-losses": __version__, "torch": torch.__version__}
    found |= {package: version(package) for package in _PACKAGES}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def plain(value: Any) -> Any:
    """Turn settings into values that JSON and a checkpoint hold."""
    if isinstance(value, Segmenter):
        kind = type(value)
        return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "settings": value.settings()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
