"""Checks on what was read that both layouts of YCB-Video share."""

import re
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.files import read_text

_LINE = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def check_size(path: Path, array: NDArray[Any], size: tuple[int, ...], other: Path) -> None:
    """Raise unless the first axes of ``array``, read from ``path``, are the (H, W) of ``other``."""
    if array.shape[:2] != tuple(size[:2]):
        raise DataError(f"{path}: has size {_by(array.shape)}, but {other} has {_by(size)} (height x width)")


def check_label(path: Path, label: NDArray[np.uint8], num_classes: int = len(CLASS_NAMES)) -> None:
    """Raise if a label is not a class of the data set, by default YCB-Video."""
    if label.size and label.max() >= num_classes:
        raise DataError(f"{path}: holds class {label.max()}, known are 0 to {num_classes - 1}")


def check_object_ids(
    path: Path, name: str, ids: NDArray[Any], num_classes: int = len(CLASS_NAMES)
) -> NDArray[np.int64]:
    """Return object ids as (n,) ``int64``, or raise if one is not a class of an object."""
    flat = np.asarray(ids).reshape(-1)
    known = (flat == np.round(flat)) & (flat >= 1) & (flat < num_classes)
    if not known.all():
        raise DataError(f"{path}: {name} holds {flat[~known][0]}, known are 1 to {num_classes - 1}")
    return flat.astype(np.int64)


def check_poses(path: Path, name: str, poses: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, 3, 4) poses as ``float64``, or raise if one is not finite or its left part is not a rotation."""
    poses = poses.astype(np.float64)
    if not np.isfinite(poses).all():
        raise DataError(f"{path}: {name} holds values that are not finite")
    rotation = poses[:, :, :3]
    # The entries first, since products of huge ones would overflow, and differences of these would be NaN.
    small = np.abs(rotation).max(initial=0.0) < 2
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(initial=0.0) if small else np.inf
    if error > 1e-2 or (np.linalg.det(rotation) < 0).any():
        raise DataError(f"{path}: {name} holds a matrix that is not a rotation")
    return poses


def check_intrinsics(path: Path, name: str, intrinsics: NDArray[Any]) -> NDArray[np.float64]:
    """Return a (3, 3) camera matrix as ``float64``, or raise if it is none."""
    if intrinsics.shape != (3, 3):
        raise DataError(f"{path}: {name} must have shape (3, 3), got {intrinsics.shape}")
    matrix = intrinsics.astype(np.float64)
    focal_lengths = matrix[[0, 1], [0, 1]]
    if not np.isfinite(matrix).all() or (focal_lengths <= 0).any() or matrix[2].tolist() != [0, 0, 1]:
        raise DataError(f"{path}: {name} is not a camera matrix: {matrix.tolist()}")
    return matrix


def check_scale(path: Path, name: str, scale: float) -> float:
    """Return a scale of depth values, or raise unless it is one that depth in any unit could have."""
    if not 1e-6 <= scale <= 1e6:
        raise DataError(f"{path}: {name} must lie in [1e-6, 1e6], got {scale}")
    return float(scale)


def read_frame_list(path: Path) -> list[tuple[int, int]]:
    """Read a list of ``video/frame`` lines, such as ``0049/000001``.

    Raises:
        DataError: The file is missing or empty, or a line is something else.
    """
    entries: list[tuple[int, int]] = []
    for number, line in enumerate(read_text(path, DataError).splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise DataError(f"{path}: line {number} must look like 0049/000001, got {reprlib.repr(line)}")
        entries.append((int(match[1]), int(match[2])))
    if not entries:
        raise DataError(f"{path}: lists no frame")
    return entries


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"
