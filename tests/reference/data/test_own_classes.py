"""Your own classes: a folder of images and labels, BlenderProc's output, and a run on it that knows their names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from correspondence_losses.reference.commands.predict import predict
from correspondence_losses.reference.data import BOPYCBVideo, DataError, OwnClasses, open_dataset, read_class_names
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.runs.trained import TrainedModel

NAMES = ["background", "mug", "screwdriver", "tape"]
SIZE = (48, 64)


def write_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(image).save(path)
    return image


def write_label(path: Path, seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.random.default_rng(seed).integers(0, len(NAMES), size, np.uint8)
    Image.fromarray(label).save(path)
    return label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    for split in ("synthetic", "val"):
        for number in range(3):
            write_image(folder / split / "images" / f"{number}.png", number)
            write_label(folder / split / "labels" / f"{number}.png", number)
    write_image(folder / "train/images/kitchen/photo.jpg", 7)
    (folder / "classes.yaml").write_text(yaml.safe_dump({"names": NAMES}))
    return folder


def test_a_folder_of_images_and_labels(root: Path) -> None:
    data = open_dataset(root)
    assert isinstance(data, OwnClasses)
    assert data.class_names == tuple(NAMES)
    assert data.splits() == ["train", "val", "synthetic"]
    assert data.frames("val") == ["val/0", "val/1", "val/2"]
    assert data.frames("train") == ["train/kitchen/photo"]
    np.testing.assert_array_equal(data.image("val/1"), np.asarray(Image.open(root / "val/images/1.png")))
    np.testing.assert_array_equal(data.label("val/1"), np.asarray(Image.open(root / "val/labels/1.png")))
    with pytest.raises(DataError, match=r"train/labels/kitchen/photo\.png: is missing"):
        data.label("train/kitchen/photo")
    with pytest.raises(DataError, match="has no depth and no poses"):
        data.frame("val/1")
    for unknown in ("val/9", "../own/val/1", "other/1", ""):
        with pytest.raises(ValueError, match="frame must be an image of"):
            data.image(unknown)


def test_labels_that_do_not_fit_are_named(root: Path) -> None:
    write_label(root / "val/labels/0.png", 0, (4, 4))
    Image.fromarray(np.full(SIZE, 4, np.uint8)).save(root / "val/labels/1.png")
    data = open_dataset(root)
    with pytest.raises(DataError, match=r"labels/0\.png: has size 4 x 4, but .*images/0\.png has 48 x 64"):
        data.label("val/0")
    with pytest.raises(DataError, match=r"labels/1\.png: holds class 4, known are 0 to 3"):
        data.label("val/1")
    write_image(root / "val/images/2.jpg", 0)
    with pytest.raises(DataError, match=r"has the name of 2\."):
        open_dataset(root).frames("val")


@pytest.mark.parametrize("content", [NAMES, {"names": NAMES}, {"names": dict(enumerate(NAMES)), "nc": 3}])
def test_names_of_classes_in_each_form(tmp_path: Path, content: Any) -> None:
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(content))
    assert read_class_names(tmp_path / "classes.yaml") == tuple(NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [background]", "must name the background and 1 to 255 classes, got 1 names"),
        ("names: [a, b, a]", "names a class twice"),
        ("names: {0: a, 2: b}", "names must be of the labels 0 to 1"),
        ("names: [a, 3]", "must hold a list of names"),
        ("names: 3", "must hold a list of names"),
        ("[a, [b", "cannot be read as YAML"),
        ("!!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_damaged_names_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "classes.yaml")
    with pytest.raises(DataError, match=r"none\.yaml: is missing"):
        read_class_names(tmp_path / "none.yaml")


def write_blenderproc(root: Path, *, chunks: int, suffix: str, object_ids: tuple[int, ...]) -> Path:
    """What ``bproc.writer.write_bop(root, dataset="bin", ...)`` leaves: a camera, and chunks that count from 0."""
    dataset = root / "bin"
    dataset.mkdir(parents=True)
    camera = {"cx": 32.0, "cy": 24.0, "depth_scale": 0.1, "fx": 60.0, "fy": 60.0, "height": 48, "width": 64}
    (dataset / "camera.json").write_text(json.dumps(camera))
    for chunk in range(chunks):
        scene = dataset / "train_pbr" / f"{chunk:06d}"
        for folder in ("rgb", "depth", "mask", "mask_visib"):
            (scene / folder).mkdir(parents=True)
        truths, infos, cameras = {}, {}, {}
        for number in range(2):
            write_image(scene / "rgb" / f"{number:06d}{suffix}", 10 * chunk + number)
            depth = np.full(SIZE, 7500, np.uint16)  # 0.75 m
            Image.fromarray(depth).save(scene / "depth" / f"{number:06d}.png")
            truths[str(number)], infos[str(number)] = [], []
            for index, object_id in enumerate(object_ids):
                mask = np.zeros(SIZE, np.uint8)
                mask[:, 16 * index : 16 * index + 16] = 255
                for folder in ("mask", "mask_visib"):
                    Image.fromarray(mask).save(scene / folder / f"{number:06d}_{index:06d}.png")
                rotation = [1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]
                truths[str(number)].append(
                    {"cam_R_m2c": rotation, "cam_t_m2c": [10.0 * index, -5.0, 750.0], "obj_id": object_id}
                )
                box = [16 * index, 0, 15, 47]
                infos[str(number)].append(
                    {"bbox_obj": box, "bbox_visib": box, "px_count_all": 768, "px_count_valid": 768,
                     "px_count_visib": 768, "visib_fract": 1.0}
                )  # fmt: skip
            cameras[str(number)] = {
                "cam_K": [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0],
                "cam_R_w2c": rotation,
                "cam_t_w2c": [0.0, 0.0, 750.0],
                "depth_scale": 0.1,
            }
        for name, content in (("gt", truths), ("gt_info", infos), ("camera", cameras)):
            (scene / f"scene_{name}.json").write_text(json.dumps(content))
        (scene / "scene_gt_coco.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    return dataset


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_blenderproc_s_bop_output_is_read(tmp_path: Path, suffix: str) -> None:
    """Chunks count from 0; one object stands there twice, and is one class."""
    root = write_blenderproc(tmp_path, chunks=2, suffix=suffix, object_ids=(3, 1, 3))
    data = open_dataset(root)
    assert isinstance(data, BOPYCBVideo)
    assert data.splits() == ["synthetic"]
    assert data.frames("synthetic") == [f"train_pbr/{chunk:06d}/{i:06d}" for chunk in range(2) for i in range(2)]
    frame = data.frame("train_pbr/000001/000001")
    assert frame.image.shape == (*SIZE, 3)
    np.testing.assert_array_equal(frame.label[0], np.repeat([3, 1, 3, 0], 16))
    np.testing.assert_allclose(frame.depth, 0.75)
    assert frame.object_ids.tolist() == [3, 1, 3]
    np.testing.assert_allclose(frame.poses[1, :, 3], [0.01, -0.005, 0.75])
    np.testing.assert_allclose(frame.intrinsics, [[60, 0, 32], [0, 60, 24], [0, 0, 1]])


def test_objects_of_your_own_in_bop_s_layout_have_your_names(tmp_path: Path) -> None:
    root = write_blenderproc(tmp_path, chunks=1, suffix=".png", object_ids=(30,))
    with pytest.raises(DataError, match=r"obj_id of image 0 holds 30.*known are 1 to 21"):
        open_dataset(root).label("train_pbr/000000/000000")
    (root / "classes.yaml").write_text(yaml.safe_dump(["background", *(f"part {i}" for i in range(1, 31))]))
    data = open_dataset(root)
    assert len(data.class_names) == 31
    assert set(np.unique(data.label("train_pbr/000000/000000"))) == {0, 30}


def test_masks_that_blenderproc_was_not_asked_for_are_named(tmp_path: Path) -> None:
    root = write_blenderproc(tmp_path, chunks=1, suffix=".png", object_ids=(1,))
    scene = root / "train_pbr/000000"
    for path in (scene / "mask_visib").iterdir():
        path.unlink()
    (scene / "mask_visib").rmdir()
    with pytest.raises(DataError, match=r"mask_visib: is missing: BlenderProc makes it with write_bop"):
        open_dataset(root).label("train_pbr/000000/000000")


def test_a_run_on_own_classes_knows_their_number_and_names(root: Path, tmp_path: Path) -> None:
    changes = {
        "data": str(root), "output": str(tmp_path / "run"), "evaluation": "val", "backbone": "test_vit",
        "pretrained": False, "batch_size": 1, "average_epochs": 1, "epochs": 1, "steps_per_epoch": 1,
        "num_workers": 0, "image_size": [48, 64], "fpn_channels": 4, "accelerator": "cpu",
        "augmentation": {"copy_paste": 0.0, "clutter": 0.0},
    }  # fmt: skip
    results = run(preset_settings("fpn", changes=changes))
    assert results["data"]["layout"] == "own-classes"
    assert {name for name in results["final"] if name.startswith("iou/")} == {f"iou/{name}" for name in NAMES}
    model = TrainedModel(tmp_path / "run", accelerator="cpu")
    assert model.class_names == tuple(NAMES)
    assert model.classes(np.zeros((50, 60, 3), np.uint8)).max() < len(NAMES)
    predict(tmp_path / "run", root / "val/images", tmp_path / "labelled", accelerator="cpu")
    assert (tmp_path / "labelled/labels/0.png").exists()


def test_two_data_sets_of_a_run_must_have_the_same_classes(root: Path, tmp_path: Path) -> None:
    other = write_blenderproc(tmp_path, chunks=1, suffix=".png", object_ids=(1,))
    changes = {"data": str(root), "labelled_data": str(other), "output": str(tmp_path / "run"), "evaluation": "val"}
    with pytest.raises(ValueError, match="labelled_data must have the classes of data, got 22 and 4 classes"):
        run(preset_settings("fpn", changes={**changes, "pretrained": False, "accelerator": "cpu"}))
