"""Writing YCB-Video frames in both layouts, and finding the real sample."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from correspondence_losses.reference.data import Frame

SIZE = (12, 16)


def real_sample() -> Path:
    """The folder of real frames, or skip."""
    root = Path(os.environ.get("CORRESPONDENCE_LOSSES_YCB", Path(__file__).parents[3] / "shared/ycb_video_sample"))
    if not root.is_dir():
        pytest.skip(f"no YCB-Video sample at {root} (set CORRESPONDENCE_LOSSES_YCB)")
    return root


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.linalg.det(q)


def random_frame(seed: int = 0, object_ids: tuple[int, ...] = (3, 9), size: tuple[int, int] = SIZE) -> Frame:
    rng = np.random.default_rng(seed)
    return Frame(
        image=rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        label=rng.choice([0, *object_ids], size).astype(np.uint8),
        depth=(rng.integers(0, 30000, size) / 10000).astype(np.float32),
        object_ids=np.array(object_ids, dtype=np.int64),
        poses=np.array([np.c_[rotation(rng), rng.normal(size=3)] for _ in object_ids]).reshape(-1, 3, 4),
        intrinsics=np.array([[1066.778, 0, 312.9869], [0, 1067.487, 241.3109], [0, 0, 1]]),
        object_coordinates=rng.normal(size=(*size, 3)).astype(np.float32),
    )


def real_meta(frame: Frame) -> dict[str, np.ndarray]:
    """``meta.mat`` of a real frame: a column of uint8 ids, double poses."""
    return {
        "cls_indexes": frame.object_ids.astype(np.uint8)[:, None],
        "poses": frame.poses.transpose(1, 2, 0),
        "intrinsic_matrix": frame.intrinsics,
        "factor_depth": np.uint16([[10000]]),
        "vertmap": frame.object_coordinates,
        "rotation_translation_matrix": np.eye(4)[:3],
    }


def synthetic_meta(frame: Frame) -> dict[str, np.ndarray]:
    """``meta.mat`` of a synthetic frame: a row of float32 ids, single poses without a last axis of 1."""
    return {
        "cls_indexes": frame.object_ids.astype(np.float32)[None],
        "poses": np.squeeze(frame.poses.transpose(1, 2, 0).astype(np.float32)),
        "intrinsic_matrix": frame.intrinsics,
        "factor_depth": np.float64([[10000.0]]),
        "vertmap": frame.object_coordinates,
    }


def write_original(root: Path, frame_id: str, frame: Frame, meta: dict | None = None, alpha: np.ndarray | None = None):
    stem = root / frame_id
    stem.parent.mkdir(parents=True, exist_ok=True)
    color = frame.image if alpha is None else np.dstack([frame.image, alpha])
    Image.fromarray(color).save(f"{stem}-color.png")
    Image.fromarray(frame.label).save(f"{stem}-label.png")
    Image.fromarray(np.round(frame.depth * 10000.0).astype(np.uint16)).save(f"{stem}-depth.png")
    scipy.io.savemat(f"{stem}-meta.mat", real_meta(frame) if meta is None else meta, do_compression=True)


def write_tiny(
    root: Path, *, count: int = 3, transparent: bool = True, synthetic_size: tuple[int, int] = (48, 64)
) -> Path:
    """Write a data set with so many synthetic, training and test frames."""
    for i in range(count):
        frame = random_frame(i, size=synthetic_size)
        alpha = np.where(frame.label > 0, 255, 0).astype(np.uint8)
        write_original(root, f"data_syn/{i:06d}", frame, synthetic_meta(frame), alpha if transparent else None)
        write_original(root, f"data/0000/{i + 1:06d}", random_frame(10 + i, size=(48, 64)))
        write_original(root, f"data/0048/{i + 1:06d}", random_frame(20 + i, size=(48, 64)))
    return root


def write_bop_scene(
    scene: Path, frames: dict[int, Frame], offsets: dict[int, np.ndarray], suffix: str = ".png"
) -> None:
    """Convert frames to BOP: millimetres, depth_scale 0.1, and models moved by ``x_bop = 1000 x - offset``."""
    truth, cameras = {}, {}
    for folder in ("rgb", "depth", "mask_visib"):
        (scene / folder).mkdir(parents=True, exist_ok=True)
    for number, frame in frames.items():
        Image.fromarray(frame.image).save(scene / "rgb" / f"{number:06d}{suffix}")
        Image.fromarray(np.round(frame.depth * 10000.0).astype(np.uint16)).save(scene / "depth" / f"{number:06d}.png")
        truth[str(number)] = []
        for index, (object_id, pose) in enumerate(zip(frame.object_ids.tolist(), frame.poses, strict=True)):
            mask = (frame.label == object_id).astype(np.uint8) * 255
            Image.fromarray(mask).save(scene / "mask_visib" / f"{number:06d}_{index:06d}.png")
            translation = 1000 * pose[:, 3] + pose[:, :3] @ offsets.get(object_id, np.zeros(3))
            truth[str(number)].append(
                {"obj_id": object_id, "cam_R_m2c": pose[:, :3].ravel().tolist(), "cam_t_m2c": translation.tolist()}
            )
        cameras[str(number)] = {"cam_K": frame.intrinsics.ravel().tolist(), "depth_scale": 0.1}
    (scene / "scene_gt.json").write_text(json.dumps(truth))
    (scene / "scene_camera.json").write_text(json.dumps(cameras))


def assert_same_frame(one: Frame, other: Frame, *, poses: bool = True, coordinates: bool = True) -> None:
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.label, other.label)
    np.testing.assert_allclose(one.depth, other.depth, rtol=1e-6)
    np.testing.assert_array_equal(one.object_ids, other.object_ids)
    np.testing.assert_allclose(one.intrinsics, other.intrinsics)
    if poses:
        np.testing.assert_allclose(one.poses, other.poses, atol=1e-6)
    if coordinates:
        np.testing.assert_array_equal(one.object_coordinates, other.object_coordinates)
