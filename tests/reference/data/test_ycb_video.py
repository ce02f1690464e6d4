"""The original layout: real and synthetic frames, splits, and what is wrong with a frame."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ycb_layouts import (
    SIZE,
    assert_same_frame,
    random_frame,
    real_meta,
    real_sample,
    synthetic_meta,
    write_original,
)

from correspondence_losses.reference.data import CLASS_NAMES, DataError, YCBVideo, open_dataset

FRAME = "data/0049/000001"
OPAQUE = np.full(SIZE, 255, np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for frame in ("data/0000/000002", "data/0000/000010", "data/0060/000001", FRAME):
        write_original(tmp_path, frame, random_frame())
    write_original(tmp_path, "data_syn/000003", random_frame(1), synthetic_meta(random_frame(1)), OPAQUE)
    return tmp_path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


def write_list(root: Path, name: str, text: str) -> None:
    (root / "image_sets").mkdir(exist_ok=True)
    (root / "image_sets" / name).write_text(text)


@given(seed=st.integers(0, 1000), ids=st.lists(st.integers(1, 21), max_size=4, unique=True), synthetic=st.booleans())
@settings(max_examples=25, deadline=None)
def test_frames_come_back_as_written(scratch: Path, seed: int, ids: list[int], synthetic: bool) -> None:
    frame = random_frame(seed, tuple(ids), (6, 9))
    meta, name = (synthetic_meta(frame), "data_syn/000001") if synthetic else (real_meta(frame), "data/0001/000001")
    write_original(scratch, name, frame, meta)
    read = YCBVideo(scratch).frame(name)
    assert_same_frame(read, frame)
    dtypes = {"image": "u1", "label": "u1", "depth": "f4", "object_ids": "i8", "poses": "f8", "intrinsics": "f8"}
    assert {field: getattr(read, field).dtype for field in dtypes} == {k: np.dtype(v) for k, v in dtypes.items()}
    assert read.object_coordinates.dtype == np.float32


def test_object_coordinates_may_be_absent(root: Path) -> None:
    meta = real_meta(random_frame())
    del meta["vertmap"]
    write_original(root, FRAME, random_frame(), meta)
    assert YCBVideo(root).frame(FRAME).object_coordinates is None


def test_without_lists_all_frames_are_there(root: Path) -> None:
    data = YCBVideo(root)
    assert data.splits() == ["train", "val", "synthetic"]
    assert data.frames("train") == ["data/0000/000002", "data/0000/000010", "data/0060/000001"]
    assert data.frames("val") == [FRAME]
    assert data.frames("synthetic") == ["data_syn/000003"]
    assert data.class_names == CLASS_NAMES
    assert len(CLASS_NAMES) == 22
    with pytest.raises(ValueError, match=r"split must be one of \['train', 'val', 'synthetic'\].*'keyframe'"):
        data.frames("keyframe")


def test_lists_decide_frames_and_order(root: Path) -> None:
    write_list(root, "train.txt", "0060/000001\n\n0000/000002\n")
    write_list(root, "keyframe.txt", "0049/000001")
    write_list(root, "classes.txt", "\n".join(CLASS_NAMES[1:]))
    data = YCBVideo(root)
    assert data.splits() == ["train", "val", "keyframe", "synthetic"]
    assert data.frames("train") == ["data/0060/000001", "data/0000/000002"]
    assert data.frames("keyframe") == data.frames("val") == [FRAME]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0000/000002\n0000/000003\n", r"data/0000/000003-color\.png: is missing, but .*train\.txt names it"),
        ("0017/000001\n", r"data/0017/000001-color\.png: is missing, but .*train\.txt names it"),
        ("../../../etc/000001\n", r"train\.txt: line 1 must look like 0049/000001"),
        ("/0000/000002\n", r"train\.txt: line 1 must look like 0049/000001"),
        ("0000/" + "9" * 5000, r"train\.txt: line 1 must look like 0049/000001"),
        ("0000/000002\n0000\n", r"train\.txt: line 2 must look like 0049/000001, got '0000'"),
        ("../../x\n", r"train\.txt: line 1 must look like"),
        ("\n", r"train\.txt: lists no frame"),
    ],
)
def test_wrong_lists_are_named(root: Path, text: str, message: str) -> None:
    write_list(root, "train.txt", text)
    with pytest.raises(DataError, match=message):
        YCBVideo(root).frames("train")


def test_other_classes_are_refused(root: Path) -> None:
    write_list(root, "classes.txt", "001_chips_can\n")
    with pytest.raises(DataError, match=r"classes\.txt: is not the list"):
        YCBVideo(root)


@pytest.mark.parametrize("frame", ["", "data/0049", "data/0049/1", "../data/0049/000001", "/etc/passwd", f"{FRAME}\n"])
def test_frame_ids_are_checked(root: Path, frame: str) -> None:
    data = YCBVideo(root)
    for read in (data.image, data.label, data.frame):
        with pytest.raises(ValueError, match="frame must look like data/0049/000001"):
            read(frame)


@pytest.mark.parametrize("ending", ["-color.png", "-label.png", "-depth.png", "-meta.mat"])
def test_missing_and_truncated_parts_are_named(root: Path, ending: str) -> None:
    path = root / f"{FRAME}{ending}"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=f"^{path}: cannot be read"):
        YCBVideo(root).frame(FRAME)
    path.unlink()
    with pytest.raises(DataError, match=f"^{path}: is missing"):
        YCBVideo(root).frame(FRAME)


@pytest.mark.parametrize(
    ("part", "array"), [("label", np.zeros((5, 16), np.uint8)), ("depth", np.zeros((12, 9), np.uint16))]
)
def test_sizes_must_agree(root: Path, part: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(root / f"{FRAME}-{part}.png")
    with pytest.raises(DataError, match=rf"000001-{part}\.png: has size .*000001-color\.png has 12 x 16"):
        YCBVideo(root).frame(FRAME)


def test_labels_are_checked_alone_too(root: Path) -> None:
    data = YCBVideo(root)
    Image.fromarray(np.zeros((5, 16), np.uint8)).save(root / f"{FRAME}-label.png")
    with pytest.raises(DataError, match="has size 5 x 16"):
        data.label(FRAME)
    Image.fromarray(np.full(SIZE, 22, np.uint8)).save(root / f"{FRAME}-label.png")
    with pytest.raises(DataError, match="holds class 22, known are 0 to 21"):
        data.label(FRAME)


POSES = random_frame().poses.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": np.full((3, 4, 2), np.nan)}, "poses holds values that are not finite"),
        ({"poses": POSES[:, :, :1]}, r"poses must have shape \(3, 4, 2\)"),
        ({"poses": POSES.transpose(2, 0, 1)}, r"poses must have shape \(3, 4, 2\)"),
        ({"poses": POSES * 2}, "poses holds a matrix that is not a rotation"),
        ({"poses": -POSES}, "poses holds a matrix that is not a rotation"),
        ({"cls_indexes": np.uint8([[3], [22]])}, "cls_indexes holds 22"),
        ({"cls_indexes": np.uint8([[0], [3]])}, "cls_indexes holds 0"),
        ({"cls_indexes": np.float32([[3, 4.5]])}, "cls_indexes holds 4.5"),
        ({"intrinsic_matrix": np.eye(4)}, r"intrinsic_matrix must have shape \(3, 3\)"),
        ({"intrinsic_matrix": np.zeros((3, 3))}, "intrinsic_matrix is not a camera matrix"),
        ({"factor_depth": np.zeros((1, 1))}, r"factor_depth must lie in \[1e-6, 1e6\], got 0"),
        ({"factor_depth": np.full((1, 1), 1e-300)}, "factor_depth must lie in"),
        ({"poses": np.full((3, 4, 2), 1e200)}, "poses holds a matrix that is not a rotation"),
        ({"vertmap": np.full((12, 16, 3), 1e300)}, "vertmap holds values that are no lengths"),
        ({"factor_depth": np.ones((1, 2))}, "factor_depth must be one number"),
        ({"vertmap": np.zeros((12, 15, 3))}, r"vertmap must have shape \(12, 16, 3\)"),
    ],
)
def test_wrong_meta_is_named(root: Path, change: dict, message: str) -> None:
    write_original(root, FRAME, random_frame(), real_meta(random_frame()) | change)
    with pytest.raises(DataError, match=rf"000001-meta\.mat: {message}"):
        YCBVideo(root).frame(FRAME)


def test_open_dataset_says_what_it_looked_for(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert isinstance(open_dataset(str(root)), YCBVideo)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError, match=r"is not YCB-Video.*data/NNNN.*train_real.*found nothing"):
        open_dataset(empty)
    with pytest.raises(DataError, match="is not a folder"):
        open_dataset(empty / "missing")
    with pytest.raises(DataError, match="holds neither data/NNNN"):
        YCBVideo(empty)
    (root / "test" / "000048").mkdir(parents=True)
    with pytest.raises(DataError, match="holds both"):
        open_dataset(root)


def test_only_synthetic_images(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "data_syn", tmp_path / "other" / "data_syn")
    assert open_dataset(tmp_path / "other").splits() == ["synthetic"]


def test_real_sample_is_read() -> None:
    data = open_dataset(real_sample())
    assert data.layout == "ycb-video"
    assert [len(data.frames(split)) for split in data.splits()] == [30, 10, 10, 6]
    for frame_id in ("data/0000/000001", "data/0049/000019", "data_syn/000000"):
        frame = data.frame(frame_id)
        assert frame.image.shape == (480, 640, 3)
        assert set(np.unique(frame.label)) - {0} <= set(frame.object_ids.tolist())
        # Each labelled pixel's object point, posed and projected, is that pixel, at the depth that was measured.
        v, u = np.nonzero(frame.label)
        order = np.searchsorted(np.sort(frame.object_ids), frame.label[v, u])
        poses = frame.poses[np.argsort(frame.object_ids)][order]
        points = np.einsum("nij,nj->ni", poses[:, :, :3], frame.object_coordinates[v, u]) + poses[:, :, 3]
        projected = points @ frame.intrinsics.T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], np.stack([u, v], 1), atol=0.05)
        depth = frame.depth[v, u]
        assert np.median(np.abs(depth - points[:, 2])[depth > 0]) < 0.005
