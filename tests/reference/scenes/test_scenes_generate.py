"""Data sets of scenes: their layout, the same bytes from the same seed, resumption, and YCB-Video's own frames."""

import builtins
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from correspondence_losses.reference.__main__ import main
from correspondence_losses.reference.data import YCBVideo
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes import (
    SYNTHETIC,
    Camera,
    SceneMaker,
    SceneSettings,
    annotate,
    generate_scenes,
    render_pairs,
    render_single_objects,
)
from correspondence_losses.reference.scenes.requirements import require

for package in ("mitsuba", "mujoco"):
    pytest.importorskip(package, reason="needs the extra scenes")

REPOSITORY = Path(__file__).parents[3]
YCB = Path(os.environ.get("CORRESPONDENCE_LOSSES_YCB", REPOSITORY / "../shared/ycb_video_sample"))
MODELS = Path(os.environ.get("CORRESPONDENCE_LOSSES_YCB_MODELS", REPOSITORY / "../shared/ycb_models"))
TINY = SceneSettings(
    width=64,
    height=48,
    num_synthetic=2,
    num_target=2,
    num_test=1,
    frames_per_video=2,
    samples_per_pixel=1,
    max_objects=4,
)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return generate_scenes(tmp_path_factory.mktemp("scenes") / "root", TINY, workers=1, progress=False)


def test_layout_is_that_of_ycb_video(scenes):
    parts = ["color.png", "depth.png", "label.png", "meta.mat"]
    expected = {f"data_syn/{i:06d}-{part}" for i in range(2) for part in parts}
    expected |= {
        f"data/{name}-{p}" for name in ("0000/000001", "0000/000002", "0048/000001") for p in [*parts, "box.txt"]
    }
    expected |= {f"image_sets/{name}.txt" for name in ("train", "val", "keyframe", "classes")} | {"scenes.json"}
    assert set(files(scenes)) == expected
    assert (scenes / "image_sets/train.txt").read_text() == "0000/000001\n0000/000002\n"
    assert (scenes / "image_sets/val.txt").read_text() == "0048/000001\n"
    assert (scenes / "image_sets/keyframe.txt").read_text() == "0048/000001\n"
    assert (scenes / "image_sets/classes.txt").read_text().split() == list(CLASS_NAMES[1:])
    assert "not real" in (scenes / "scenes.json").read_text()


@pytest.mark.parametrize("name", ["data_syn/000001", "data/0000/000002"])
def test_files_agree_with_each_other(scenes, name):
    label, depth, color = (
        np.asarray(Image.open(scenes / f"{name}-{part}.png")) for part in ("label", "depth", "color")
    )
    meta = loadmat(scenes / f"{name}-meta.mat")
    assert color.shape == (48, 64, 3)
    assert label.dtype == np.uint8
    assert depth.dtype == np.uint16
    video = name.startswith("data/")
    count = meta["poses"].shape[2]
    assert meta["cls_indexes"].shape == ((count, 1) if video else (1, count))
    assert meta["cls_indexes"].dtype == (np.uint8 if video else np.float32)
    assert meta["poses"].dtype == (np.float64 if video else np.float32)
    assert ("rotation_translation_matrix" in meta) == video
    classes = meta["cls_indexes"].ravel().astype(int)
    assert set(classes) == set(np.unique(label)) - {0}
    metres = depth / float(meta["factor_depth"].item())
    for index, pose in zip(classes, np.moveaxis(meta["poses"], -1, 0), strict=True):
        rows, columns = np.nonzero(label == index)
        points = meta["vertmap"][rows, columns] @ pose[:, :3].T + pose[:, 3]
        image = points @ meta["intrinsic_matrix"].T
        np.testing.assert_allclose(image[:, 0] / image[:, 2], columns, atol=0.01)
        np.testing.assert_allclose(image[:, 1] / image[:, 2], rows, atol=0.01)
        np.testing.assert_allclose(points[:, 2], metres[rows, columns], atol=1e-4)
    if video:
        boxes = (scenes / f"{name}-box.txt").read_text().splitlines()
        assert sorted(line.split()[0] for line in boxes) == sorted(CLASS_NAMES[i] for i in classes)


def test_the_reader_of_ycb_video_reads_every_frame(scenes):
    source = YCBVideo(scenes)
    frames = {split: source.frames(split) for split in ("synthetic", "train", "val", "keyframe")}
    assert {split: len(ids) for split, ids in frames.items()} == {"synthetic": 2, "train": 2, "val": 1, "keyframe": 1}
    for name in {name for ids in frames.values() for name in ids}:
        frame = source.frame(name)
        with Image.open(scenes / f"{name}-color.png") as image:
            np.testing.assert_array_equal(frame.image, image)
        assert set(frame.object_ids.tolist()) == set(np.unique(frame.label).tolist()) - {0}
        assert frame.object_coordinates is not None


def test_frames_of_a_video_show_one_arrangement(scenes):
    """In the world, an object stands where it stood in the frame before."""
    worlds = []
    for frame in ("000001", "000002"):
        meta = loadmat(scenes / f"data/0000/{frame}-meta.mat")
        to_camera = np.vstack([meta["rotation_translation_matrix"], [0, 0, 0, 1]])
        poses = np.concatenate(
            [np.moveaxis(meta["poses"], -1, 0), np.tile([[[0, 0, 0, 1]]], (meta["poses"].shape[2], 1, 1))], 1
        )
        worlds.append(dict(zip(meta["cls_indexes"].ravel().tolist(), np.linalg.inv(to_camera) @ poses, strict=True)))
    shared = worlds[0].keys() & worlds[1].keys()
    assert shared
    for index in shared:
        np.testing.assert_allclose(worlds[0][index], worlds[1][index], atol=1e-9)


def test_same_bytes_from_any_number_of_processes_and_after_an_interruption(scenes, tmp_path):
    root = tmp_path / "again"
    generate_scenes(root, TINY, workers=2, progress=False)
    assert files(root) == files(scenes)
    kept = root / "data_syn/000000-color.png"
    before = kept.stat().st_mtime_ns
    (root / "data_syn/000001-meta.mat").unlink()
    (root / "data/0048/000001-label.png").unlink()
    generate_scenes(root, TINY, workers=1, progress=False)
    assert files(root) == files(scenes)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("tables", [0.0, 1.0])
def test_synthetic_images_may_be_transparent_where_nothing_stands(scenes, tmp_path, tables):
    settings = replace(TINY, transparent=True, tables=tables)
    transparent = generate_scenes(tmp_path / "transparent", settings, workers=1, progress=False)
    opaque = YCBVideo(scenes)
    for name in opaque.frames("synthetic"):
        frame = opaque.frame(name)
        color = np.array(Image.open(transparent / f"{name}-color.png"))
        np.testing.assert_array_equal(color[..., :3], frame.image)
        stands = color[..., 3] == 255
        assert (color[~stands, 3] == 0).all()
        assert stands[frame.label > 0].all()
        if tables:
            np.testing.assert_array_equal(stands, frame.depth > 0)
        else:
            assert (frame.depth > 0).sum() > stands.sum()  # the table is left out
        behind = YCBVideo(transparent, background=(1, 2, 3)).image(name)
        assert (behind[~stands] == (1, 2, 3)).all()
    changed = [name for name, content in files(scenes).items() if files(transparent)[name] != content]
    assert changed == ["data_syn/000000-color.png", "data_syn/000001-color.png", "scenes.json"]


def test_about_the_asked_share_of_transparent_images_keeps_its_table(tmp_path):
    settings = replace(TINY, transparent=True, num_synthetic=12, num_target=0, num_test=0, width=32, height=24)
    root = generate_scenes(tmp_path, settings, workers=1, progress=False)
    source = YCBVideo(root)
    kept = []
    for name in source.frames("synthetic"):
        stands = np.array(Image.open(root / f"{name}-color.png"))[..., 3] == 255
        kept.append((stands == (source.frame(name).depth > 0)).all())
    assert 2 <= sum(kept) <= 10


def test_other_settings_need_another_folder(scenes, tmp_path):
    with pytest.raises(ValueError, match=r"other settings.*seed 0, not 1"):
        generate_scenes(scenes, replace(TINY, seed=1), workers=1, progress=False)
    (tmp_path / "mine.txt").write_text("important")
    with pytest.raises(ValueError, match="not empty"):
        generate_scenes(tmp_path, TINY, workers=1, progress=False)


def test_single_objects(tmp_path):
    root = render_single_objects(tmp_path / "single", TINY, 1, workers=1, progress=False)
    for index in range(1, len(CLASS_NAMES)):
        label = np.asarray(Image.open(root / f"data/{index:04d}/000001-label.png"))
        assert set(np.unique(label)) == {0, index}
    assert len((root / "image_sets/train.txt").read_text().split()) == 21


def test_pairs_have_the_labels_and_poses_of_their_source(scenes, tmp_path):
    """Rendered again, procedural scenes without clutter give their own labels back."""
    frame = "0000/000001"
    root = render_pairs(tmp_path / "pairs", TINY, scenes, [frame], workers=1, progress=False)
    source, pair = (loadmat(at / f"data/{frame}-meta.mat") for at in (scenes, root))
    np.testing.assert_allclose(
        pair["poses"][..., np.argsort(pair["cls_indexes"].ravel())],
        source["poses"][..., np.argsort(source["cls_indexes"].ravel())],
        atol=1e-9,
    )
    old, new = (np.asarray(Image.open(at / f"data/{frame}-label.png")) for at in (scenes, root))
    assert (new == old)[old > 0].mean() > 0.99  # clutter hid more of them
    with pytest.raises(FileNotFoundError, match=r"000009-meta\.mat"):
        render_pairs(tmp_path / "pairs", TINY, scenes, ["0000/000009"], workers=1, progress=False)


@pytest.mark.parametrize("frame", ["../0000/000001", "/0000/000001", "0000/+00001", "0000", "0000/000001/../000001"])
def test_pairs_are_only_written_where_frames_are(scenes, tmp_path, frame):
    with pytest.raises(ValueError, match="frames must look like 0000/000001"):
        render_pairs(tmp_path / "pairs", TINY, scenes, [frame], workers=1, progress=False)
    assert not (tmp_path / "pairs").exists()


def test_pairs_of_a_damaged_frame_name_it(scenes, tmp_path):
    source = shutil.copytree(scenes, tmp_path / "source")
    (source / "data/0000/000001-meta.mat").write_bytes(b"MATLAB")
    with pytest.raises(ValueError, match=r"source/data/0000/000001-meta\.mat: cannot be read"):
        render_pairs(tmp_path / "pairs", TINY, source, ["0000/000001"], workers=1, progress=False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 3}', "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "scenes.json").write_text(text)
    with pytest.raises(ValueError, match=r"scenes\.json: "):
        generate_scenes(tmp_path, TINY, workers=1, progress=False)


def test_command_line_draws_a_sheet(scenes, tmp_path):
    main(["scenes", "sheet", str(scenes), str(tmp_path / "a.png"), "--count", "4", "--columns", "2"])
    with Image.open(tmp_path / "a.png") as image:  # two columns, and two rows each of images and of labels
        assert image.height > 1.4 * image.width


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"min_objects": 8, "max_objects": 7}, "max_objects"),
        ({"max_objects": 22}, "max_objects"),
        ({"num_target": 1000}, "num_target must be at most 48"),
        ({"num_test": 49}, "num_test must be at most 12"),
        ({"renderer": "blender"}, "renderer"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ValueError, match=message):
        SceneSettings(**change)


def test_wrong_workers(tmp_path):
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        generate_scenes(tmp_path / "x", TINY, workers=0)


def test_missing_package_names_the_extra(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "mujoco":
            raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")
        return original(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'correspondence-losses\[scenes\]'"):
        require("mujoco")


@pytest.mark.skipif(not (YCB / "data").is_dir(), reason=f"no YCB-Video sample at {YCB}")
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"no YCB models at {MODELS}")
def test_ycb_models_cover_the_labels_of_every_frame():
    maker = SceneMaker(SYNTHETIC, models=MODELS)
    prefixes = sorted([*YCB.glob("data/*/*-meta.mat"), *YCB.glob("data_syn/*-meta.mat")])
    assert prefixes
    both = either = 0
    for path in prefixes:
        meta = loadmat(path)
        label = np.asarray(Image.open(path.with_name(path.name.replace("meta.mat", "label.png"))))
        camera = Camera(640, 480, meta["intrinsic_matrix"])
        poses = np.moveaxis(meta["poses"].reshape(3, 4, -1), -1, 0).astype(np.float64)
        found = annotate(maker.posed(np.random.default_rng(0), camera, meta["cls_indexes"].ravel().astype(int), poses))
        for index in np.unique(label[label > 0]):
            real, rendered = label == index, found.label == index
            if real.sum() > 2000:
                assert (real & rendered).sum() / (real | rendered).sum() > 0.98, (path, CLASS_NAMES[index])
        both += ((label > 0) & (found.label > 0)).sum()
        either += ((label > 0) | (found.label > 0)).sum()
        same = (label > 0) & (label == found.label)
        distance = np.linalg.norm(meta["vertmap"] - found.coordinates, axis=-1)[same]
        assert np.median(distance) < 0.0005, path
    assert both / either > 0.995
