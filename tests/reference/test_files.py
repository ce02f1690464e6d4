"""Files are read or refused by name, and written whole or not at all."""

import json
from pathlib import Path

import pytest

from correspondence_losses.reference.files import FileError, atomic_path, read_json, read_text, write_json


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_half_way()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("read", [read_json, read_text])
def test_a_file_that_is_no_file_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(FileError, match=r"^.*results\.json: is missing"):
        read(tmp_path / "results.json")
    with pytest.raises(FileError, match="is not a file"):
        read(tmp_path)


def test_damage_is_named_as_that_of_a_file_and_not_of_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"{")
    with pytest.raises(FileError, match=r"results\.json: cannot be read as JSON") as caught:
        read_json(path)
    assert type(caught.value) is FileError
    path.write_bytes(b"\xff")
    with pytest.raises(FileError, match=r"results\.json: cannot be read as text"):
        read_text(path)
