"""Damaged files are named in a DataError, whatever the damage."""

import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.data.files import (
    MAX_PIXELS,
    read_color,
    read_gray8,
    read_gray16,
    read_mat,
    read_size,
)
from correspondence_losses.reference.data.mat import read_arrays
from correspondence_losses.reference.files import read_json

MAX_BYTES = 2**20
NAMES = ("cls_indexes", "poses")


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def mat(compressed: bool, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, arrays, do_compression=compressed)
    return stream.getvalue()


RNG = np.random.default_rng(0)
ARRAYS = {"cls_indexes": np.arange(1, 4, dtype=np.uint8)[:, None], "poses": RNG.normal(size=(3, 4, 3))}
FILES = {
    "color.png": (png(RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)), read_color),
    "label.png": (png(RNG.integers(0, 22, (9, 7)).astype(np.uint8)), read_gray8),
    "depth.png": (png(RNG.integers(0, 65536, (9, 7)).astype(np.uint16)), read_gray16),
    "plain.mat": (mat(False, **ARRAYS), lambda path: read_mat(path, NAMES)),
    "packed.mat": (mat(True, **ARRAYS), lambda path: read_mat(path, NAMES)),
    "scene.json": (
        json.dumps({"1": [{"obj_id": 3, "t": [0.5, 1e-3]}]}).encode(),
        lambda path: read_json(path, DataError),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(folder: Path, name: str) -> None:
    content, read = FILES[name]
    (folder / name).write_bytes(content)
    assert read(folder / name) is not None


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_truncated_files_are_named(folder: Path, name: str, data: st.DataObject) -> None:
    content, read = FILES[name]
    # A PNG ends with checksums and an empty chunk, 20 bytes in all: without them, all pixels are still there.
    cut = data.draw(st.integers(21 if name.endswith("png") else 1, len(content)))
    path = folder / f"truncated-{name}"
    path.write_bytes(content[:-cut])
    with pytest.raises(DataError, match=f"truncated-{name}: "):
        read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_changed_files_are_read_or_named(folder: Path, name: str, data: st.DataObject) -> None:
    content, read = FILES[name]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"changed-{name}"
    path.write_bytes(bytes(changed))
    try:
        read(path)
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - both outcomes are right, for different bytes


@pytest.mark.parametrize("read", [read_color, read_gray8, read_gray16, read_size])
def test_missing_files_and_folders_are_named(tmp_path: Path, read) -> None:
    with pytest.raises(DataError, match=r"nothing: is missing"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="is not a file"):
        read(tmp_path)


@pytest.mark.parametrize("side", [8200, 30000])
def test_enormous_images_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    assert side**2 > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(DataError, match=r"bomb\.png: "):
            read_color(path)


@pytest.mark.parametrize(
    ("read", "mode", "wanted"),
    [
        (read_color, "I;16", "an 8-bit colour image"),
        (read_gray8, "RGB", "one 8-bit channel"),
        (read_gray8, "I;16", "one 8-bit channel"),
        (read_gray16, "L", "one 16-bit channel"),
        (read_gray16, "RGB", "one 16-bit channel"),
    ],
)
def test_other_channels_are_refused(tmp_path: Path, read, mode: str, wanted: str) -> None:
    path = tmp_path / "image.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(DataError, match=f"image.png: wanted {wanted}"):
        read(path)


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "GIF", "PPM"])
def test_only_the_formats_of_data_sets_are_decoded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file is called: Pillow would run Ghostscript for one of its formats."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, format=kind)
    path = tmp_path / "image.png"
    path.write_bytes(stream.getvalue())
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.raises(DataError, match=r"image\.png: cannot be read as an image"):
        read_color(path)


def test_palette_labels_are_indices(tmp_path: Path) -> None:
    labels = RNG.integers(0, 22, (5, 6)).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tolist())
    image.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_gray8(tmp_path / "label.png"), labels)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    assert read_color(tmp_path / "photo.png").shape == (4, 6, 3)
    upright = read_color(tmp_path / "photo.png", upright=True)
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": ARRAYS["poses"]}, "has no cls_indexes"),
        ({"other": np.ones(1)}, "has no cls_indexes and no poses"),
        (ARRAYS | {"poses": np.full((3, 4), np.nan)}, "poses holds values that are not finite"),
        (ARRAYS | {"poses": np.full((3, 4), np.inf)}, "poses holds values that are not finite"),
        (ARRAYS | {"poses": np.ones((3, 4)) * 1j}, "poses must be an array of real numbers"),
        (ARRAYS | {"poses": "text"}, "poses must be an array of real numbers"),
        (ARRAYS | {"poses": {"a": 1}}, "poses must be an array of real numbers"),
        (ARRAYS | {"poses": np.array([{"a": 1}, 2], dtype=object)}, "poses must be an array of real numbers"),
    ],
)
def test_unexpected_mat_content_is_named(tmp_path: Path, arrays: dict, message: str) -> None:
    (tmp_path / "x-meta.mat").write_bytes(mat(True, **arrays))
    with pytest.raises(DataError, match=rf"x-meta\.mat: .*{message}"):
        read_mat(tmp_path / "x-meta.mat", NAMES)


def test_only_matlab_5_is_read(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "four.mat", {"cls_indexes": np.ones(2), "poses": np.ones(2)}, format="4")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
    (tmp_path / "seven.mat").write_bytes(header + bytes(400))
    for name in ("four.mat", "seven.mat"):
        with pytest.raises(DataError, match=f"{name}: .*wanted a MATLAB 5 file"):
            read_mat(tmp_path / name, NAMES)


@given(
    arrays=st.dictionaries(
        st.sampled_from(["a", "poses", "cls_indexes", "x" * 31]),
        npst.arrays(
            st.sampled_from(["f4", "f8", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))]),
            npst.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5),
        ),
        min_size=1,
    ),
    compressed=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_arrays_are_what_scipy_wrote(arrays: dict[str, np.ndarray], compressed: bool) -> None:
    read = read_arrays(mat(compressed, **arrays), list(arrays))
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    assert read_arrays(mat(compressed, **arrays), ["other"]) == {}


def test_both_byte_orders_are_read() -> None:
    numbers = np.array([[1, 2], [3, 4]], dtype=">u2")

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body.ljust(-(-len(body) // 8) * 8, b"\0")

    parts = (6, struct.pack(">II", 11, 0)), (5, struct.pack(">ii", 2, 2)), (1, b"n"), (4, numbers.tobytes("F"))
    matrix = element(14, b"".join(element(*part) for part in parts))
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + matrix
    np.testing.assert_array_equal(read_arrays(content, ["n"])["n"], numbers)


def mat_element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body


def mat_matrix(name: bytes, mclass: int, shape: tuple[int, int], body: bytes) -> bytes:
    """A MATLAB 5 array: flags, dimensions, a name of at most 8 bytes, and what it holds."""
    flags = mat_element(6, struct.pack("<II", mclass, 0))
    return mat_element(14, flags + mat_element(5, struct.pack("<ii", *shape)) + mat_element(1, name.ljust(8)) + body)


def mat_file(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(elements)


def test_a_mat_file_of_nested_cells_does_not_use_up_the_stack(tmp_path: Path) -> None:
    """SciPy follows them without a limit: the process would die."""
    depth, mi_matrix, mx_cell = 100_000, 14, 1
    fixed = mat_matrix(b"", mx_cell, (1, 1), b"")[8:]
    heads = [struct.pack("<II", mi_matrix, len(fixed) * (level + 1) + 8 * level) + fixed for level in range(depth)]
    cells = b"".join(reversed(heads))
    named = mat_matrix(b"matrices", mx_cell, (1, 1), cells)
    for name, content in (("plain", named), ("packed", mat_element(15, zlib.compress(named)))):
        path = tmp_path / f"{name}.mat"
        path.write_bytes(mat_file(content))
        with pytest.raises(DataError, match=rf"{name}\.mat: .*matrices must be an array of real numbers"):
            read_mat(path, ["matrices"])


@pytest.mark.parametrize("elements", [[MAX_BYTES + 8], [40 * MAX_BYTES], [MAX_BYTES // 2] * 3])
def test_a_mat_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, elements: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("correspondence_losses.reference.data.mat.MAX_MAT_BYTES", MAX_BYTES)
    path = tmp_path / "bomb.mat"
    fillings = [mat_matrix(b"filling ", 6, (1, size // 8), mat_element(9, bytes(size))) for size in elements]
    path.write_bytes(mat_file(*(mat_element(15, zlib.compress(filling)) for filling in fillings)))
    with pytest.raises(DataError, match=r"bomb\.mat: .*unpacks to more than"):
        read_mat(path, NAMES)


def test_a_damaged_compressed_variable_is_noticed(tmp_path: Path) -> None:
    content = bytearray(mat(True, values=np.arange(100.0)))
    content[-1] ^= 1  # its checksum
    (tmp_path / "changed.mat").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"changed\.mat: cannot be read as a MATLAB 5 file"):
        read_mat(tmp_path / "changed.mat", ["values"])


def test_names_that_are_too_long_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_color(tmp_path / ("x" * 5000))


def test_deep_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"deep\.json: cannot be read as JSON"):
        read_json(tmp_path / "deep.json", DataError)
