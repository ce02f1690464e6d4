"""Files that are read or refused by name, and written whole or not at all; folders that one process writes to."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

__all__ = [
    "FileError",
    "atomic_path",
    "empty_folder",
    "held_folder",
    "is_temporary",
    "read_json",
    "read_text",
    "reading",
    "sha256_of_file",
    "write_json",
    "write_text",
]

_LOCK = ".lock"
_TEMPORARY = ".writing-"


class FileError(ValueError):
    """A file is missing or damaged; the message begins with its path and says what is wrong with it."""


@contextmanager
def reading(path: Path, kind: str, error: type[FileError] = FileError) -> Iterator[None]:
    """Check that there is a file, and name it in whatever exception damage provokes in the block.

    Args:
        path: The file.
        kind: What it is read as, such as ``"JSON"``.
        error: What is raised.
    """
    try:
        if path.is_file():
            yield
            return
        problem = "is not a file" if path.exists() else "is missing"
    except FileError:
        raise
    except Exception as cause:
        raise error(f"{path}: cannot be read as {kind} ({type(cause).__name__}: {cause})") from cause
    raise error(f"{path}: {problem}")


def read_json(path: Path, error: type[FileError] = FileError) -> Any:
    """Read a JSON file.

    Raises:
        FileError: The file is missing or is not JSON; of the type ``error``.
    """
    with reading(path, "JSON", error):
        return json.loads(path.read_text(encoding="utf-8"))


def read_text(path: Path, error: type[FileError] = FileError) -> str:
    """Read a UTF-8 text file.

    Raises:
        FileError: The file is missing or is not UTF-8; of the type ``error``.
    """
    with reading(path, "text", error):
        return path.read_text(encoding="utf-8")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and move it there when the block ends without an error.

    Raises:
        OSError: The file cannot be written, for example because the disk is full or the folder read-only. The error
            names ``path``, which is as it was before.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{_TEMPORARY}{path.stem}-", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        os.close(handle)
        with _naming(path):
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Return whether a file is one that :func:`atomic_path` gave, and that is not yet, or never was, moved."""
    return path.name.startswith(_TEMPORARY)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name ``path`` in errors of writing it: a full disk is reported without a name, others with a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(error.filename).parent != path.parent:
            raise
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, f"cannot be written: {reason}", str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a folder where there is none, and keep it from all that ask for it in this way until the block ends.

    A process that dies lets go of it. Where the file system has no locks, a warning says so.

    Raises:
        ValueError: The folder is held already.
        OSError: It cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{folder}: another process is writing to it; wait for it, or give another folder") from None
    except NotImplementedError:
        warnings.warn(f"{folder}: its file system has no locks, so nothing keeps two runs apart", stacklevel=3)
    try:
        yield
    finally:
        lock.release()


def empty_folder(folder: Path) -> None:
    """Remove what a held folder has in it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
