"""Checkpoints: written whole or not at all, and read without running any code that they might carry."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

__all__ = ["CheckpointError", "load_checkpoint", "read_checkpoint", "save_checkpoint"]


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another run."""


def save_checkpoint(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Save ``state`` (modules and optimizers by name, and plain values) to one file, from all processes together.

    The file is written beside ``path`` and moved there, so that a crash or a full disk leaves the last one whole.

    Raises:
        OSError: The file cannot be written; the checkpoint before it is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        fabric.save(temporary, state)
        fabric.barrier()
        if fabric.global_rank == 0:
            temporary.replace(path)
        fabric.barrier()
    except BaseException as error:
        if fabric.global_rank == 0:
            temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and "write" in str(error):  # how torch's zip writer reports a full disk
            raise OSError(f"{path}: could not be written, is the disk full? ({error})") from error
        raise


def load_checkpoint(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Load modules and optimizers in place, and put the plain values into ``state``.

    Raises:
        CheckpointError: The file is missing or damaged, or does not fit the modules.
    """
    try:
        fabric.load(path, state, strict=True, weights_only=True)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: is damaged, or not a checkpoint of this model: {error}") from error


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's content to the CPU, as plain values and tensors.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: is missing, damaged, or not a checkpoint: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content
