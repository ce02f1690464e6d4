"""Stillleben (Schwarz and Behnke 2020) behind the same interface, where it is installed.

There is no wheel: it is built from https://github.com/AIS-Bonn/stillleben against the PyTorch of the environment, needs
EGL and OpenGL 4.5, and was developed on PyTorch 1.8.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.scenes.scene import FloatArray, Frame, Mesh, Scene
from correspondence_losses.reference.scenes.sensor import develop, from_srgb

__all__ = ["StilllebenRenderer"]

_EMPTY = 3000.0


class StilllebenRenderer:
    """Renders scenes with Stillleben's rasteriser.

    Labels, depth and object coordinates come from its buffers. Its pixel centres are at i + 1/2, so the principal
    point is handed over half a pixel further; its light is the scene's mean light and its brightest direction, or a
    light map.

    Args:
        light_map: An ``.ibl`` file for image-based light, in place of the scene's own environment.
        cuda_device: Index of the GPU to render on; without one, results come through the CPU.

    Raises:
        ModuleNotFoundError: Stillleben is not installed.
    """

    def __init__(self, light_map: Path | None = None, cuda_device: int | None = None) -> None:
        self._sl = _import_stillleben()
        if cuda_device is None:
            self._sl.init()
        else:
            self._sl.init_cuda(cuda_device)
        self._light_map = None if light_map is None else self._sl.LightMap(str(light_map))
        self._renderer = self._sl.RenderPass("pbr")
        self._folder = tempfile.TemporaryDirectory(prefix="stillleben-")
        self._meshes: WeakKeyDictionary[Mesh, Any] = WeakKeyDictionary()

    def render(self, scene: Scene, *, seed: int) -> Frame:
        """Render a scene.

        Args:
            scene: What to render.
            seed: Of the sensor's noise; nothing else is random here.
        """
        result = self._renderer.render(self._scene(scene))
        instance = _numpy(result.instance_index())[..., 0].astype(np.int32)
        depth = _numpy(result.depth())
        depth = np.where(depth < _EMPTY, depth, 0).astype(np.float32)
        classes = np.array([0] + [item.class_index for item in scene.objects])
        label = classes[instance]
        # The ground plane has coordinates too, and empty pixels hold 3000: only objects with a class count.
        coordinates = np.where(label[..., None] > 0, _numpy(result.coordinates()), 0).astype(np.float32)
        seen = [i for i in range(len(scene.objects)) if classes[i + 1] > 0 and (instance == i + 1).any()]
        light = from_srgb(np.ascontiguousarray(_numpy(result.rgb())[..., :3]))
        return Frame(
            color=develop(light, scene.sensor, np.random.default_rng([seed, 1])),
            label=label.astype(np.uint8),
            instance=instance,
            depth=depth,
            coordinates=coordinates,
            class_indexes=classes[1:][seen],
            poses=scene.object_poses()[seen, :3],
            camera=scene.camera,
        )

    def arrange(self, meshes: Sequence[Mesh], size: tuple[int, int]) -> list[FloatArray]:
        """Let objects fall on a table with Stillleben's own physics, in place of :func:`.settle.settle`.

        Its random generator cannot be seeded from Python: arrangements differ from call to call.

        Args:
            meshes: The objects.
            size: Width and height of the images they are for.

        Returns:
            A (4, 4) pose, object to world, for each: the table is the plane z = 0.
        """
        stage = self._sl.Scene(size)
        objects = [self._sl.Object(self._mesh(mesh)) for mesh in meshes]
        for item in objects:
            stage.add_object(item)
        stage.simulate_tabletop_scene()
        plane = np.linalg.inv(_numpy(stage.background_plane_pose).astype(np.float64))
        return [plane @ _numpy(item.pose()).astype(np.float64) for item in objects]

    def _scene(self, scene: Scene) -> Any:
        sl, camera = self._sl, scene.camera
        stage = sl.Scene((camera.width, camera.height))
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
        stage.set_camera_intrinsics(fx, fy, cx + 0.5, cy + 0.5)
        stage.set_camera_pose(_tensor(camera.pose))
        for index, item in enumerate(scene.objects):
            placed = sl.Object(self._mesh(item.mesh))
            placed.set_pose(_tensor(item.pose))
            placed.instance_index = index + 1
            placed.metallic, placed.roughness = item.material.metallic, item.material.roughness
            stage.add_object(placed)
        if scene.ground is not None:
            side = 2 * scene.ground.half_extent
            stage.background_plane_pose = torch.eye(4)
            stage.background_plane_size = torch.tensor([side, side])
            stage.background_plane_texture = sl.Texture2D(_image(scene.ground.texture))
        if scene.background is not None:
            stage.background_image = sl.Texture(_image(scene.background))
        self._light(stage, scene)
        return stage

    def _light(self, stage: Any, scene: Scene) -> None:
        if self._light_map is not None:
            stage.light_map = self._light_map
            return
        mean, direction, color = _sun(scene.environment)
        stage.ambient_light = _tensor(mean)
        directions, colors = torch.zeros_like(stage.light_directions), torch.zeros_like(stage.light_colors)
        directions[0], colors[0] = _tensor(-direction), _tensor(color)
        stage.light_directions, stage.light_colors = directions, colors

    def _mesh(self, mesh: Mesh) -> Any:
        if mesh not in self._meshes:
            path = mesh.source
            if path is None:
                path = _write_obj(Path(self._folder.name) / f"{mesh.name}-{id(mesh)}", mesh)
            self._meshes[mesh] = self._sl.Mesh(str(path))
        return self._meshes[mesh]


def _import_stillleben() -> Any:
    try:
        import stillleben
    except ModuleNotFoundError as error:
        if error.name != "stillleben":
            raise
        raise ModuleNotFoundError(
            "the renderer 'stillleben' needs Stillleben, which has no wheel: build it from "
            "https://github.com/AIS-Bonn/stillleben, or use the renderer 'embedded'",
            name="stillleben",
        ) from error
    return stillleben


def _sun(environment: NDArray[np.float32]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mean light, and the direction and colour of a lamp that stands for the brightest part."""
    rows, columns = environment.shape[:2]
    theta = (np.arange(rows) + 0.5) / rows * np.pi
    solid_angle = np.sin(theta)[:, None] * (np.pi / rows) * (2 * np.pi / columns)
    mean = (environment * solid_angle[..., None]).sum(axis=(0, 1)) / (4 * np.pi)
    row, column = np.unravel_index(environment.mean(axis=-1).argmax(), (rows, columns))
    phi = (column + 0.5) / columns * 2 * np.pi
    direction = np.array([np.sin(theta[row]) * np.cos(phi), np.sin(theta[row]) * np.sin(phi), np.cos(theta[row])])
    excess = np.maximum(environment - 2 * mean, 0) * solid_angle[..., None]
    return mean, direction, excess.sum(axis=(0, 1))


def _write_obj(folder: Path, mesh: Mesh) -> Path:
    folder.mkdir()
    Image.fromarray(mesh.texture).save(folder / "texture.png")
    (folder / "mesh.mtl").write_text("newmtl surface\nmap_Kd texture.png\n", encoding="utf-8")
    lines = ["mtllib mesh.mtl", "usemtl surface"]
    for keyword, values in (("v", mesh.vertices), ("vt", mesh.uv), ("vn", mesh.normals)):
        lines += [f"{keyword} {' '.join(f'{x:.7g}' for x in row)}" for row in values]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in mesh.faces + 1]
    path = folder / "mesh.obj"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _tensor(array: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _image(array: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
