"""The cache of segments: what goes in comes out, nothing gets past its folder, and damage is named."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from correspondence_losses.reference.data import DataError
from correspondence_losses.reference.segments import SegmentCache

IDENTITY = {"segmenter": "test", "settings": {"scale": 2.0, "points": 24}, "min_area": 0}
FRAME = "data/0049/000001"
SEGMENTS = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000


@pytest.fixture
def cache(tmp_path: Path) -> SegmentCache:
    return SegmentCache.open_or_create(tmp_path / "cache", IDENTITY, {"package": "1.0"})


@given(
    segments=npst.arrays(np.uint16, st.tuples(st.integers(1, 7), st.integers(1, 7))),
    frame=st.lists(st.from_regex(r"[\w][\w .-]{0,8}", fullmatch=True), min_size=1, max_size=3).map("/".join),
)
@settings(max_examples=40, deadline=None)
def test_segments_come_back_as_saved(
    tmp_path_factory: pytest.TempPathFactory, segments: np.ndarray, frame: str
) -> None:
    cache = SegmentCache.open_or_create(tmp_path_factory.mktemp("c"), IDENTITY, {})
    assert frame not in cache
    cache.save(frame, segments)
    assert frame in cache
    loaded = SegmentCache(cache.root).load(frame, segments.shape)
    assert loaded.dtype == np.uint16
    np.testing.assert_array_equal(loaded, segments)
    assert [path for path in cache.root.rglob("*") if path.is_file() and path.suffix not in (".png", ".json")] == []


@pytest.mark.parametrize(
    "frame", ["", ".", "/", "..", "../x", "a/../../x", "a/../b", "/root/x", "a//b", "./a", "a/", "a\0b"]
)
def test_frames_stay_in_the_folder(cache: SegmentCache, frame: str) -> None:
    for access in (cache.path, cache.load, cache.__contains__, lambda name: cache.save(name, SEGMENTS)):
        with pytest.raises(ValueError, match=r"frame must be a relative path|null (byte|character)"):
            access(frame)


def test_links_do_not_lead_out(cache: SegmentCache, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (cache.root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="frame must be a relative path"):
        cache.save("link/x", SEGMENTS)


def test_settings_are_recorded_and_compared(cache: SegmentCache) -> None:
    record = json.loads((cache.root / "segments.json").read_text())
    assert record == {"format": 1, "identity": IDENTITY, "versions": {"package": "1.0"}}
    # Versions do not stand in the way of going on.
    again = SegmentCache.open_or_create(cache.root, IDENTITY, {"package": "2.0"})
    assert again.record["versions"] == {"package": "1.0"}
    other = IDENTITY | {"settings": {"scale": 3.0, "points": 24}, "extra": (1, 2)}
    with pytest.raises(DataError) as caught:
        SegmentCache.open_or_create(cache.root, other, {})
    assert str(cache.root / "segments.json") in str(caught.value)
    assert "(extra was None, is now [1, 2], settings.scale was 2.0, is now 3.0)" in str(caught.value)
    assert "another folder" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is not the record of a cache"),
        ('{"format": 1}', "is not the record of a cache"),
        ('{"format": 2, "identity": {}}', "has format 2, this version reads 1"),
    ],
)
def test_damaged_records_are_named(cache: SegmentCache, text: str, message: str) -> None:
    (cache.root / "segments.json").write_text(text)
    with pytest.raises(DataError, match=rf"segments\.json: {message}"):
        SegmentCache(cache.root)


def test_folder_without_record_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a cache of segments"):
        SegmentCache(tmp_path)


def test_damaged_segments_are_named(cache: SegmentCache) -> None:
    with pytest.raises(DataError, match=rf"{FRAME}\.png: is missing"):
        cache.load(FRAME)
    cache.save(FRAME, SEGMENTS)
    with pytest.raises(DataError, match=rf"{FRAME}\.png: has size \(3, 4\), but its image has \(4, 3\)"):
        cache.load(FRAME, (4, 3))
    path = cache.path(FRAME)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=rf"{FRAME}\.png: cannot be read as an image"):
        cache.load(FRAME)
    Image.fromarray(SEGMENTS.astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=rf"{FRAME}\.png: wanted one 16-bit channel"):
        cache.load(FRAME)


@pytest.mark.parametrize(
    "segments", [SEGMENTS.astype(np.int32), SEGMENTS[None], SEGMENTS[0], np.empty((0, 3), np.uint16)]
)
def test_only_label_maps_are_saved(cache: SegmentCache, segments: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"segments must be \(H, W\) uint16"):
        cache.save(FRAME, segments)


def test_a_full_disk_leaves_nothing_behind(cache: SegmentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.save(FRAME, SEGMENTS)

    def half(self, stream, **_: object) -> None:
        Path(stream).write_bytes(b"\x89PNG")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left") as caught:
        cache.save("data/0049/000002", SEGMENTS)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(cache.path("data/0049/000002"))
    assert sorted(path.name for path in (cache.root / "data/0049").iterdir()) == ["000001.png"]
    np.testing.assert_array_equal(cache.load(FRAME), SEGMENTS)
