"""Jobs that several processes share: four of them, one killed, and a command that says what is missing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from correspondence_losses.reference.__main__ import main
from correspondence_losses.reference.shards import shard_of

FRAMES = 12
SHARDS = 4
SECONDS = 120
SEGMENT = """
import sys, time
from pathlib import Path
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, presegment_folder

class Slow(FelzenszwalbSegmenter):
    def __call__(self, image):
        time.sleep(float(sys.argv[4]))
        return super().__call__(image)

presegment_folder(Path(sys.argv[1]), Path(sys.argv[2]), segmenter=Slow(), unlabeled=True, shard=sys.argv[3])
"""
RENDER = """
import sys, time
from pathlib import Path
from correspondence_losses.reference.scenes import SceneSettings, generate, generate_scenes

make = generate._FrameMaker.make

def slow(maker, job):
    make(maker, job)
    time.sleep(float(sys.argv[4]))

generate._FrameMaker.make = slow
settings = SceneSettings(
    num_synthetic=8, num_target=3, num_test=1, width=48, height=36, samples_per_pixel=1, max_objects=3
)
generate_scenes(Path(sys.argv[2]), settings, workers=1, shard=sys.argv[3])
"""
RECORDS = ("segments.json", "scenes.json")


def start(script: str, source: Path, output: Path, shard: str, pause: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", script, str(source), str(output), shard, str(pause)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)


def made(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for what a killed process leaves and the records, which have times and versions."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in RECORDS}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(FRAMES):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("job", ["masks", "scenes"])
def test_four_processes_share_a_folder_and_one_is_killed(
    job: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if job == "scenes":
        for package in ("mitsuba", "mujoco"):
            pytest.importorskip(package, reason="needs the extra scenes")
    script = SEGMENT if job == "masks" else RENDER
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    asked = ["masks", "missing", str(images), str(shared), "--unlabeled=true"]
    asked = asked if job == "masks" else ["scenes", "missing", str(shared)]
    shards = [f"{i}/{SHARDS}" for i in range(1, SHARDS + 1)]

    # The last of them stops for a minute after each of its images, and is killed after its first.
    processes = [start(script, images, shared, shard, pause=60 if shard == shards[-1] else 0) for shard in shards]
    for process in processes[:-1]:
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
    until = time.monotonic() + SECONDS
    expected = FRAMES // SHARDS * (SHARDS - 1) + (1 if job == "scenes" else 0)
    while len(list(shared.rglob("[0-9]*.png" if job == "masks" else "[0-9]*-meta.mat"))) < expected:
        assert time.monotonic() < until
        time.sleep(0.1)
    processes[-1].send_signal(signal.SIGKILL)
    processes[-1].communicate(timeout=SECONDS)

    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(asked)
    assert stop.value.code == 1
    names = [f"{i}.png" for i in range(FRAMES)]
    if job == "scenes":
        names = [f"data_syn/{i:06d}" for i in range(8)]
        names += [f"data/{frame}" for frame in ("0000/000001", "0000/000002", "0000/000003", "0048/000001")]
    left = shard_of(names, shards[-1])
    assert capsys.readouterr().out.split() == list(left if job == "masks" else left[1:])

    again = start(script, images, shared, shards[-1], pause=0)
    _, errors = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, errors
    main(asked)  # nothing, and no exit
    assert capsys.readouterr().out == ""
    whole = start(script, images, alone, "1/1", pause=0)
    _, errors = whole.communicate(timeout=SECONDS)
    assert whole.returncode == 0, errors
    assert made(shared) == made(alone)


@pytest.mark.parametrize("shard", ["", "0/4", "5/4", "1", "1/0", "1/2/3", "-1/4", "a/b", "1/4 "])
def test_a_shard_that_is_none(shard: str) -> None:
    with pytest.raises(ValueError, match="shard must be I/N"):
        shard_of([1, 2], shard)


def test_shards_are_all_of_the_items_and_none_twice() -> None:
    items = list(range(11))
    for count in (1, 3, 11, 20):
        parts = [shard_of(items, f"{i}/{count}") for i in range(1, count + 1)]
        assert sorted(item for part in parts for item in part) == items


def test_a_record_without_its_numbers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scenes.json").write_text('{"settings": {"content": "scenes"}}')
    with pytest.raises(SystemExit):
        main(["scenes", "missing", str(tmp_path)])
    assert "num_synthetic must be a number, got None" in capsys.readouterr().err
