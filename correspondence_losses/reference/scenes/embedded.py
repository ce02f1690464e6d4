"""The embedded renderer: Mitsuba traces the light, and everything else is exact (:mod:`.rasterize`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.denoise import denoise
from correspondence_losses.reference.scenes.guides import surface_guides
from correspondence_losses.reference.scenes.rasterize import annotate, rasterize
from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.scene import FloatArray, Frame, Ground, Material, Mesh, Scene
from correspondence_losses.reference.scenes.sensor import automatic_exposure, develop, from_srgb

__all__ = ["EmbeddedRenderer"]

_MAX_DEPTH = 3
"""Longest light path: 2 would be direct light only."""


class EmbeddedRenderer:
    """Renders scenes with Mitsuba's path tracer under image-based light.

    The scene is traced in the camera's frame. Mitsuba's pixels are square; where ``fx`` and ``fy`` differ, y is
    stretched by ``fy / fx`` before tracing, so that colours too fall on the pixels that the intrinsics say.

    Args:
        samples_per_pixel: Light paths a pixel; few are enough, as the light is smoothed afterwards.
        variant: Mitsuba's variant. ``"scalar_rgb"`` runs everywhere; ``"cuda_ad_rgb"`` needs an NVIDIA GPU.

    Raises:
        ModuleNotFoundError: Mitsuba is not installed.
        ValueError: ``samples_per_pixel`` is below 1, or Mitsuba has no such variant.
    """

    def __init__(self, samples_per_pixel: int = 3, *, variant: str = "scalar_rgb") -> None:
        if samples_per_pixel < 1:
            raise ValueError(f"samples_per_pixel must be at least 1, got {samples_per_pixel}")
        self._mitsuba = require("mitsuba")
        if variant not in self._mitsuba.variants():
            known = ", ".join(self._mitsuba.variants())
            raise ValueError(f"variant must be one that this Mitsuba has ({known}), got {variant!r}")
        self.samples_per_pixel = samples_per_pixel
        self.variant = variant

    def render(self, scene: Scene, *, seed: int) -> Frame:
        """Render a scene.

        Args:
            scene: What to render.
            seed: Of the light paths and of the sensor's noise.

        Returns:
            The frame; its annotations do not depend on the seed.
        """
        fragments = rasterize(scene)
        light, alpha = self._trace(scene, seed)
        guides = surface_guides(scene, fragments)
        surfaces = fragments.depth > 0
        # The denoiser wants light that is exposed, and the noise of few samples misleads the meter: meter twice.
        light = light * automatic_exposure(light[surfaces], guides.albedo[surfaces])
        light = denoise(light, fragments, guides)
        light = light * automatic_exposure(light[surfaces], guides.albedo[surfaces])
        if scene.background is not None:
            light = light + (1 - alpha[..., None]) * from_srgb(scene.background)
        color = develop(light, scene.sensor, np.random.default_rng([seed, 1]))
        return Frame(color=color, camera=scene.camera, **annotate(scene, fragments)._asdict())

    def _trace(self, scene: Scene, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (h, w, 3) linear light and (h, w) opacity."""
        mi = self._mitsuba
        mi.set_variant(self.variant)
        mi.set_log_level(mi.LogLevel.Error)
        camera = scene.camera
        (fx, _, _), (_, fy, _), _ = camera.intrinsics
        stretch = np.diag([1.0, fy / fx, 1.0, 1.0])
        world_to_camera = stretch @ camera.world_to_camera
        description: dict[str, Any] = {
            "type": "scene",
            "integrator": {
                "type": "path",
                "max_depth": _MAX_DEPTH,
                "hide_emitters": scene.background is not None,
                "block_size": 32,  # paths are seeded by block: a fixed size gives one image on any number of cores
            },
            "sensor": self._sensor(scene),
            "environment": {
                "type": "envmap",
                "bitmap": mi.Bitmap(np.ascontiguousarray(scene.environment)),
                "to_world": mi.ScalarTransform4f(_rotation(camera.world_to_camera) @ _Y_UP_TO_Z_UP),
            },
        }
        for index, (item, pose) in enumerate(zip(scene.objects, scene.object_poses(), strict=True)):
            description[f"object_{index}"] = self._shape(item.mesh, stretch @ pose, item.material)
        if scene.ground is not None:
            description["ground"] = self._shape(_ground_mesh(scene.ground), world_to_camera, scene.ground.material)
        image = mi.render(mi.load_dict(description), spp=self.samples_per_pixel, seed=seed % 2**31)
        image = np.array(image, dtype=np.float32)
        # A path that ends in a division by zero is a black sample, not a hole in the picture.
        return np.nan_to_num(image[..., :3], nan=0.0, posinf=0.0), image[..., 3]

    def _sensor(self, scene: Scene) -> dict[str, Any]:
        mi, camera = self._mitsuba, scene.camera
        fx = camera.intrinsics[0, 0]
        # Mitsuba's image corner is 0 and its pixel centres are i + 1/2; its camera has x left and y up.
        center_x, center_y = camera.intrinsics[0, 2] + 0.5, camera.intrinsics[1, 2] + 0.5
        return {
            "type": "perspective",
            "fov_axis": "x",
            "fov": float(np.degrees(2 * np.arctan(camera.width / (2 * fx)))),
            "principal_point_offset_x": float(0.5 - center_x / camera.width),
            "principal_point_offset_y": float(0.5 - center_y / camera.height),
            "near_clip": 0.01,
            "far_clip": 100.0,
            "to_world": mi.ScalarTransform4f(np.diag([-1.0, -1.0, 1.0, 1.0])),
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "rfilter": {"type": "box"},
                "pixel_format": "rgba",
                "component_format": "float32",
            },
            "sampler": {"type": "multijitter"},  # stratified: half of the samples for the same picture
        }

    def _shape(self, mesh: Mesh, transform: FloatArray, material: Material) -> Any:
        mi = self._mitsuba
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(self._surface(mesh.texture, material))
        shape = mi.Mesh(
            mesh.name,
            len(mesh.vertices),
            len(mesh.faces),
            has_vertex_normals=True,
            has_vertex_texcoords=True,
            props=properties,
        )
        linear = transform[:3, :3]
        normals = mesh.normals @ np.linalg.inv(linear)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        values = {
            "vertex_positions": mesh.vertices @ linear.T + transform[:3, 3],
            "vertex_normals": normals,
            "vertex_texcoords": mesh.uv * [1, -1] + [0, 1],
        }
        parameters = mi.traverse(shape)
        for name, value in values.items():
            parameters[name] = type(parameters[name])(value.astype(np.float32).ravel())
        parameters["faces"] = type(parameters["faces"])(mesh.faces.astype(np.uint32).ravel())
        parameters.update()
        return shape

    def _surface(self, texture: NDArray[np.uint8], material: Material) -> dict[str, Any]:
        principled = {
            "type": "principled",
            "base_color": {
                "type": "bitmap",
                "bitmap": self._mitsuba.Bitmap(np.array(texture)),
                "filter_type": "bilinear",
            },
            "roughness": material.roughness,
            "specular": material.specular,
            "metallic": material.metallic,
            "clearcoat": material.clearcoat,
        }
        # Scanned meshes have holes, and bowls an inside: both sides of a surface are seen.
        return {"type": "twosided", "material": principled}


_Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def _rotation(pose: FloatArray) -> FloatArray:
    rotation = np.eye(4)
    rotation[:3, :3] = pose[:3, :3]
    return rotation


def _ground_mesh(ground: Ground) -> Mesh:
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return Mesh(
        name="ground",
        vertices=corners * ground.half_extent,
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
        normals=np.tile([0.0, 0.0, 1.0], (4, 1)),
        uv=(corners[:, :2] + 1) / 2,
        texture=ground.texture,
    )
