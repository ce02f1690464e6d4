"""Label maps of segments on disk, with a record of what made them."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import read_gray16
from correspondence_losses.reference.files import atomic_path, read_json, write_json

RECORD = "segments.json"
_FORMAT = 1


class SegmentCache:
    """A folder with one 16-bit PNG for each frame, and ``segments.json``, which says what made them.

    A frame ``data/0049/000001`` is at ``data/0049/000001.png``; label 0 is under no segment. Files appear complete or
    not at all, so a cache that was left half way is continued by making what it lacks. A cache belongs to one data
    set, since the ids of frames are unique in one only.

    Args:
        root: The folder of an existing cache.

    Attributes:
        root: The folder.
        record: What made the segments: ``"identity"``, which decides them, and ``"versions"`` of what computed them.

    Raises:
        DataError: There is no cache in ``root``, or its record is damaged.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        path = self.root / RECORD
        if not path.exists():
            raise DataError(f"{self.root}: is not a cache of segments, it holds no {RECORD}")
        record = read_json(path, DataError)
        if not isinstance(record, dict) or not isinstance(record.get("identity"), dict):
            raise DataError(f"{path}: is not the record of a cache of segments")
        if record.get("format") != _FORMAT:
            raise DataError(f"{path}: has format {reprlib.repr(record.get('format'))}, this version reads {_FORMAT}")
        self.record: dict[str, Any] = record

    @classmethod
    def open_or_create(
        cls, root: Path | str, identity: Mapping[str, Any], versions: Mapping[str, str]
    ) -> "SegmentCache":
        """Open the cache in ``root`` to add to it, or begin one.

        Args:
            root: The folder.
            identity: Everything that decides the segments, as values that JSON keeps.
            versions: Versions of the packages, recorded where the cache is begun and not compared.

        Raises:
            DataError: There is a cache of other segments, or its record is damaged.
            OSError: The record cannot be written.
        """
        path = Path(root) / RECORD
        if not path.exists():
            write_json(path, {"format": _FORMAT, "identity": dict(identity), "versions": dict(versions)})
        cache = cls(root)
        # Through JSON and back, so that tuples and other stand-ins compare as they were stored.
        wanted, found = json.loads(json.dumps(identity)), cache.record["identity"]
        if wanted != found:
            raise DataError(
                f"{path}: the segments in this folder were made by other settings ({_difference(found, wanted)}); "
                "give the same settings to continue, or another folder, or remove this one to begin anew"
            )
        return cache

    def path(self, frame: str) -> Path:
        """Return the file of a frame, whether it is there or not.

        Raises:
            ValueError: ``frame`` is not a path that stays in the cache.
        """
        relative = PurePosixPath(frame)
        path = self.root / f"{frame}.png"
        inside = path.resolve().is_relative_to(self.root.resolve())
        if frame in ("", ".") or ".." in relative.parts or str(relative) != frame or not inside:
            raise ValueError(f"frame must be a relative path such as data/0049/000001, got {frame!r}")
        return path

    def __contains__(self, frame: str) -> bool:
        """Say whether the segments of a frame are there."""
        return self.path(frame).exists()

    def load(self, frame: str, size: tuple[int, int] | None = None) -> NDArray[np.uint16]:
        """Return the (H, W) ``uint16`` segments of a frame, 0 under no segment.

        Args:
            frame: The id of the frame.
            size: The (H, W) that they must have; by default any.

        Raises:
            DataError: They are missing or of another size, or their file is damaged.
            ValueError: ``frame`` is not a path that stays in the cache.
        """
        path = self.path(frame)
        segments = read_gray16(path)
        if size is not None and segments.shape != tuple(size):
            raise DataError(f"{path}: has size {segments.shape}, but its image has {tuple(size)}: remove the file")
        return segments

    def save(self, frame: str, segments: NDArray[np.uint16]) -> None:
        """Write the segments of a frame; the file appears complete or not at all.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
            ValueError: ``segments`` is not (H, W) ``uint16``, or ``frame`` not a path that stays in the cache.
        """
        path = self.path(frame)
        if segments.ndim != 2 or segments.dtype != np.uint16 or segments.size == 0:
            raise ValueError(f"segments must be (H, W) uint16, got {segments.shape} {segments.dtype}")
        with atomic_path(path) as temporary:
            Image.fromarray(segments).save(temporary, format="PNG")


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> str:
    parts = []
    for key in sorted({*found, *wanted}):
        one, other = found.get(key), wanted.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            parts += [part for part in [_difference(one, other, f"{prefix}{key}.")] if part]
        elif one != other:
            parts.append(f"{prefix}{key} was {reprlib.repr(one)}, is now {reprlib.repr(other)}")
    return ", ".join(parts)
