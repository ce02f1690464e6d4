"""The meshes of the 21 classes: procedural ones, or the user's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes.objects import procedural_object
from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.scene import Mesh
from correspondence_losses.reference.scenes.shapes import vertex_normals
from correspondence_losses.reference.scenes.textures import weathered

__all__ = ["MeshLibrary", "load_mesh"]

_TEXTURE_SIZE = 1024


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
        ValueError: The file holds no triangles, or no texture.
    """
    trimesh = require("trimesh")
    loaded = trimesh.load(path, process=False, force="mesh")
    image = getattr(getattr(loaded.visual, "material", None), "image", None)
    if len(loaded.faces) == 0 or loaded.visual.uv is None or image is None:
        raise ValueError(f"{path}: needs triangles, texture coordinates and a texture image")
    scale = min(1.0, _TEXTURE_SIZE / max(image.size))
    small = image.convert("RGB").resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    vertices = np.asarray(loaded.vertices, dtype=np.float64)
    faces = np.asarray(loaded.faces, dtype=np.int64)
    return Mesh(
        name=path.parent.name,
        vertices=vertices,
        faces=faces,
        normals=vertex_normals(vertices, faces, weld=True),
        uv=np.asarray(loaded.visual.uv, dtype=np.float64),
        texture=np.array(small),
        source=path,
    )
