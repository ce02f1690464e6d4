"""Stillleben (Schwarz and Behnke 2020) behind the same interface, where it is installed.

There is no wheel: it is built from https://github.com/AIS-Bonn/stillleben against the PyTorch of the environment. It
needs EGL and OpenGL 4.5, on a GPU or in software (Mesa), and no CUDA.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, finalize

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.scenes.lamps import lamps
from correspondence_losses.reference.scenes.lighting import look_up_environment
from correspondence_losses.reference.scenes.scene import FloatArray, Frame, Mesh, Scene
from correspondence_losses.reference.scenes.sensor import automatic_exposure, develop, from_srgb

__all__ = ["StilllebenRenderer", "import_stillleben"]

FloatImage = NDArray[np.float32]

_MESA_EXTENSIONS = "MESA_EXTENSION_OVERRIDE"

_EMPTY = 3000.0
_HEADROOM = 3.0  # eight bits of the film curve resolve light from dark to three times white best at this exposure
_METERINGS = 10

# The film curve of Narkowicz (2016), y = x (a x + b) / (x (c x + d) + e), solved for x at each of its 256 values.
_A, _B, _C, _D, _E = 2.51, 0.03, 2.43, 0.59, 0.14
_FILM = np.arange(256) / 255
_HALF = (_D * _FILM - _B) / 2
_LIGHT = (_HALF + np.sqrt(_HALF**2 + (_A - _C * _FILM) * _E * _FILM)) / (_A - _C * _FILM)

# It decodes textures by the power 2.2, not by the curve of sRGB: those that it gets are encoded accordingly.
_ENCODED = np.round(from_srgb(np.arange(256, dtype=np.uint8)) ** (1 / 2.2) * 255).astype(np.uint8)


class _Drawn(NamedTuple):
    light: FloatImage
    instance: NDArray[np.int32]
    depth: NDArray[np.float32]
    coordinates: NDArray[np.float32]


class StilllebenRenderer:
    """Renders scenes with Stillleben's rasteriser.

    Labels, depth and object coordinates come from its buffers, as its own pixels: without anti-aliasing. Surfaces
    nearer than 0.1 m or farther than 10 m are not drawn. The light is the scene's environment as three lamps with
    shadows and even light for the rest (:func:`.lamps.lamps`), or a light map. Roughness and metallic are the
    materials' own, except for the ground's; specular and clearcoat have no counterpart.

    Args:
        light_map: An ``.ibl`` file for image-based light, in place of the scene's own environment.
        cuda_device: Index of the GPU to render on; without one, results come through the CPU.

    Raises:
        ModuleNotFoundError: Stillleben is not installed.
        FileNotFoundError: ``light_map`` is not there.
    """

    def __init__(self, light_map: Path | None = None, cuda_device: int | None = None) -> None:
        self._sl = import_stillleben()
        if light_map is not None and not light_map.is_file():
            raise FileNotFoundError(f"light_map must be a file, got {light_map}")
        with _without_anisotropy():
            if cuda_device is None:
                self._sl.init()
            else:
                self._sl.init_cuda(cuda_device)
        self._light_map = None if light_map is None else self._sl.LightMap(str(light_map))
        self._passes: dict[tuple[int, int], Any] = {}
        self._meshes: WeakKeyDictionary[Mesh, Any] = WeakKeyDictionary()

    def render(self, scene: Scene, *, seed: int) -> Frame:
        """Render a scene.

        Args:
            scene: What to render.
            seed: Of the sensor's noise; nothing else is random here.
        """
        stage = self._stage(scene)
        stage.ambient_light = torch.ones(3)  # even light of radiance 1 shows the colours of the surfaces
        albedo = self._draw(stage, scene, _HEADROOM).light
        self._set_light(stage, scene)
        drawn = self._draw_metered(stage, scene, albedo)
        classes = np.array([0] + [item.class_index for item in scene.objects])
        label = classes[drawn.instance]
        seen = [i for i in range(len(scene.objects)) if classes[i + 1] > 0 and (drawn.instance == i + 1).any()]
        return Frame(
            color=develop(drawn.light, scene.sensor, np.random.default_rng([seed, 1])),
            label=label.astype(np.uint8),
            instance=drawn.instance,
            depth=drawn.depth,
            # The ground has coordinates too: only objects with a class count.
            coordinates=np.where(label[..., None] > 0, drawn.coordinates, 0).astype(np.float32),
            class_indexes=classes[1:][seen],
            poses=scene.object_poses()[seen, :3],
            camera=scene.camera,
        )

    def arrange(self, meshes: Sequence[Mesh], size: tuple[int, int]) -> list[FloatArray]:
        """Let objects fall on a table with Stillleben's own physics, in place of :func:`.settle.settle`.

        Its random generator cannot be seeded from Python: arrangements differ from call to call. The first call for a
        mesh takes seconds, as it is decomposed into convex parts.

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
        table = np.linalg.inv(stage.background_plane_pose.double().numpy())
        return [table @ item.pose().double().numpy() for item in objects]

    def _stage(self, scene: Scene) -> Any:
        """Build the scene but for its light."""
        sl, camera = self._sl, scene.camera
        # Rows of 16-bit maps come padded to 4 bytes but are read as if they were not: an even width needs no padding.
        stage = sl.Scene((camera.width + camera.width % 2, camera.height))
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
        stage.set_camera_intrinsics(fx, fy, cx + 0.5, cy + 0.5)  # its pixel centres are at i + 1/2
        stage.set_camera_pose(_rigid(camera.pose))
        for index, item in enumerate(scene.objects):
            placed = sl.Object(self._mesh(item.mesh))
            placed.set_pose(_rigid(item.pose))
            placed.instance_index = index + 1
            placed.metallic, placed.roughness = item.material.metallic, item.material.roughness
            stage.add_object(placed)
        if scene.ground is not None:
            side = 2 * scene.ground.half_extent
            stage.background_plane_pose = torch.eye(4)
            stage.background_plane_size = torch.tensor([side, side])
            texture = _ENCODED[scene.ground.texture[::-1]]  # the first row is the bottom of the texture
            # By place, a tensor counts as a path.
            stage.background_plane_texture = sl.Texture2D(tensor=torch.from_numpy(texture))
        return stage

    def _set_light(self, stage: Any, scene: Scene) -> None:
        if self._light_map is not None:
            stage.light_map = self._light_map
            return
        directions, colors = torch.zeros_like(stage.light_directions), torch.zeros_like(stage.light_colors)
        light = lamps(scene.environment, len(directions))
        for index, (toward, irradiance) in enumerate(zip(light.directions, light.irradiance, strict=True)):
            directions[index], colors[index] = _tensor(-_aslant(toward)), _tensor(irradiance)
        stage.ambient_light = _tensor(light.ambient)
        stage.light_directions, stage.light_colors = directions, colors

    def _draw_metered(self, stage: Any, scene: Scene, albedo: FloatImage) -> _Drawn:
        """Draw at the exposure that suits the light, and return the light as a camera with that exposure gets it.

        What Stillleben meters itself comes out black or white, and its eight bits hold a narrow range of light: an
        exposure is tried until it is half to twice what the light asks for.
        """
        exposure = _HEADROOM
        for _ in range(_METERINGS):
            drawn = self._draw(stage, scene, exposure)
            surfaces = drawn.depth > 0
            gain = automatic_exposure(drawn.light[surfaces], albedo[surfaces])
            wanted = gain * _HEADROOM
            if exposure / 2 <= wanted <= exposure * 2:
                break
            exposure = wanted
        light = drawn.light * gain
        if scene.background is not None:
            behind = from_srgb(scene.background)
        elif self._light_map is not None:
            behind = light  # its light maps are drawn behind everything
        else:
            behind = gain * look_up_environment(scene.environment, scene.camera.rays() @ scene.camera.pose[:3, :3].T)
        return drawn._replace(light=np.where(surfaces[..., None], light, behind))

    def _draw(self, stage: Any, scene: Scene, exposure: float) -> _Drawn:
        width, height = stage.viewport
        if (width, height) not in self._passes:  # a pass keeps the size of the first image that it draws
            self._passes[width, height] = self._sl.RenderPass("pbr")
            self._passes[width, height].ssao_enabled = False  # it darkens whatever is near the image's border
        stage.manual_exposure = exposure
        result = self._passes[width, height].render(stage)
        rgb, instance, depth, coordinates = (
            tensor.cpu().numpy()[:, : scene.camera.width]
            for tensor in (result.rgb(), result.instance_index(), result.depth(), result.coordinates())
        )
        return _Drawn(
            light=(_LIGHT[rgb[..., :3]] / exposure).astype(np.float32),
            instance=instance[..., 0].astype(np.int32),
            depth=np.where(depth < _EMPTY, depth, 0).astype(np.float32),
            coordinates=coordinates,
        )

    def _mesh(self, mesh: Mesh) -> Any:
        if mesh not in self._meshes:
            # The files are needed for as long as the mesh: when objects are arranged, its convex parts go beside them.
            folder = Path(tempfile.mkdtemp(prefix="stillleben-"))
            finalize(mesh, shutil.rmtree, folder)
            self._meshes[mesh] = self._sl.Mesh(str(_write_obj(folder, mesh)), physics=False)
        return self._meshes[mesh]


def import_stillleben() -> Any:
    """Import Stillleben.

    Raises:
        ModuleNotFoundError: It is not installed; the message says where it is.
    """
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


@contextmanager
def _without_anisotropy() -> Iterator[None]:
    """Hide an extension of OpenGL: where Stillleben uses it, Mesa's software renderer draws no shadows.

    Mesa reads the variable when a process makes its first context. Other drivers do not know it.
    """
    before = os.environ.get(_MESA_EXTENSIONS)
    os.environ[_MESA_EXTENSIONS] = f"{before or ''} -GL_EXT_texture_filter_anisotropic".lstrip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MESA_EXTENSIONS]
        else:
            os.environ[_MESA_EXTENSIONS] = before


def _rigid(pose: FloatArray) -> torch.Tensor:
    """Return the nearest rigid motion: Stillleben aborts the process where a rotation is off by 1e-5."""
    left, _, right = np.linalg.svd(pose[:3, :3])
    rigid = pose.copy()
    rigid[:3, :3] = left @ right
    return _tensor(rigid)


def _aslant(direction: FloatArray) -> FloatArray:
    """Return the direction, at least half a degree off the vertical: Stillleben's shadows need a horizontal part."""
    if np.hypot(*direction[:2]) >= 0.01:
        return direction
    return np.array([0.01, 0.0, direction[2]])


def _write_obj(folder: Path, mesh: Mesh) -> Path:
    """Write a mesh with its texture, as BMP: a PNG is read by whatever libpng was loaded first."""
    Image.fromarray(_ENCODED[mesh.texture]).save(folder / "texture.bmp")
    (folder / "mesh.mtl").write_text("newmtl surface\nKd 1 1 1\nmap_Kd texture.bmp\n", encoding="utf-8")
    lines = ["mtllib mesh.mtl", "usemtl surface"]
    for keyword, values in (("v", mesh.vertices), ("vt", mesh.uv), ("vn", mesh.normals)):
        lines += [f"{keyword} {' '.join(f'{x:.7g}' for x in row)}" for row in values]
    lines += ["f " + " ".join(f"{i}/{i}/{i}" for i in face) for face in mesh.faces + 1]
    path = folder / "mesh.obj"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _tensor(array: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
