"""Full disks and read-only folders: an error that names the file, nothing half-written, and work that goes on."""

import errno
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from correspondence_losses.reference.data import ImageFolder
from correspondence_losses.reference.engine.checkpoint import read_checkpoint, save_checkpoint
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.figures.plots import plot_images
from correspondence_losses.reference.files import empty_folder, held_folder, write_json
from correspondence_losses.reference.scenes.scene import Camera, Frame
from correspondence_losses.reference.scenes.writer import frame_is_complete, write_frame
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, SegmentCache, presegment

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@contextmanager
def full_disk(size: int = 200) -> Iterator[None]:
    """No file may grow above ``size`` bytes: writes fail where they would on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may not write to, even where it runs as root."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def begin_cache(folder: Path) -> None:
    SegmentCache.open_or_create(folder, {"segmenter": "test"}, {})


def save_history(folder: Path) -> None:
    history = History(folder, interval=1)
    history.training = [{"step": step, "loss": 0.5} for step in range(500)]
    history.flush()


def save_state(folder: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    save_checkpoint(fabric, folder / "checkpoint.pt", {"weights": torch.arange(1000.0), "step": 1})


def draw_figure(folder: Path) -> None:
    plot_images(folder / "figures.png", [[("noise", NOISE)]], "Noise")


def write_scene(folder: Path) -> None:
    size = NOISE.shape[:2]
    frame = Frame(
        color=NOISE,
        label=np.zeros(size, np.uint8),
        instance=np.zeros(size, np.int32),
        depth=np.ones(size, np.float32),
        coordinates=np.zeros((*size, 3), np.float32),
        class_indexes=np.empty(0, np.int64),
        poses=np.empty((0, 3, 4)),
        camera=Camera(64, 64, np.eye(3)),
    )
    write_frame(folder / "000001", frame, video=False)


WRITERS: dict[str, Callable[[Path], object]] = {
    "segments.json": begin_cache,
    "training.csv": save_history,
    "checkpoint.pt": save_state,
    "figures.png": draw_figure,
    "results.json": lambda folder: write_json(folder / "results.json", list(range(500))),
    "000001-color.png": write_scene,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_leaves_no_half(tmp_path: Path, name: str) -> None:
    folder, write = tmp_path / "folder", WRITERS[name]
    folder.mkdir()
    with full_disk(20), pytest.raises(OSError, match=name) as caught:
        write(folder)
    assert caught.value.errno == errno.EFBIG
    assert list(folder.iterdir()) == []
    write(folder)
    assert (folder / name).stat().st_size > 20


@pytest.mark.parametrize("name", sorted({*WRITERS} - {"segments.json"}))  # which is written once
def test_a_full_disk_keeps_what_was_there(tmp_path: Path, name: str) -> None:
    folder, write = tmp_path / "folder", WRITERS[name]
    folder.mkdir()
    write(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with full_disk(20), pytest.raises(OSError, match=name):
        write(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_folder_is_named(tmp_path: Path, read_only: Path, name: str) -> None:
    with pytest.raises(PermissionError, match=str(read_only)):
        WRITERS[name](read_only)


def test_presegmentation_goes_on_where_the_disk_was_full(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(np.roll(NOISE, index * 9, axis=0)).save(tmp_path / f"photos/{index}.png")
    source = ImageFolder(tmp_path / "photos")

    def segment(folder: Path) -> SegmentCache:
        segmenter = FelzenszwalbSegmenter(min_size=4, scale=1)
        return presegment(source, source.frames(), folder, segmenter, progress=False)

    whole = segment(tmp_path / "whole")
    record = (whole.root / "segments.json").stat().st_size
    assert min(path.stat().st_size for path in whole.root.glob("*.png")) > record
    with full_disk(record), pytest.raises(OSError, match=r"cache/0\.png\.png"):
        segment(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["segments.json"]
    cache = segment(tmp_path / "cache")
    for frame in source.frames():
        np.testing.assert_array_equal(cache.load(frame), whole.load(frame))


def test_a_frame_is_complete_only_with_all_of_its_files(tmp_path: Path) -> None:
    with full_disk(5000), pytest.raises(OSError, match="color"):
        write_scene(tmp_path)
    assert not frame_is_complete(tmp_path / "000001", video=False)
    write_scene(tmp_path)
    assert frame_is_complete(tmp_path / "000001", video=False)


def test_the_checkpoint_before_is_read_after_a_full_disk(tmp_path: Path) -> None:
    save_state(tmp_path)
    with full_disk(20), pytest.raises(OSError, match=r"checkpoint\.pt"):
        save_checkpoint(Fabric(accelerator="cpu", devices=1), tmp_path / "checkpoint.pt", {"step": 2})
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 1


def test_a_held_folder_keeps_others_out_until_it_is_let_go(tmp_path):
    with held_folder(tmp_path / "run"):
        with pytest.raises(ValueError, match=r"run: another process is writing to it"), held_folder(tmp_path / "run"):
            pass
        (tmp_path / "run/old").mkdir()
        (tmp_path / "run/old/file").touch()
        empty_folder(tmp_path / "run")
        assert not (tmp_path / "run/old").exists()
        with pytest.raises(ValueError, match="another process"), held_folder(tmp_path / "run"):
            pass
    with held_folder(tmp_path / "run"):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.warns(UserWarning, match="its file system has no locks"), held_folder(tmp_path):
        pass
