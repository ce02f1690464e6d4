"""Pre-segmentation of a data set: complete, resumable, and recorded."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import CLI
from PIL import Image
from ycb_layouts import random_frame, write_original

from correspondence_losses.functional import paint_masks
from correspondence_losses.reference.data import DataError, YCBVideo
from correspondence_losses.reference.segments import (
    FelzenszwalbSegmenter,
    SegmentCache,
    Segmenter,
    presegment,
    presegment_folder,
)

FRAMES = ["data/0000/000001", "data/0000/000002", "data/0048/000001"]


class Brightness(Segmenter):
    """Dark pixels and bright pixels; counts its calls and fails at one of them."""

    name = "brightness"

    def __init__(self, threshold: int = 128, fail_at: int = -1) -> None:
        self.threshold, self.fail_at, self.calls = threshold, fail_at, 0

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        bright = image.mean(2) > self.threshold
        return [bright, ~bright]

    def settings(self) -> dict[str, str | int | float]:
        return {"threshold": self.threshold}

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}


@pytest.fixture
def source(tmp_path: Path) -> YCBVideo:
    for seed, frame in enumerate(FRAMES):
        write_original(tmp_path / "ycb", frame, random_frame(seed))
    return YCBVideo(tmp_path / "ycb")


def test_all_frames_are_segmented(source: YCBVideo, tmp_path: Path) -> None:
    cache = presegment(source, FRAMES, tmp_path / "cache", Brightness(), progress=False)
    for frame in FRAMES:
        image = source.image(frame)
        np.testing.assert_array_equal(cache.load(frame), paint_masks(Brightness()(image), image.shape[:2]))
    assert cache.record["identity"] == {"segmenter": "brightness", "settings": {"threshold": 128}, "min_area": 0}
    assert {"correspondence-losses", "numpy"} == set(cache.record["versions"])


def test_interrupted_work_goes_on(source: YCBVideo, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        presegment(source, FRAMES, tmp_path / "cache", Brightness(fail_at=2), progress=False)
    cache = SegmentCache(tmp_path / "cache")
    assert [frame in cache for frame in FRAMES] == [True, True, False]
    rest = Brightness()
    presegment(source, [*FRAMES, *FRAMES], tmp_path / "cache", rest, progress=False)
    assert rest.calls == 1
    whole = presegment(source, FRAMES, tmp_path / "whole", Brightness(), progress=False)
    for frame in FRAMES:
        assert cache.path(frame).read_bytes() == whole.path(frame).read_bytes()


def test_other_settings_do_not_mix(source: YCBVideo, tmp_path: Path) -> None:
    presegment(source, FRAMES[:1], tmp_path / "cache", Brightness(), progress=False)
    for segmenter, min_area in ((Brightness(threshold=9), 0), (Brightness(), 5), (FelzenszwalbSegmenter(), 0)):
        with pytest.raises(DataError, match="were made by other settings"):
            presegment(source, FRAMES, tmp_path / "cache", segmenter, min_area=min_area, progress=False)


def test_small_masks_are_left_out(source: YCBVideo, tmp_path: Path) -> None:
    cache = presegment(source, FRAMES[:1], tmp_path / "cache", Brightness(), min_area=10**6, progress=False)
    assert cache.load(FRAMES[0]).max() == 0
    with pytest.raises(ValueError, match="min_area must be at least 0"):
        presegment(source, FRAMES, tmp_path / "other", Brightness(), min_area=-1)
    assert not (tmp_path / "other").exists()


def test_progress_is_shown(source: YCBVideo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presegment(source, FRAMES, tmp_path / "cache", Brightness())
    assert capsys.readouterr().err == "segmenting (brightness): 3 images\n"  # one line where there is no terminal
    presegment(source, FRAMES, tmp_path / "cache", Brightness())
    assert capsys.readouterr().err == ""  # nothing is left to do


def test_a_damaged_image_stops_with_its_name(source: YCBVideo, tmp_path: Path) -> None:
    path = tmp_path / "ycb" / f"{FRAMES[1]}-color.png"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=str(path)):
        presegment(source, FRAMES, tmp_path / "cache", Brightness(), progress=False)


def test_command(source: YCBVideo, tmp_path: Path) -> None:
    arguments = [str(source.root), str(tmp_path / "cache"), "--progress=false", "--background=[1, 2, 3]"]
    arguments += ["--segmenter=FelzenszwalbSegmenter", "--segmenter.min_size=9"]
    CLI(presegment_folder, args=[*arguments, "--splits=[train]", "--limit=1"], as_positional=True)
    cache = SegmentCache(tmp_path / "cache")
    assert cache.record["identity"]["settings"]["min_size"] == 9
    assert [frame in cache for frame in FRAMES] == [True, False, False]
    CLI(presegment_folder, args=arguments, as_positional=True)
    assert all(frame in cache for frame in FRAMES)


def test_command_uses_segment_anything_by_default(source: YCBVideo, tmp_path: Path, monkeypatch) -> None:
    # The package's attribute of that name is the function.
    module = import_module("correspondence_losses.reference.segments.presegment")
    monkeypatch.setattr(module, "SAMSegmenter", Brightness)
    presegment_folder(source.root, tmp_path / "cache", progress=False)
    assert all(frame in SegmentCache(tmp_path / "cache") for frame in FRAMES)


def test_command_takes_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "photos" / "a" / "1.jpg")
    presegment_folder(tmp_path / "photos", tmp_path / "cache", segmenter=Brightness(), unlabeled=True, progress=False)
    assert SegmentCache(tmp_path / "cache").load("a/1.jpg").shape == (6, 8)
    with pytest.raises(DataError, match="is not YCB-Video"):
        presegment_folder(tmp_path / "photos", tmp_path / "cache", segmenter=Brightness())


def test_command_checks_its_arguments(source: YCBVideo, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        presegment_folder(source.root, tmp_path / "cache", segmenter=Brightness(), splits=["test"])
    with pytest.raises(ValueError, match="limit must be at least 0"):
        presegment_folder(source.root, tmp_path / "cache", segmenter=Brightness(), limit=-1)
    assert not (tmp_path / "cache").exists()
