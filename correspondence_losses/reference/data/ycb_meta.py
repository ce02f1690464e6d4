"""``meta.mat`` of YCB-Video: what is known of a frame besides its images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.checks import check_intrinsics, check_object_ids, check_poses, check_scale
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_mat


@dataclass(frozen=True, eq=False)
class YCBMeta:
    """The content of a ``meta.mat``, of a real frame or of a synthetic one.

    Attributes:
        object_ids: (n,) ``int64``, from ``cls_indexes``.
        poses: (n, 3, 4) ``float64``, object to camera, metres.
        intrinsics: (3, 3) ``float64``.
        depth_factor: What a depth image is divided by to give metres.
        object_coordinates: (H, W, 3) ``float32`` metres, from ``vertmap``, or ``None`` where there is none.
    """

    object_ids: NDArray[np.int64]
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    depth_factor: float
    object_coordinates: NDArray[np.float32] | None


def read_meta(path: Path) -> YCBMeta:
    """Read a ``meta.mat``.

    Raises:
        DataError: The file is missing or damaged, or holds what cannot be.
    """
    meta = read_mat(path, ("cls_indexes", "poses", "intrinsic_matrix", "factor_depth"), ("vertmap",))
    if meta["factor_depth"].size != 1:
        raise DataError(f"{path}: factor_depth must be one number, got shape {meta['factor_depth'].shape}")
    object_ids = check_object_ids(path, "cls_indexes", meta["cls_indexes"])
    return YCBMeta(
        object_ids=object_ids,
        poses=check_poses(path, "poses", _poses(path, meta["poses"], len(object_ids))),
        intrinsics=check_intrinsics(path, "intrinsic_matrix", meta["intrinsic_matrix"]),
        depth_factor=check_scale(path, "factor_depth", float(meta["factor_depth"].item())),
        object_coordinates=_coordinates(path, meta["vertmap"]) if "vertmap" in meta else None,
    )


def _poses(path: Path, poses: NDArray[Any], num_objects: int) -> NDArray[Any]:
    # MATLAB drops a last axis of length 1, and writes an empty array with axes of its own choice.
    if num_objects == 0 and poses.size == 0:
        return np.empty((0, 3, 4))
    if poses.ndim == 2:
        poses = poses[..., None]
    if poses.shape != (3, 4, num_objects):
        raise DataError(
            f"{path}: poses must have shape (3, 4, {num_objects}), one for each of cls_indexes, got {poses.shape}"
        )
    return poses.transpose(2, 0, 1)


def _coordinates(path: Path, vertmap: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        coordinates = vertmap.astype(np.float32)
    if not np.isfinite(coordinates).all():
        raise DataError(f"{path}: vertmap holds values that are no lengths in metres")
    return coordinates
