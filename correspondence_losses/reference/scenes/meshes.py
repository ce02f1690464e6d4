"""The meshes of the 21 classes: procedural ones, or the user's own."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.data.files import IMAGE_FORMATS
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.files import reading
from correspondence_losses.reference.scenes.objects import procedural_object
from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.scene import Mesh
from correspondence_losses.reference.scenes.shapes import vertex_normals
from correspondence_losses.reference.scenes.textures import weathered

__all__ = ["MeshLibrary", "load_mesh"]

_TEXTURE_SIZE = 1024
_LARGEST = 1000.0


class MeshLibrary:
    """Meshes by class, each made or read once.

    Args:
        models: A folder that holds ``CLASS/textured.obj`` for each class, such as ``002_master_chef_can``, in metres
            and in YCB-Video's object frames. Without one, the objects are procedural.
        variant: Which specimens of the procedural objects.
        worn: Whether textures are faded and soiled (:func:`.textures.weathered`).

    Raises:
        FileNotFoundError: ``models`` lacks the mesh of a class.
    """

    def __init__(self, models: Path | None = None, *, variant: int = 0, worn: bool = False) -> None:
        self.models = models
        self.variant = variant
        self.worn = worn
        self._meshes: dict[int, Mesh] = {}
        if models is not None:
            missing = [name for name in CLASS_NAMES[1:] if not (models / name / "textured.obj").is_file()]
            if missing:
                raise FileNotFoundError(f"{models}: holds no textured.obj for {', '.join(missing)}")

    def __getitem__(self, class_index: int) -> Mesh:
        """Return the mesh of class 1 to 21."""
        if class_index not in self._meshes:
            if self.models is None:
                mesh = procedural_object(class_index, self.variant)
            else:
                mesh = load_mesh(self.models / CLASS_NAMES[class_index] / "textured.obj")
            if self.worn:
                rng = np.random.default_rng([class_index, self.variant])
                mesh = replace(mesh, texture=weathered(rng, mesh.texture))
            self._meshes[class_index] = mesh
        return self._meshes[class_index]


def load_mesh(path: Path) -> Mesh:
    """Read a textured mesh (OBJ with its MTL and image), in metres, its texture reduced to 1024 pixels.

    Args:
        path: The mesh file.

    Raises:
        FileError: The file is missing or damaged.
        ValueError: It holds no triangles or no texture.
    """
    trimesh = require("trimesh")
    with reading(path, "a mesh with texture coordinates and a texture image"):
        with warnings.catch_warnings():  # trimesh decodes the texture, of any size
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            loaded = trimesh.load(path, process=False, force="mesh")
        vertices = np.asarray(loaded.vertices, dtype=np.float64)
        faces = np.asarray(loaded.faces, dtype=np.int64)
        uv = np.asarray(loaded.visual.uv, dtype=np.float64)
        texture = _texture(loaded.visual.material.image)
    if faces.shape != (max(len(faces), 1), 3) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{path}: needs triangles of its {len(vertices)} vertices")
    if vertices.shape[1] != 3 or not (np.abs(vertices) < _LARGEST).all():
        raise ValueError(f"{path}: needs finite vertices in metres")
    if uv.shape != (len(vertices), 2) or not np.isfinite(uv).all():
        raise ValueError(f"{path}: needs finite texture coordinates for each vertex")
    return Mesh(
        name=path.parent.name,
        vertices=vertices,
        faces=faces,
        normals=vertex_normals(vertices, faces, weld=True),
        uv=uv,
        texture=texture,
    )


def _texture(image: Image.Image) -> NDArray[np.uint8]:
    if image.format not in IMAGE_FORMATS:
        raise ValueError(f"the texture must be one of {', '.join(IMAGE_FORMATS)}, got {image.format}")
    scale = min(1.0, _TEXTURE_SIZE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return np.array(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
