"""Checkpoints: written whole or not at all, and read without running any code that they might carry."""

import errno
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

__all__ = ["CheckpointError", "load_checkpoint", "read_checkpoint", "save_checkpoint", "scored_weights"]


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
        if fabric.global_rank == 0:
            temporary.touch()  # Fabric says nothing of a folder that it may not write to
        fabric.save(temporary, state)
        fabric.barrier()
        if fabric.global_rank == 0:
            temporary.replace(path)
        fabric.barrier()
    except BaseException as error:
        if fabric.global_rank == 0:
            temporary.unlink(missing_ok=True)
        # A full disk is reported without the name of a file, by PyTorch's own writer as a RuntimeError.
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and "write" in str(error)):
            code = getattr(error, "errno", None) or errno.EIO
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(code, f"cannot be written: {reason}", str(path)) from error
        raise


def load_checkpoint(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    """Load modules and optimizers in place, and put the plain values into ``state``.

    Raises:
        CheckpointError: The file is missing or damaged, or does not fit the modules.
    """
    with _reading(path, "of this model"):
        fabric.load(path, state, strict=True, weights_only=True)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint's content to the CPU, as plain values and tensors.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    with _reading(path, "of a run"):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def scored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of a model that its scores are of: the averaged ones where there are such."""
    return {**checkpoint.get("model", {}), **checkpoint.get("average", {})}


@contextmanager
def _reading(path: Path, whose: str) -> Iterator[None]:
    """Check the file, and name it in whatever exception damage provokes further inside."""
    if not path.exists():
        raise CheckpointError(f"{path}: is missing")
    try:
        _check_records(path)
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: is damaged, or not a checkpoint {whose} ({error})") from error


def _check_records(path: Path) -> None:
    """Check what PyTorch does not: that the records are as they were written, and no larger than the file."""
    with zipfile.ZipFile(path) as archive:
        size = sum(record.file_size for record in archive.infolist())
        if size > path.stat().st_size:
            raise CheckpointError(f"{path}: unpacks to {size} bytes, more than a checkpoint, which is not compressed")
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{path}: is damaged, {damaged} in it has another checksum than it was written with")
