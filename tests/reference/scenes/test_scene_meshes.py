"""Meshes from a user's files: read whole, or refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from correspondence_losses.reference.scenes.meshes import load_mesh

pytest.importorskip("trimesh", reason="needs the extra scenes")

OBJ = "mtllib textured.mtl\nv 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.fromarray(np.full((4, 4, 3), 200, np.uint8)).save(tmp_path / "texture.png")
    (tmp_path / "textured.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd texture.png\n")
    (tmp_path / "textured.obj").write_text(OBJ)
    return tmp_path / "textured.obj"


def test_a_whole_mesh_is_read(path: Path) -> None:
    mesh = load_mesh(path)
    assert mesh.faces.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
    assert mesh.texture.shape == (4, 4, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        OBJ.replace("f 1/1 2/2 3/3", "f 1/1 2/2 9/3"),
        OBJ.replace("v 0.1 0 0", "v nan 0 0"),
        OBJ.replace("v 0.1 0 0", "v 1e30 0 0"),
        OBJ.replace("vt 1 0", "vt inf 0"),
        OBJ.replace("mtllib textured.mtl", "mtllib ../../elsewhere.mtl"),
        "\0" * 100,
    ],
)
def test_a_damaged_mesh_is_named(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=r"textured\.obj: "):
        load_mesh(path)


def test_an_enormous_texture_is_not_decoded(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.with_name("texture.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"textured\.obj: cannot be read as a mesh"):
        load_mesh(path)


def test_a_texture_of_another_format_is_refused(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path.with_name("texture.png"), format="TIFF")
    with pytest.raises(ValueError, match=r"textured\.obj: .*must be one of PNG"):
        load_mesh(path)
