"""Data sets of rendered scenes in the layout of YCB-Video: reproducible, resumable, on all cores."""

import multiprocessing
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_size
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.data.ycb_meta import read_meta
from correspondence_losses.reference.files import is_temporary, read_json, read_text, write_json, write_text
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.scenes.arrange import SceneMaker
from correspondence_losses.reference.scenes.domains import SYNTHETIC, TARGET
from correspondence_losses.reference.scenes.embedded import EmbeddedRenderer
from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.scene import Camera, FloatArray, Renderer, Scene, ycb_video_camera
from correspondence_losses.reference.scenes.stillleben import StilllebenRenderer, import_stillleben
from correspondence_losses.reference.scenes.writer import frame_is_complete, write_frame
from correspondence_losses.reference.shards import shard_of

__all__ = [
    "SceneSettings",
    "generate_scenes",
    "missing_frames",
    "render_pairs",
    "render_single_objects",
    "scene_models",
]

_TRAIN_VIDEOS = range(48)
_TEST_VIDEOS = range(48, 60)
_FRAME = re.compile(r"[0-9]{4}/[0-9]{6}")
_NOTE = (
    "Rendered scenes. data_syn is the synthetic domain; data is a stand-in for a target domain, rendered too, with "
    "other light, tables, specimens, clutter and a simulated sensor. It is not real, and results on it are not results "
    "on YCB-Video."
)


@dataclass(frozen=True)
class SceneSettings:
    """What a data set of scenes holds; together with the seed it determines every byte of the frames.

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        num_synthetic: Labelled images of the synthetic domain.
        num_target: Training images of the target domain.
        num_test: Test images of the target domain, of other arrangements.
        frames_per_video: Images of one arrangement of the target domain, from a camera that goes around it.
        min_objects: Least number of objects with a class in a scene.
        max_objects: Greatest number of them.
        samples_per_pixel: Light paths a pixel.
        seed: Seed of everything.
        models: The user's meshes in place of the procedural objects: ``CLASS/textured.obj``.
        environments: A folder of EXR or HDR images of light in place of the procedural ones.
        backgrounds: A folder of images in place of the procedural tables and backgrounds.
        transparent: Leave ``data_syn`` transparent where nothing stands, as YCB-Video's own is, so that training can
            put another image behind it each time.
        tables: Share of the transparent images that keep their table; the others lose it, and its shadows.
        renderer: ``"embedded"`` (Mitsuba), or ``"stillleben"`` where that is installed.
        variant: Mitsuba's variant; ``"cuda_ad_rgb"`` needs an NVIDIA GPU.

    Raises:
        ValueError: A number is out of range, or ``renderer`` is unknown.
    """

    width: int = 320
    height: int = 240
    num_synthetic: int = 160
    num_target: int = 160
    num_test: int = 40
    frames_per_video: int = 4
    min_objects: int = 3
    max_objects: int = 7
    samples_per_pixel: int = 3
    seed: int = 0
    models: Path | None = None
    environments: Path | None = None
    backgrounds: Path | None = None
    transparent: bool = False
    tables: float = 0.5
    renderer: str = "embedded"
    variant: str = "scalar_rgb"

    def __post_init__(self) -> None:
        for name in ("width", "height", "frames_per_video", "min_objects", "samples_per_pixel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_synthetic", "num_target", "num_test", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.tables <= 1:
            raise ValueError(f"tables must lie in [0, 1], got {self.tables}")
        if not self.min_objects <= self.max_objects < len(CLASS_NAMES):
            raise ValueError(
                f"max_objects must lie in [min_objects, 21], got {self.min_objects} and {self.max_objects}"
            )
        for name, videos in (("num_target", _TRAIN_VIDEOS), ("num_test", _TEST_VIDEOS)):
            if getattr(self, name) > len(videos) * self.frames_per_video:
                raise ValueError(
                    f"{name} must be at most {len(videos)} * frames_per_video, as its videos are {videos[0]} to "
                    f"{videos[-1]}; got {getattr(self, name)} at {self.frames_per_video} a video"
                )
        if self.renderer not in ("embedded", "stillleben"):
            raise ValueError(f"renderer must be 'embedded' or 'stillleben', got {self.renderer!r}")


class _Job(NamedTuple):
    """One frame: where it goes, and what to render."""

    name: str
    kind: str
    place: tuple[int, ...]
    source: Path | None = None

    @property
    def video(self) -> bool:
        return not self.name.startswith("data_syn/")


def generate_scenes(
    root: Path,
    settings: SceneSettings,
    *,
    workers: int | None = None,
    shard: str | None = None,
    progress: bool = True,
) -> Path:
    """Make a data set of both domains, in the original layout of YCB-Video.

    ``data_syn`` holds the synthetic domain; ``data/0000`` to ``data/0047`` the target domain's training videos and
    ``data/0048`` to ``data/0059`` its test videos; ``image_sets`` the lists ``train``, ``val``, ``keyframe`` (the last
    two: all test frames) and ``classes``; ``scenes.json`` the settings and the versions of what made them. Frames that
    are complete are kept, so that an interrupted call continues where it was.

    Worker processes are spawned: call this below ``if __name__ == "__main__":`` in a script.

    Args:
        root: The folder of the data set.
        settings: What it holds.
        workers: Processes; 1 renders in this one. Default: one for each core that this process may use.
        shard: Render this part of the frames alone, ``"I/N"``, while other processes render the others. Default: all.
        progress: Whether to show a progress bar.

    Returns:
        ``root``.

    Raises:
        ValueError: ``root`` holds a data set of other settings, ``workers`` is below 1, or ``shard`` is not I/N.
        ModuleNotFoundError: A package of the ``scenes`` extra, or Stillleben, is not installed.
    """
    train = _target_frames(_TRAIN_VIDEOS[0], settings.num_target, settings.frames_per_video)
    test = _target_frames(_TEST_VIDEOS[0], settings.num_test, settings.frames_per_video)
    jobs = [_Job(f"data_syn/{index:06d}", "synthetic", (index,)) for index in range(settings.num_synthetic)]
    jobs += [_Job(f"data/{video:04d}/{frame:06d}", "target", (video, frame)) for video, frame in train + test]
    lists = {
        "train": [f"{video:04d}/{frame:06d}" for video, frame in train],
        "val": [f"{video:04d}/{frame:06d}" for video, frame in test],
    }
    lists["keyframe"] = lists["val"]
    return _render_all(root, settings, jobs, lists, {"content": "scenes"}, workers, shard, progress)


def render_pairs(
    root: Path,
    settings: SceneSettings,
    source: Path,
    frames: Sequence[str],
    *,
    workers: int | None = None,
    shard: str | None = None,
    progress: bool = True,
) -> Path:
    """Render the counterpart of frames with known poses: the same objects at the same poses (sec. 4.3).

    Args:
        root: The folder of the data set that is made; its frames have the names of the source's.
        settings: Meshes, light, backgrounds, renderer and seed. Size and intrinsics are the source frames' own, and
            the numbers of images are not used.
        source: A data set in the original layout of YCB-Video.
        frames: Frames of it, such as ``"0000/000001"`` (below ``data``).
        workers: Processes; 1 renders in this one. Default: one for each core that this process may use.
        shard: Render this part of the frames alone, ``"I/N"``, while other processes render the others. Default: all.
        progress: Whether to show a progress bar.

    Returns:
        ``root``.

    Raises:
        FileNotFoundError: A frame has no ``-meta.mat`` or ``-label.png``.
        ValueError: One of these is damaged, ``frames`` holds something else than names of frames, ``root`` holds a
            data set of other settings, ``workers`` is below 1, or ``shard`` is not I/N.
        ModuleNotFoundError: A package of the ``scenes`` extra, or Stillleben, is not installed.
    """
    for frame in frames:
        if not _FRAME.fullmatch(frame):
            raise ValueError(f"frames must look like 0000/000001, got {reprlib.repr(frame)}")
        for part in ("meta.mat", "label.png"):
            if not (path := source / "data" / f"{frame}-{part}").is_file():
                raise FileNotFoundError(f"{path}: is needed to render the counterpart of {frame}")
    jobs = [_Job(f"data/{frame}", "paired", _numbers(frame), source / "data" / frame) for frame in frames]
    record = {"content": "pairs", "source": str(source)}
    return _render_all(root, settings, jobs, {"train": list(frames)}, record, workers, shard, progress)


def render_single_objects(
    root: Path,
    settings: SceneSettings,
    poses_per_class: int,
    *,
    workers: int | None = None,
    shard: str | None = None,
    progress: bool = True,
) -> Path:
    """Render each class alone in random poses (multiple arrangements, sec. 4.4): class c stands in ``data/00cc``.

    Args:
        root: The folder of the data set that is made.
        settings: Size, meshes, light, backgrounds, renderer and seed; the numbers of images are not used.
        poses_per_class: Images of each class.
        workers: Processes; 1 renders in this one. Default: one for each core that this process may use.
        shard: Render this part of the frames alone, ``"I/N"``, while other processes render the others. Default: all.
        progress: Whether to show a progress bar.

    Returns:
        ``root``.

    Raises:
        ValueError: ``root`` holds a data set of other settings, a number is below 1, or ``shard`` is not I/N.
        ModuleNotFoundError: A package of the ``scenes`` extra, or Stillleben, is not installed.
    """
    if poses_per_class < 1:
        raise ValueError(f"poses_per_class must be at least 1, got {poses_per_class}")
    places = [(c, number) for c in range(1, len(CLASS_NAMES)) for number in range(1, poses_per_class + 1)]
    jobs = [_Job(f"data/{c:04d}/{number:06d}", "single", (c, number)) for c, number in places]
    lists = {"train": [job.name.removeprefix("data/") for job in jobs]}
    record = {"content": "single objects", "poses_per_class": poses_per_class}
    return _render_all(root, settings, jobs, lists, record, workers, shard, progress)


def missing_frames(root: Path) -> list[str]:
    """Return the frames of a data set of scenes that are not there, or not whole, such as ``"data/0000/000001"``.

    Raises:
        ValueError: ``root`` holds no data set of scenes.
    """
    settings = _recorded_settings(root / "scenes.json")
    count = settings.get("num_synthetic") if settings.get("content") == "scenes" else 0
    if not isinstance(count, int):
        raise ValueError(f"{root / 'scenes.json'}: num_synthetic must be a number, got {count!r}")  # noqa: TRY004 - a file's fault
    names = [f"data_syn/{index:06d}" for index in range(count)]
    for split in ("train", "val"):
        if (listed := root / "image_sets" / f"{split}.txt").exists() or split == "train":
            names += [f"data/{frame}" for frame in read_text(listed, DataError).split()]
    return [name for name in names if not frame_is_complete(root / name, video=name.startswith("data/"))]


def scene_models(root: Path, models: Path | None, argument: str = "models") -> Path | None:
    """Return the folder of the meshes that the poses of a data set are of; none for the procedural objects.

    Args:
        root: The data set. Scenes say what they were made with.
        models: The meshes of any other data set.
        argument: What the caller calls ``models``.

    Raises:
        ValueError: Nothing says which meshes they are.
    """
    if (root / "scenes.json").exists():
        recorded = _recorded_settings(root / "scenes.json").get("models")
        return None if recorded is None else Path(recorded)
    if models is None:
        raise ValueError(f"{argument} must be the folder of the meshes of {root}, got none")
    return models


class _FrameMaker:
    """Renders jobs in one process; meshes are made once."""

    def __init__(self, root: Path, settings: SceneSettings) -> None:
        self.root, self.settings = root, settings
        folders = {name: getattr(settings, name) for name in ("models", "environments", "backgrounds")}
        self.synthetic = SceneMaker(SYNTHETIC, **folders)
        self.target = SceneMaker(TARGET, **folders)
        self.renderer: Renderer
        if settings.renderer == "stillleben":
            self.renderer = StilllebenRenderer()
        else:
            self.renderer = EmbeddedRenderer(settings.samples_per_pixel, variant=settings.variant)

    def make(self, job: _Job) -> None:
        seed = np.random.SeedSequence([self.settings.seed, *job.kind.encode(), *job.place])
        scene = self._scene(job, np.random.default_rng(seed))
        frame = self.renderer.render(scene, seed=int(seed.generate_state(1)[0]))
        opaque = None
        if self.settings.transparent and job.kind == "synthetic":
            keep_table = np.random.default_rng(seed.spawn(1)[0]).random() < self.settings.tables
            opaque = (frame.depth if keep_table else frame.instance) > 0
        write_frame(self.root / job.name, frame, video=job.video, opaque=opaque)

    def _scene(self, job: _Job, rng: np.random.Generator) -> Scene:
        settings = self.settings
        size = settings.width, settings.height
        objects = settings.min_objects, settings.max_objects
        if job.kind == "synthetic":
            return self.synthetic.tabletop(rng, rng, size, objects)
        if job.kind == "target":
            video, frame = job.place
            # The table of a video is drawn anew for each of its frames, from the same seed: frames stay independent.
            arrangement = np.random.default_rng([settings.seed, *b"video", video])
            turn = (frame - 1) / settings.frames_per_video
            return self.target.tabletop(arrangement, rng, size, objects, turn=turn)
        if job.kind == "single":
            return self.synthetic.single(rng, ycb_video_camera(*size), job.place[0])
        classes, poses, camera = _read_poses(job)
        return self.synthetic.posed(rng, camera, classes, poses)


_maker: _FrameMaker | None = None


def _start_worker(root: Path, settings: SceneSettings) -> None:
    global _maker
    if settings.renderer == "embedded" and settings.variant == "scalar_rgb":
        require("drjit").set_thread_count(1)  # there is a process for each core already
    _maker = _FrameMaker(root, settings)


def _work(job: _Job) -> None:
    if _maker is None:
        raise RuntimeError("the worker was not started")
    _maker.make(job)


def _render_all(
    root: Path,
    settings: SceneSettings,
    jobs: Sequence[_Job],
    lists: dict[str, list[str]],
    record: dict[str, Any],
    workers: int | None,
    shard: str | None,
    progress: bool,
) -> Path:
    jobs = shard_of(jobs, shard)
    workers = _num_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if settings.renderer == "stillleben":
        import_stillleben()  # the one message that it is missing, before anything is written or a process started
    _check_same_settings(root, settings, record)
    for name, frames in lists.items():
        write_text(root / "image_sets" / f"{name}.txt", "".join(f"{frame}\n" for frame in frames))
    write_text(root / "image_sets" / "classes.txt", "".join(f"{name}\n" for name in CLASS_NAMES[1:]))
    todo = [job for job in jobs if not frame_is_complete(root / job.name, video=job.video)]
    bar = progress_bar(
        stage="rendering", unit="image", total=len(jobs), done=len(jobs) - len(todo), shown=progress and bool(todo)
    )
    with bar:
        if workers == 1 or len(todo) <= 1:
            _run_here(root, settings, todo, bar.update)
        else:
            _run_in_processes(root, settings, todo, workers, bar.update)
    return root


def _run_here(root: Path, settings: SceneSettings, jobs: Sequence[_Job], done: Callable[[], Any]) -> None:
    if not jobs:
        return
    maker = _FrameMaker(root, settings)
    for job in jobs:
        maker.make(job)
        done()


def _run_in_processes(
    root: Path, settings: SceneSettings, jobs: Iterable[_Job], workers: int, done: Callable[[], Any]
) -> None:
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(root, settings)
    )
    with pool:
        try:
            for future in as_completed([pool.submit(_work, job) for job in jobs]):
                future.result()
                done()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_same_settings(root: Path, settings: SceneSettings, record: dict[str, Any]) -> None:
    """Record the settings of a new data set, or compare them with those of one that is there."""
    path = root / "scenes.json"
    wanted = record | {name: str(v) if isinstance(v, Path) else v for name, v in asdict(settings).items()}
    if not path.is_file():
        others = root.is_dir() and any(not is_temporary(entry) for entry in root.iterdir())
        if not others:
            packages = ("correspondence-losses", "mitsuba", "mujoco", "numpy", "scipy", "pillow", "trimesh")
            write_json(
                path, {"note": _NOTE, "settings": wanted, "versions": {name: _version(name) for name in packages}}
            )
        elif not path.is_file():  # a process that renders another part may have written it since
            raise ValueError(f"{root} is not empty and holds no scenes.json: choose another folder")
    found = _recorded_settings(path)
    different = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if different:
        changes = ", ".join(f"{name} {reprlib.repr(found.get(name))}, not {wanted.get(name)!r}" for name in different)
        raise ValueError(f"{root} holds scenes of other settings ({changes}): choose another folder, or empty it")


def _recorded_settings(path: Path) -> dict[str, Any]:
    stored = read_json(path, DataError)
    if isinstance(stored, dict) and isinstance(found := stored.get("settings"), dict):
        return found
    raise ValueError(f"{path}: is not the record of a data set of scenes")


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _target_frames(first_video: int, count: int, frames_per_video: int) -> list[tuple[int, int]]:
    """Return (video, frame) of ``count`` frames; frames are numbered from 1."""
    return [(first_video + index // frames_per_video, index % frames_per_video + 1) for index in range(count)]


def _numbers(frame: str) -> tuple[int, ...]:
    return tuple(int(part) for part in frame.split("/"))


def _read_poses(job: _Job) -> tuple[list[int], FloatArray, Camera]:
    if job.source is None:
        raise ValueError(f"{job.name}: a paired frame needs a source")
    meta = read_meta(job.source.with_name(f"{job.source.name}-meta.mat"))
    height, width = read_size(job.source.with_name(f"{job.source.name}-label.png"))
    return meta.object_ids.tolist(), meta.poses, Camera(width, height, meta.intrinsics)
