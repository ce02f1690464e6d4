"""Ctrl-C in the middle of the work: a real process, a real signal, and a second start that goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from correspondence_losses.reference.data import ImageFolder, YCBVideo
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, SegmentCache, presegment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals to a group of processes")

SECONDS = 120
PRESEGMENT = """
import sys, time
from pathlib import Path
from correspondence_losses.reference.data import ImageFolder
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, presegment

class Slow(FelzenszwalbSegmenter):
    def __call__(self, image):
        time.sleep(0.2)
        return super().__call__(image)

source = ImageFolder(sys.argv[1])
presegment(source, source.frames(), sys.argv[2], Slow())
"""
SCENES = """
import sys
from pathlib import Path
from correspondence_losses.reference.scenes import SceneSettings, generate_scenes

if __name__ == "__main__":
    size = dict(width=48, height=36, samples_per_pixel=1, num_target=0, num_test=0, max_objects=3)
    generate_scenes(Path(sys.argv[1]), SceneSettings(num_synthetic=int(sys.argv[2]), **size), workers=2)
"""


def _hear_ctrl_c() -> None:
    """Undo what shells do to the commands that they run in the background: those, and their children, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(script: Path, arguments: list[str], begun: Callable[[], bool]) -> None:
    """Start a script, and press Ctrl-C, which reaches its whole group of processes, when it has begun its work."""
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        start_new_session=True,
        preexec_fn=_hear_ctrl_c,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + SECONDS
        while not begun():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, shown = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode not in (0, -signal.SIGKILL), shown
    assert "KeyboardInterrupt" in shown


def test_presegmentation_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    photos, folder, script = tmp_path / "photos", tmp_path / "cache", tmp_path / "presegment.py"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    for index in range(100):
        Image.fromarray(np.roll(pixels, index, axis=0)).save(photos / f"{index}.png")
    script.write_text(PRESEGMENT)
    interrupt(script, [str(photos), str(folder)], lambda: len(list(folder.glob("[0-9]*.png"))) >= 3)  # whole ones

    source, cache = ImageFolder(photos), SegmentCache(folder)
    made = {frame: cache.path(frame).stat().st_mtime_ns for frame in source.frames() if frame in cache}
    assert 3 <= len(made) < 100
    assert {path.name for path in folder.iterdir()} == {"segments.json", *(f"{frame}.png" for frame in made)}
    presegment(source, source.frames(), folder, FelzenszwalbSegmenter(), progress=False)
    for frame in source.frames():
        assert cache.load(frame).shape == (24, 32)
        assert cache.path(frame).stat().st_mtime_ns == made.get(frame, cache.path(frame).stat().st_mtime_ns)


def test_ctrl_c_leaves_whole_frames_of_scenes(tmp_path: Path) -> None:
    """That the rest is rendered when the same command is given again is tested beside the generator."""
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    folder, script = tmp_path / "scenes", tmp_path / "scenes.py"
    script.write_text(SCENES)
    interrupt(script, [str(folder), "500"], lambda: len(list(folder.glob("data_syn/[0-9]*-meta.mat"))) >= 2)
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    complete = [path.name.removesuffix("-meta.mat") for path in folder.glob("data_syn/*-meta.mat")]
    assert 2 <= len(complete) < 500
    for name in complete:
        assert YCBVideo(folder).frame(f"data_syn/{name}").image.shape == (36, 48, 3)
