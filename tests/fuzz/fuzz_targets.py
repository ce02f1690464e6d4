"""What is fuzzed: small whole data sets, which of their files are damaged, and how a user's program reads them."""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from fuzz_damage import Damage, damage_bytes, damage_json, damage_lines, damage_mat, damage_png, damage_yaml, damage_zip
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import save_file
from ycb_layouts import random_frame, synthetic_meta, write_bop_scene, write_original, write_tiny

from correspondence_losses.reference.data import CLASS_NAMES, Frame, FrameSource, ImageFolder, open_dataset
from correspondence_losses.reference.deploy.published import PublishedModel
from correspondence_losses.reference.engine.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from correspondence_losses.reference.experiments.presets import load_presets
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.files import write_json
from correspondence_losses.reference.models.weights import WeightsError, read_weights
from correspondence_losses.reference.runs.command_line import load_settings, preset_settings, settings_from_command_line
from correspondence_losses.reference.runs.report import write_report
from correspondence_losses.reference.runs.results_table import collect_results
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.scenes import SceneSettings, generate_scenes
from correspondence_losses.reference.scenes.lighting import load_environment
from correspondence_losses.reference.scenes.meshes import load_mesh
from correspondence_losses.reference.segments import SegmentCache, Segmenter, presegment

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """A reader of files.

    Args:
        make: Writes whole files into a folder.
        files: Which of them are damaged, and how.
        read: Reads the folder by the public names; asserts that what it got is what the names promise. It may write
            below ``written``, and nowhere else.
    """

    make: Callable[[Path], object]
    files: Mapping[str, Damage]
    read: Callable[[Path], object]


def _check_frame(frame: Frame) -> None:
    size = frame.image.shape[:2]
    assert frame.image.shape == (*size, 3)
    assert frame.image.dtype == np.uint8
    assert frame.label.shape == frame.depth.shape == size
    assert frame.label.max() < len(CLASS_NAMES)
    assert frame.poses.shape == (len(frame.object_ids), 3, 4)
    assert ((frame.object_ids >= 1) & (frame.object_ids < len(CLASS_NAMES))).all()
    assert frame.intrinsics.shape == (3, 3)
    assert all(np.isfinite(array).all() for array in (frame.depth, frame.poses, frame.intrinsics))
    rotation = frame.poses[:, :, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=0.02)
    if frame.object_coordinates is not None:
        assert frame.object_coordinates.shape == frame.image.shape
        assert np.isfinite(frame.object_coordinates).all()


def _read_everything(source: FrameSource) -> None:
    for split in source.splits():
        for frame in source.frames(split)[:3]:
            _check_frame(source.frame(frame, seed=1))


def _make_ycb(root: Path) -> None:
    write_original(root, "data/0000/000001", random_frame(0))
    write_original(root, "data/0048/000001", random_frame(1))
    alpha = np.random.default_rng(2).integers(0, 256, (12, 16)).astype(np.uint8)
    write_original(root, "data_syn/000000", random_frame(2), synthetic_meta(random_frame(2)), alpha)
    (root / "image_sets").mkdir()
    for name, frames in (("train", "0000/000001\n" * 3), ("val", "0048/000001\n"), ("keyframe", "0048/000001\n")):
        (root / "image_sets" / f"{name}.txt").write_text(frames)
    (root / "image_sets/classes.txt").write_text("\n".join(CLASS_NAMES[1:]))


def _make_photos(root: Path) -> None:
    root.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    image.save(root / "a.jpg", exif=exif)
    image.save(root / "b.jpg", progressive=True)
    image.save(root / "c.png", exif=exif)
    image.quantize(16).save(root / "d.png", transparency=3)
    image.save(root / "e.bmp")
    image.save(root / "f.webp")
    image.convert("CMYK").save(root / "g.jpeg")


def _make_backgrounds(root: Path) -> None:
    _make_ycb(root)
    _make_photos(root / "photos")


def _read_backgrounds(root: Path) -> None:
    source = open_dataset(root, background=root / "photos")
    for seed in range(20):
        assert source.image("data_syn/000000", seed).shape == (12, 16, 3)


_PHOTOS: Mapping[str, Damage] = {
    name: damage_png if name.endswith("png") else damage_bytes
    for name in ("a.jpg", "b.jpg", "c.png", "d.png", "e.bmp", "f.webp", "g.jpeg")
}


def _make_bop(root: Path) -> None:
    offsets = {3: np.ones(3), 9: -np.ones(3)}
    write_bop_scene(root / "train_real/000000", {1: random_frame(0)}, offsets)
    write_bop_scene(root / "test/000048", {1: random_frame(1)}, offsets)
    write_bop_scene(root / "train_pbr/000000", {0: random_frame(2)}, offsets, suffix=".jpg")
    targets = [{"scene_id": 48, "im_id": 1, "obj_id": index, "inst_count": 1} for index in (3, 9)]
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))


def _make_key_frame_list(root: Path) -> None:
    _make_bop(root)
    (root / "keyframe.txt").write_text("0048/000001\n" * 2)


class _Halves(Segmenter):
    """Dark and bright pixels."""

    name = "halves"

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        bright = image.mean(2) > 127
        return [bright, ~bright]

    def settings(self) -> dict[str, str | int | float]:
        return {"threshold": 127}

    def versions(self) -> dict[str, str]:
        return {}


def _make_cache(root: Path) -> None:
    _make_photos(root / "photos")
    presegment(ImageFolder(root / "photos"), ["a.jpg"], root / "cache", _Halves(), progress=False)


def _read_cache(root: Path) -> None:
    segments = SegmentCache(root / "cache").load("a.jpg", (30, 20))
    assert segments.dtype == np.uint16
    assert segments.shape == (30, 20)
    # A cache that can be read is continued.
    presegment(ImageFolder(root / "photos"), ["a.jpg"], root / "cache", _Halves(), progress=False)


def _presegment(root: Path) -> None:
    """Whatever the images are, what is in the cache afterwards is whole."""
    source, cache = ImageFolder(root), root.with_name("written")
    try:
        presegment(source, source.frames(), cache, _Halves(), progress=False)
    finally:
        for path in cache.rglob("*"):
            assert path.is_dir() or path.name == "segments.json" or path.suffix == ".png"
            assert not path.name.startswith(".")
        for frame in source.frames():
            if (cache / "segments.json").exists() and frame in SegmentCache(cache):
                SegmentCache(cache).load(frame, source.image(frame).shape[:2])


def _model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def _make_checkpoint(root: Path) -> None:
    model, optimizer = _model()
    state = {"model": model, "optimizer": optimizer, "step": 3, "history": {"training": [{"step": 1, "loss": 0.5}]}}
    save_checkpoint(Fabric(accelerator="cpu", devices=1), root / "checkpoint.pt", state)


def _read_checkpoint(root: Path) -> None:
    path = root / "checkpoint.pt"
    assert isinstance(read_checkpoint(path), dict)
    model, optimizer = _model()
    load_checkpoint(
        Fabric(accelerator="cpu", devices=1), path, {"model": model, "optimizer": optimizer, "step": 0, "history": {}}
    )


_NO_SCENES = SceneSettings(num_synthetic=0, num_target=0, num_test=0)


def _make_scenes(root: Path) -> None:
    generate_scenes(root, _NO_SCENES, workers=1, progress=False)


def _make_mesh(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "texture_map.png")
    (root / "textured.mtl").write_text("newmtl material_0\nKd 1 1 1\nmap_Kd texture_map.png\n")
    corners = [(x, y, z) for x in (0, 0.1) for y in (0, 0.1) for z in (0, 0.1)]
    faces = [(1, 2, 4), (1, 4, 3), (5, 7, 8), (5, 8, 6), (1, 5, 6), (1, 6, 2)]
    lines = ["mtllib textured.mtl", *(f"v {x} {y} {z}" for x, y, z in corners), "vt 0 0", "vt 1 0", "vt 1 1"]
    lines += ["usemtl material_0", *(f"f {a}/1 {b}/2 {c}/3" for a, b, c in faces)]
    (root / "textured.obj").write_text("\n".join(lines) + "\n")


def _read_mesh(root: Path) -> None:
    mesh = load_mesh(root / "textured.obj")
    assert mesh.faces.max() < len(mesh.vertices) == len(mesh.uv) == len(mesh.normals)
    assert np.isfinite(mesh.normals).all()
    assert mesh.texture.dtype == np.uint8


def _make_light(root: Path) -> None:
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    pixels = np.random.default_rng(0).random((6, 12, 3)).astype(np.float32)
    for ending in ("exr", "hdr", "pfm"):
        mitsuba.Bitmap(pixels).write(str(root / f"light.{ending}"))


def _read_light(root: Path) -> None:
    for ending in ("exr", "hdr", "pfm"):
        light = load_environment(root / f"light.{ending}")
        assert light.shape[2] == 3
        assert np.isfinite(light).all()


_CONFIG = """\
head: fpn
sam_weight: 0.05
output: runs/x
image_size: [48, 64]
learning_rate: 1.0e-3
schedule: cosine
epochs: 2
segmenter:
  class_path: FelzenszwalbSegmenter
  init_args:
    scale: 100.0
scenes:
  num_target: 4
augmentation:
  flip: 0.5
"""


def _read_config(root: Path) -> None:
    """Read settings; a command line ends the process with status 2 and an explanation."""
    shown = io.StringIO()
    try:
        with redirect_stderr(shown):
            settings_from_command_line(
                preset="sam_fpn", description="Train.", args=["--config", str(root / "config.yaml")]
            )
    except SystemExit as error:
        if error.code != 2:
            raise
        raise ValueError(f"{root}/config.yaml: {shown.getvalue().splitlines()[-1]}") from error
    except ValueError as error:  # the range of a setting, which is named as on the command line
        if " must " not in str(error):
            raise
        raise ValueError(f"{root}/config.yaml: {error}") from error


def _make_settings(root: Path) -> None:
    settings = preset_settings("sam_fpn")
    write_json(root / "settings.json", {"family": "segmentation", **plain(settings)})


def _make_own_classes(root: Path) -> None:
    rng = np.random.default_rng(0)
    (root / "classes.yaml").write_text("names: [background, mug, screwdriver]\n")
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(root / split / "images/a.png")
        Image.fromarray(rng.integers(0, 3, (12, 16)).astype(np.uint8)).save(root / split / "labels/a.png")


def _read_own_classes(root: Path) -> None:
    source = open_dataset(root)
    for split in source.splits():
        for frame in source.frames(split):
            assert source.label(frame).shape == source.image(frame, seed=1).shape[:2]
            assert source.label(frame).max() < len(source.class_names)


_WEIGHTED = "test_resnet"


def _make_weights(root: Path) -> None:
    torch.manual_seed(0)
    tensors = timm.create_model(_WEIGHTED).state_dict()
    torch.save({"state_dict": tensors}, root / "weights.pth")
    save_file(tensors, root / "weights.safetensors")


def _read_weights(root: Path) -> None:
    for name in ("weights.pth", "weights.safetensors"):
        try:
            weights = read_weights(_WEIGHTED, root / name)
        except WeightsError as error:
            raise ValueError(str(error)) from error
        model = timm.create_model(_WEIGHTED)
        model.load_state_dict({**model.state_dict(), **weights.tensors})


_ROW = "source_only"


def _make_run(root: Path) -> None:
    """Train for two steps, in the folder of a sweep."""
    changes = {
        "data": str(write_tiny(root.with_name("data"))),
        "output": str(root / _ROW / "seed-0"),
        "evaluation": "val",
        "backbone": "test_resnet",
        "pretrained": False,
        "image_size": [64, 96],
        "fpn_channels": 4,
        "epochs": 1,
        "steps_per_epoch": 2,
        "log_every": 1,
        "supervised_epochs": 1,
        "average_epochs": 1,
        "batch_size": 2,
        "num_workers": 0,
        "accelerator": "cpu",
    }
    run(preset_settings(_ROW, changes=changes))


def _read_run(root: Path) -> None:
    """Do all that users do with a run's folder but train on: export it, show it, and count it in a table."""
    folder = root / _ROW / "seed-0"
    published = PublishedModel.from_run(folder)
    assert published(torch.zeros(1, 3, 64, 96)).shape == (1, len(published.class_names), 64, 96)
    published.generate_model_card()
    write_report(root.with_name("written") / "report.html", [folder])
    collect_results(root, {"beyond": [load_presets()[_ROW]]})


_FRAME: Mapping[str, Damage] = {
    "-color.png": damage_png,
    "-depth.png": damage_png,
    "-label.png": damage_png,
    "-meta.mat": damage_mat,
}
_LISTS = [f"image_sets/{name}.txt" for name in ("train", "val", "keyframe", "classes")]

TARGETS = {
    "ycb_video": Target(
        _make_ycb,
        {
            f"{frame}{ending}": damage
            for frame in ("data/0000/000001", "data_syn/000000")
            for ending, damage in _FRAME.items()
        }
        | dict.fromkeys(_LISTS, damage_lines),
        lambda root: _read_everything(open_dataset(root)),
    ),
    "backgrounds": Target(
        _make_backgrounds, {f"photos/{name}": damage for name, damage in _PHOTOS.items()}, _read_backgrounds
    ),
    "bop": Target(
        _make_bop,
        {
            f"{scene}/{name}": damage_json
            for scene in ("test/000048", "train_pbr/000000")
            for name in ("scene_gt.json", "scene_camera.json")
        }
        | {
            "test_targets_bop19.json": damage_json,
            "test/000048/rgb/000001.png": damage_png,
            "test/000048/depth/000001.png": damage_png,
            "test/000048/mask_visib/000001_000000.png": damage_png,
            "train_pbr/000000/rgb/000000.jpg": damage_bytes,
        },
        lambda root: _read_everything(open_dataset(root)),
    ),
    "bop_key_frames": Target(
        _make_key_frame_list, {"keyframe.txt": damage_lines}, lambda root: _read_everything(open_dataset(root))
    ),
    "segment_cache": Target(
        _make_cache, {"cache/segments.json": damage_json, "cache/a.jpg.png": damage_png}, _read_cache
    ),
    "presegment": Target(_make_photos, _PHOTOS, _presegment),
    "checkpoint": Target(_make_checkpoint, {"checkpoint.pt": damage_zip}, _read_checkpoint),
    "scenes": Target(
        _make_scenes,
        {"scenes.json": damage_json},
        _make_scenes,
    ),
    "mesh": Target(
        _make_mesh,
        {"textured.obj": damage_lines, "textured.mtl": damage_lines, "texture_map.png": damage_png},
        _read_mesh,
    ),
    "light": Target(_make_light, dict.fromkeys(("light.exr", "light.hdr", "light.pfm"), damage_bytes), _read_light),
    "config": Target(
        lambda root: (root / "config.yaml").write_text(_CONFIG), {"config.yaml": damage_yaml}, _read_config
    ),
    "own_classes": Target(
        _make_own_classes,
        {"classes.yaml": damage_yaml, "train/images/a.png": damage_png, "train/labels/a.png": damage_png},
        _read_own_classes,
    ),
    "weights": Target(_make_weights, {"weights.pth": damage_zip, "weights.safetensors": damage_bytes}, _read_weights),
    "run": Target(
        _make_run,
        {
            f"{_ROW}/seed-0/{name}": damage
            for name, damage in {
                **dict.fromkeys(("settings.json", "classes.json", "results.json", "scores.json"), damage_json),
                **dict.fromkeys(("training.csv", "evaluation.csv"), damage_lines),
                "checkpoint.pt": damage_zip,
            }.items()
        },
        _read_run,
    ),
    "run_settings": Target(_make_settings, {"settings.json": damage_json}, load_settings),
}
