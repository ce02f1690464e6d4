"""YCB-Video, and other objects, in the layout of the BOP benchmark."""

import re
import reprlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data.background import BackgroundLike, as_background
from correspondence_losses.reference.data.checks import (
    check_intrinsics,
    check_object_ids,
    check_poses,
    check_scale,
    check_size,
    read_frame_list,
)
from correspondence_losses.reference.data.class_names import CLASSES_FILE, read_class_names
from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_color, read_gray8, read_gray16, read_size
from correspondence_losses.reference.data.source import SPLITS, Frame, FrameSource
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.files import read_json

_FOLDERS = {
    "train": ("train_real",),
    "val": ("test",),
    "keyframe": ("test",),
    "synthetic": ("train_synt", "train_pbr"),
}
_GREATEST_NUMBER = 999_999
_NUMBER = re.compile(r"[0-9]{1,6}")
_FRAME_ID = re.compile(r"(train_real|test|train_synt|train_pbr)/([0-9]{6})/([0-9]{6})")


class BOPYCBVideo(FrameSource):
    """YCB-Video as the BOP benchmark distributes it (``ycbv``).

    ::

        {train_real,train_synt,train_pbr,test}/SSSSSS/
            rgb/IIIIII.{png,jpg}  depth/IIIIII.png  mask_visib/IIIIII_GGGGGG.png  scene_gt.json  scene_camera.json
        keyframe.txt, image_sets/keyframe.txt, or test_targets_bop19.json

    ``train`` is all of ``train_real``, ``val`` all of ``test``, ``synthetic`` all of ``train_synt`` and
    ``train_pbr``. ``keyframe`` is what the first of the three lists that is there names; BOP's own is a subset of the
    original key frames. Class of a pixel: that of the object whose visible mask covers it, of overlapping ones the
    last in the order of ``scene_gt.json``.

    BlenderProc's ``write_bop`` and the PBR images of BOP have this layout too: chunks of a thousand images in
    ``train_pbr``, JPEG or PNG. For objects other than YCB's, a file ``classes.yaml`` names them by ``obj_id``, label 0
    being the background (:func:`~.class_names.read_class_names`).

    BOP moved the origin of each model to the centre of its bounding box: ``x_bop = 1000 x_orig - offset``, in
    millimetres. Poses are returned in metres, in the frame of BOP's models, so their rotations equal those of the
    original layout and their translations do not. There are no object coordinates.

    Args:
        root: The folder that holds the split folders.
        background: What to put behind images with transparency, as :func:`~.background.as_background` takes it.

    Raises:
        DataError: No split folder is there, or ``classes.yaml`` or the background cannot be read.

    Source:
        Hodaň et al. 2020, BOP Challenge 2020, and the format description of its toolkit.
    """

    layout = "bop"

    def __init__(self, root: Path | str, *, background: BackgroundLike = None) -> None:
        self.root = Path(root)
        named = self.root / CLASSES_FILE
        self.class_names = read_class_names(named) if named.exists() else CLASS_NAMES
        self.background = as_background(background)
        self._scenes: dict[str, dict[int, _Annotation]] = {}
        if not self.is_here(self.root):
            raise DataError(f"{self.root}: holds no train_real, train_synt, train_pbr or test with scenes SSSSSS")

    @staticmethod
    def is_here(root: Path) -> bool:
        """Say whether ``root`` holds this layout."""
        return any(_scenes(root / folder) for folders in _FOLDERS.values() for folder in folders)

    def splits(self) -> list[str]:
        """Return the splits whose folder is there, and ``keyframe`` where a list of them is there too."""
        present = {split: any(_scenes(self.root / name) for name in folders) for split, folders in _FOLDERS.items()}
        present["keyframe"] &= self._keyframe_list() is not None
        return [split for split in SPLITS if present[split]]

    def frames(self, split: str) -> list[str]:
        """Return the ids of a split: key frames in the order of their list, others by scene and image."""
        self._check_split(split)
        if split == "keyframe":
            return self._listed()
        scenes = [scene for folder in _FOLDERS[split] for scene in _scenes(self.root / folder)]
        return [f"{scene.parent.name}/{scene.name}/{stem}" for scene in scenes for stem in _stems(scene)]

    def cutout(self, frame: str) -> NDArray[np.uint8]:
        """Return the image of a frame: (H, W, 3) RGB, or RGBA if it has transparency."""
        return read_color(self._color(frame))

    def label(self, frame: str) -> NDArray[np.uint8]:
        """Return the (H, W) class of each pixel, painted from the visible masks."""
        color = self._color(frame)
        label = np.zeros(read_size(color), dtype=np.uint8)
        scene, number = self._locate(frame)
        for index, object_id in enumerate(self._annotation(frame).object_ids):
            path = scene / "mask_visib" / f"{number:06d}_{index:06d}.png"
            if not path.parent.is_dir():
                raise DataError(
                    f"{path.parent}: is missing: BlenderProc makes it with write_bop(calc_mask_info_coco=True)"
                )
            mask = read_gray8(path)
            check_size(path, mask, label.shape, color)
            if not np.isin(mask, (0, 255)).all():
                raise DataError(f"{path}: wanted a mask of 0 and 255, got other values")
            label[mask == 255] = object_id
        return label

    def frame(self, frame: str, seed: int = 0) -> Frame:
        """Return all that is known about a frame."""
        scene, number = self._locate(frame)
        image, annotation = self.image(frame, seed), self._annotation(frame)
        depth_path = scene / "depth" / f"{number:06d}.png"
        depth = read_gray16(depth_path)
        check_size(depth_path, depth, image.shape, self._color(frame))
        return Frame(
            image=image,
            label=self.label(frame),
            depth=(depth * (annotation.depth_scale / 1000)).astype(np.float32),
            object_ids=annotation.object_ids.copy(),
            poses=annotation.poses.copy(),
            intrinsics=annotation.intrinsics.copy(),
            object_coordinates=None,
        )

    def _locate(self, frame: str) -> tuple[Path, int]:
        match = _FRAME_ID.fullmatch(frame)
        if not match:
            raise ValueError(f"frame must look like test/000049/000001, got {frame!r}")
        return self.root / match[1] / match[2], int(match[3])

    def _color(self, frame: str) -> Path:
        scene, number = self._locate(frame)
        jpg = scene / "rgb" / f"{number:06d}.jpg"
        return jpg if jpg.exists() else jpg.with_suffix(".png")

    def _annotation(self, frame: str) -> "_Annotation":
        scene, number = self._locate(frame)
        key = frame.rpartition("/")[0]
        if key not in self._scenes:
            self._scenes[key] = _read_scene(scene, len(self.class_names))
        if number not in self._scenes[key]:
            raise DataError(f"{scene / 'scene_gt.json'}: has no image {number}")
        return self._scenes[key][number]

    def _keyframe_list(self) -> Path | None:
        names = ("keyframe.txt", "image_sets/keyframe.txt", "test_targets_bop19.json")
        return next((self.root / name for name in names if (self.root / name).exists()), None)

    def _listed(self) -> list[str]:
        path = self._keyframe_list()
        if path is None:
            raise DataError(f"{self.root}: holds no list of key frames")
        entries = _read_targets(path) if path.suffix == ".json" else read_frame_list(path)
        present = {scene: set(_stems(self.root / "test" / f"{scene:06d}")) for scene, _ in entries}
        for scene, number in entries:
            if f"{number:06d}" not in present[scene]:
                missing = self.root / "test" / f"{scene:06d}" / "rgb" / f"{number:06d}.png"
                raise DataError(
                    f"{missing}: is missing, but {path} names it (BOP's test_bop19 archive holds only the frames of "
                    f"test_targets_bop19.json, test_all holds every one: get that, or take {path.name} away)"
                )
        return [f"test/{scene:06d}/{number:06d}" for scene, number in entries]


@dataclass(frozen=True, eq=False)
class _Annotation:
    """What the JSON files of a scene say about one image; as arrays, since all scenes stay in memory."""

    object_ids: NDArray[np.int64]
    poses: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    depth_scale: float


def _read_scene(scene: Path, num_classes: int) -> dict[int, _Annotation]:
    truths = _Table(scene / "scene_gt.json", list)
    cameras = _Table(scene / "scene_camera.json", dict)
    annotations = {}
    for number, objects in truths.images.items():
        if number not in cameras.images:
            raise DataError(f"{cameras.path}: has no image {number}, but {truths.path} has")
        camera = cameras.images[number]
        rotations = [truths.numbers(number, item, "cam_R_m2c", 9).reshape(3, 3) for item in objects]
        translations = [truths.numbers(number, item, "cam_t_m2c", 3).reshape(3, 1) / 1000 for item in objects]
        poses = np.concatenate([np.reshape(rotations, (-1, 3, 3)), np.reshape(translations, (-1, 3, 1))], axis=2)
        ids = np.array([truths.numbers(number, item, "obj_id", 1).item() for item in objects])
        intrinsics = cameras.numbers(number, camera, "cam_K", 9).reshape(3, 3)
        depth_scale = cameras.numbers(number, camera, "depth_scale", 1).item()
        annotations[number] = _Annotation(
            object_ids=check_object_ids(truths.path, f"obj_id of image {number}", ids, num_classes),
            poses=check_poses(truths.path, f"pose of image {number}", poses),
            intrinsics=check_intrinsics(cameras.path, f"cam_K of image {number}", intrinsics),
            depth_scale=check_scale(cameras.path, f"depth_scale of image {number}", depth_scale),
        )
    return annotations


class _Table:
    """A JSON file of a scene: a dictionary from image number to what is known of the image."""

    def __init__(self, path: Path, kind: type) -> None:
        self.path = path
        table = read_json(path, DataError)
        if not isinstance(table, dict) or not all(_NUMBER.fullmatch(key) for key in table):
            raise DataError(f"{path}: must be a dictionary from image number to annotation")
        self.images = {int(number): value for number, value in table.items()}
        if len(self.images) < len(table):
            raise DataError(f"{path}: names an image twice")
        for number, value in self.images.items():
            if not isinstance(value, kind):
                raise DataError(f"{path}: image {number} must hold a {kind.__name__}, got {type(value).__name__}")

    def numbers(self, image: int, record: object, name: str, count: int) -> NDArray[np.float64]:
        """Return field ``name`` of a record as ``count`` numbers."""
        value = record.get(name) if isinstance(record, dict) else None
        try:
            array = np.asarray(value, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            array = np.empty(0)
        if array.size != count or not np.isfinite(array).all():
            raise DataError(
                f"{self.path}: {name} of image {image} must be {count} finite numbers, got {reprlib.repr(value)}"
            )
        return array


def _read_targets(path: Path) -> list[tuple[int, int]]:
    targets = read_json(path, DataError)
    if not isinstance(targets, list):
        raise DataError(f"{path}: must be a list of targets")
    entries = [(_number(path, target, "scene_id"), _number(path, target, "im_id")) for target in targets]
    if not entries:
        raise DataError(f"{path}: lists no frame")
    return list(dict.fromkeys(entries))  # there is a target for each object of a frame


def _number(path: Path, target: object, name: str) -> int:
    number = target.get(name) if isinstance(target, dict) else None
    if type(number) is not int or not 0 <= number <= _GREATEST_NUMBER:
        raise DataError(f"{path}: {name} of a target must be an integer, got {reprlib.repr(number)}")
    return number


def _scenes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]" * 6) if path.is_dir())


def _stems(scene: Path) -> list[str]:
    images = (path for path in (scene / "rgb").glob("[0-9]" * 6 + ".*") if path.suffix in (".png", ".jpg"))
    return sorted({path.stem for path in images})
