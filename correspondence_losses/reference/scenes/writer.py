"""Frames as files in the original layout of YCB-Video, the same bytes for the same frame."""

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.scenes.scene import FloatArray, Frame

__all__ = ["frame_is_complete", "write_frame"]

_FACTOR_DEPTH = 10000
_HEADER_TEXT = 116


def write_frame(prefix: Path, frame: Frame, *, video: bool, opaque: NDArray[np.bool_] | None = None) -> None:
    """Write ``PREFIX-color.png``, ``-depth.png``, ``-label.png``, ``-meta.mat``, and ``-box.txt`` for videos.

    Depth is in steps of 0.1 mm. ``meta.mat`` has the keys and types of YCB-Video: ``cls_indexes``,
    ``poses`` (3, 4, n), ``intrinsic_matrix``, ``factor_depth``, ``center``, ``vertmap`` (object coordinates, metres),
    and for videos ``rotation_translation_matrix``, world to camera. Each file is written whole or not at all.

    Args:
        prefix: Folder and number, such as ``root/data/0000/000001``.
        frame: What to write.
        video: Whether to write it as frames of videos (``data``) are, or as synthetic ones (``data_syn``).
        opaque: (H, W) bool. The colours are RGBA then, transparent elsewhere, as those of YCB-Video's own ``data_syn``
            are where no object is. Default: RGB, with the background as part of the picture.
    """
    color = frame.color
    if opaque is not None:
        color = np.dstack([color, np.where(opaque, 255, 0).astype(np.uint8)])
    _write_png(_part(prefix, "color.png"), color)
    _write_png(_part(prefix, "label.png"), frame.label)
    depth = np.clip(np.round(frame.depth * _FACTOR_DEPTH), 0, 65535)
    _write_png(_part(prefix, "depth.png"), depth.astype(np.uint16))
    if video:
        with atomic_path(_part(prefix, "box.txt")) as path:
            path.write_text(_boxes(frame.label), encoding="utf-8")
    buffer = io.BytesIO()
    savemat(cast(Any, buffer), _meta(frame, video), do_compression=True)
    # The header of a MAT file begins with a remark, where scipy writes the time: the same frame, other bytes.
    content = b"MATLAB 5.0 MAT-file, correspondence-losses".ljust(_HEADER_TEXT) + buffer.getvalue()[_HEADER_TEXT:]
    with atomic_path(_part(prefix, "meta.mat")) as path:
        path.write_bytes(content)


def frame_is_complete(prefix: Path, *, video: bool) -> bool:
    """Return whether every file of a frame is there."""
    names = ["color.png", "depth.png", "label.png", "meta.mat", *(["box.txt"] if video else [])]
    return all(_part(prefix, name).is_file() for name in names)


def _part(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}-{name}")


def _write_png(path: Path, image: NDArray[Any]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def _meta(frame: Frame, video: bool) -> dict[str, Any]:
    poses = np.moveaxis(frame.poses, 0, -1)
    projected = frame.poses[:, :, 3] @ frame.camera.intrinsics.T
    meta: dict[str, Any] = {
        "cls_indexes": frame.class_indexes.astype(np.uint8)[:, None],
        "poses": poses,
        "intrinsic_matrix": frame.camera.intrinsics,
        "factor_depth": np.array([[_FACTOR_DEPTH]], dtype=np.uint16),
        "center": _center(projected),
        "vertmap": frame.coordinates,
    }
    if video:
        return meta | {"rotation_translation_matrix": frame.camera.world_to_camera[:3]}
    return meta | {
        "cls_indexes": frame.class_indexes.astype(np.float32)[None],
        "poses": poses.astype(np.float32),
        "factor_depth": np.array([[_FACTOR_DEPTH]], dtype=np.float64),
    }


def _center(projected: FloatArray) -> FloatArray:
    center: FloatArray = projected[:, :2] / projected[:, 2:]
    return center


def _boxes(label: NDArray[np.uint8]) -> str:
    """Return a line ``name left top right bottom`` for each class seen."""
    lines = []
    for index in np.unique(label[label > 0]):
        rows, columns = np.nonzero(label == index)
        corners = columns.min(), rows.min(), columns.max(), rows.max()
        lines.append(" ".join([CLASS_NAMES[index], *(f"{value:.2f}" for value in corners)]))
    return "".join(f"{line}\n" for line in lines)
