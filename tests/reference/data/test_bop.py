"""BOP's layout: converted frames equal the originals, and what is wrong with a scene is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ycb_layouts import assert_same_frame, random_frame, real_sample, write_bop_scene

from correspondence_losses.reference.data import BOPYCBVideo, DataError, open_dataset


def deep_list(depth: int) -> list:
    nested: list = []
    for _ in range(depth):
        nested = [nested]
    return nested


OFFSETS = {3: np.array([0.9, -1.5, -4.3]), 9: np.array([-2.3, -0.6, -7.9])}
FRAME = "test/000049/000001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bop_scene(tmp_path / "train_real/000000", {2: random_frame(0), 10: random_frame(1)}, OFFSETS)
    write_bop_scene(tmp_path / "test/000049", {1: random_frame(2), 7: random_frame(3)}, OFFSETS)
    write_bop_scene(tmp_path / "train_synt/000001", {0: random_frame(4)}, OFFSETS)
    write_bop_scene(tmp_path / "train_pbr/000000", {0: random_frame(5)}, OFFSETS, suffix=".jpg")
    return tmp_path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@given(seed=st.integers(0, 1000), ids=st.lists(st.integers(1, 21), max_size=4, unique=True))
@settings(max_examples=20, deadline=None)
def test_converted_frames_equal_the_originals(scratch: Path, seed: int, ids: list[int]) -> None:
    original = random_frame(seed, tuple(ids), (6, 9))
    rng = np.random.default_rng(seed)
    offsets = {object_id: rng.normal(size=3) * 10 for object_id in ids}
    write_bop_scene(scratch / "test/000048", {1: original}, offsets)
    read = open_dataset(scratch).frame("test/000048/000001")
    assert_same_frame(read, original, poses=False, coordinates=False)
    assert read.object_coordinates is None
    # A point of the original model and the same point of BOP's model are at one place before the camera.
    for index, object_id in enumerate(ids):
        point = rng.normal(size=3) / 10
        moved = (1000 * point - offsets[object_id]) / 1000
        np.testing.assert_allclose(read.poses[index] @ [*moved, 1], original.poses[index] @ [*point, 1], atol=1e-9)


def test_splits(root: Path) -> None:
    data = open_dataset(root)
    assert isinstance(data, BOPYCBVideo)
    assert data.layout == "bop"
    assert data.splits() == ["train", "val", "synthetic"]
    assert data.frames("train") == ["train_real/000000/000002", "train_real/000000/000010"]
    assert data.frames("val") == [FRAME, "test/000049/000007"]
    assert data.frames("synthetic") == ["train_synt/000001/000000", "train_pbr/000000/000000"]
    assert data.image("train_pbr/000000/000000").shape == (12, 16, 3)
    with pytest.raises(ValueError, match="split must be one of"):
        data.frames("keyframe")


@pytest.mark.parametrize("name", ["keyframe.txt", "image_sets/keyframe.txt", "test_targets_bop19.json"])
def test_key_frames_come_from_a_list(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    targets = [{"scene_id": 49, "im_id": 7, "obj_id": object_id, "inst_count": 1} for object_id in (3, 9)]
    path.write_text(json.dumps(targets) if path.suffix == ".json" else "0049/000007\n")
    assert open_dataset(root).splits() == ["train", "val", "keyframe", "synthetic"]
    assert open_dataset(root).frames("keyframe") == ["test/000049/000007"]
    path.write_text(path.read_text().replace("49", "50"))
    with pytest.raises(DataError, match=rf"test/000050/rgb/000007\.png: is missing, but .*{name} names it"):
        open_dataset(root).frames("keyframe")


@pytest.mark.parametrize("content", ["{", "[]", "3", '[{"scene_id": 1}]', '[{"scene_id": "x", "im_id": 1}]'])
def test_wrong_targets_are_named(root: Path, content: str) -> None:
    (root / "test_targets_bop19.json").write_text(content)
    with pytest.raises(DataError, match=r"test_targets_bop19\.json: "):
        open_dataset(root).frames("keyframe")


@pytest.mark.parametrize("frame", ["", "test/49/1", "other/000049/000001", "../test/000049/000001"])
def test_frame_ids_are_checked(root: Path, frame: str) -> None:
    with pytest.raises(ValueError, match="frame must look like test/000049/000001"):
        open_dataset(root).frame(frame)


@pytest.mark.parametrize(
    "part", ["rgb/000001.png", "depth/000001.png", "mask_visib/000001_000001.png", "scene_gt.json"]
)
def test_missing_and_truncated_parts_are_named(root: Path, part: str) -> None:
    path = root / "test/000049" / part
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=f"^{path}: cannot be read"):
        open_dataset(root).frame(FRAME)
    path.unlink()
    with pytest.raises(DataError, match=f"^{path}: is missing"):
        open_dataset(root).frame(FRAME)


@pytest.mark.parametrize("part", ["depth/000001.png", "mask_visib/000001_000000.png"])
def test_sizes_must_agree(root: Path, part: str) -> None:
    dtype = np.uint16 if "depth" in part else np.uint8
    Image.fromarray(np.zeros((3, 4), dtype)).save(root / "test/000049" / part)
    with pytest.raises(DataError, match=rf"{part}: has size 3 x 4, but .*rgb/000001\.png has 12 x 16"):
        open_dataset(root).frame(FRAME)


def test_masks_are_binary(root: Path) -> None:
    Image.fromarray(np.full((12, 16), 7, np.uint8)).save(root / "test/000049/mask_visib/000001_000000.png")
    with pytest.raises(DataError, match="wanted a mask of 0 and 255"):
        open_dataset(root).label(FRAME)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scene_gt", lambda t: t.pop("1"), r"has no image 1"),
        ("scene_camera", lambda t: t.pop("1"), r"has no image 1, but .*scene_gt\.json has"),
        ("scene_gt", lambda t: t.update(x=[]), "must be a dictionary from image number"),
        ("scene_gt", lambda t: t.update({"1": {}}), "image 1 must hold a list, got dict"),
        ("scene_camera", lambda t: t.update({"1": []}), "image 1 must hold a dict, got list"),
        ("scene_gt", lambda t: t["1"].append(5), "cam_R_m2c of image 1 must be 9 finite numbers, got None"),
        ("scene_gt", lambda t: t["1"][0].pop("obj_id"), "obj_id of image 1 must be 1 finite numbers, got None"),
        ("scene_gt", lambda t: t["1"][0].update(obj_id=22), "obj_id of image 1 holds 22"),
        ("scene_gt", lambda t: t["1"][0].update(cam_t_m2c=[1, 2]), "cam_t_m2c of image 1 must be 3 finite numbers"),
        ("scene_gt", lambda t: t["1"][0].update(cam_t_m2c=[1, 2, float("nan")]), "must be 3 finite numbers"),
        ("scene_gt", lambda t: t["1"][0].update(cam_R_m2c=[10**400] * 9), "must be 9 finite numbers"),
        ("scene_gt", lambda t: t["1"][0].update(cam_R_m2c=[1] * 9), "pose of image 1 holds a matrix that is not"),
        ("scene_camera", lambda t: t["1"].update(cam_K=[0] * 9), "cam_K of image 1 is not a camera matrix"),
        ("scene_camera", lambda t: t["1"].update(depth_scale=-1), r"depth_scale of image 1 must lie in \[1e-6, 1e6\]"),
        ("scene_gt", lambda t: t.update({"01": []}), "names an image twice"),
        ("scene_gt", lambda t: t.update({"9" * 5000: []}), "must be a dictionary from image number"),
        ("scene_gt", lambda t: t["1"][0].update(obj_id=deep_list(900)), "must be 1 finite numbers"),
    ],
)
def test_wrong_annotations_are_named(root: Path, name: str, change, message: str) -> None:
    path = root / "test/000049" / f"{name}.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=rf"{name}\.json: .*{message}"):
        open_dataset(root).frame(FRAME)


def test_real_frames_are_the_same_in_both_layouts(tmp_path: Path) -> None:
    data = open_dataset(real_sample())
    ids = {1: "data/0049/000001", 19: "data/0049/000019"}
    frames = {number: data.frame(frame) for number, frame in ids.items()}
    write_bop_scene(tmp_path / "test/000049", frames, {})
    converted = open_dataset(tmp_path)
    for number, frame in frames.items():
        name = f"test/000049/{number:06d}"
        assert_same_frame(converted.frame(name), frame, coordinates=False)
        np.testing.assert_array_equal(converted.label(name), data.label(ids[number]))
