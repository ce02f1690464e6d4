"""A stand-in for Stillleben's Python bindings, with the traps of the real library (commit 56a1c7d).

What it draws comes from our own rasteriser, shaded by the equations of Stillleben's shaders: dielectric and metallic
surfaces under ambient light and three directional lights with shadows, then the film curve. Simplified are: textures
are sampled without filtering, a light map is even light, occlusion in screen space is a dark border of one pixel, and
physics puts objects above each other. Where the real library would end the process, :class:`Aborted` is raised.
"""

import os
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from PIL import Image

from correspondence_losses.reference.scenes import Camera, Ground, Mesh, Scene, SceneObject
from correspondence_losses.reference.scenes.rasterize import rasterize

NEAR, FAR = 0.1, 10.0
EMPTY = 3000.0
EPSILON = 1e-5
LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


class Aborted(BaseException):
    """The real library would have ended the process."""


class Texture:
    """Two overloads: the first takes anything, by place or as ``path``; the second a tensor, by name only."""

    def __init__(self, *args, **named):
        if args or "path" in named:
            path = str(args[0] if args else named["path"])
            raise RuntimeError(f"cannot determine the format of {path[:40]}")
        tensor = named.pop("tensor")
        if tensor.ndim != 3 or tensor.shape[2] != 3 or tensor.dtype != torch.uint8 or tensor.device.type != "cpu":
            raise ValueError("Input tensor should be a HxWx3 CPU byte tensor")
        self.image = tensor.contiguous().numpy()  # OpenGL: the first row is the bottom one


class Texture2D(Texture):
    pass


class LightMap:
    def __init__(self, path):
        path = Path(path)
        if not path.is_file():
            raise RuntimeError(f"Could not load light map {path}")
        settings = dict(line.split("=") for line in path.read_text().splitlines() if "=" in line)
        self.radiance = float(cv2.imread(str(path.with_name(settings["REFfile"])), cv2.IMREAD_UNCHANGED).mean())


class LoadedMesh:
    def __init__(self, filename, physics=True):
        self.path = Path(filename)
        self.mesh = _read_obj(self.path)
        if physics:
            self.load_physics()

    def load_physics(self):
        self.path.with_name(f"{self.path.name}.sl_mesh").write_bytes(b"convex parts")


class Object:
    def __init__(self, mesh):
        assert isinstance(mesh, LoadedMesh)
        self.mesh, self.instance_index = mesh, 0
        self.metallic = self.roughness = -1.0
        self._pose = np.eye(4, dtype=np.float32)

    def set_pose(self, pose):
        self._pose = pose.float().numpy().copy()

    def pose(self):
        return torch.from_numpy(self._pose.copy())


class Stage:
    """``Scene`` of the bindings."""

    shadows = False  # whether lamps cast them is decided when the library starts

    def __init__(self, viewport_size):
        self.viewport = tuple(viewport_size)
        self.objects = []
        self.light_directions = torch.zeros(3, 3)
        self.light_colors = torch.tensor([[300.0] * 3, [0.0] * 3, [0.0] * 3])
        self.ambient_light = torch.zeros(3)
        self.light_map = None
        self.manual_exposure = -1.0
        self.background_image = None
        self.background_plane_pose = torch.eye(4)
        self.background_plane_size = torch.zeros(2)
        self.background_plane_texture = None
        self._camera = np.eye(4, dtype=np.float32)

    def set_camera_intrinsics(self, fx, fy, cx, cy):
        self._intrinsics = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])  # pixel centres are at i + 1/2

    def set_camera_pose(self, pose):
        pose = pose.float().numpy().copy()
        if not _is_rigid(pose):
            raise ValueError("Camera pose is not rigid")
        self._camera = pose

    def add_object(self, item):
        self.objects.append(item)
        item.instance_index = item.instance_index or len(self.objects)

    def simulate_tabletop_scene(self):
        self.background_plane_pose = torch.eye(4)
        self.background_plane_pose[2, 3] = 0.04
        for height, item in enumerate(self.objects):
            item.mesh.load_physics()
            pose = torch.eye(4)
            pose[2, 3] = 0.1 + height
            item.set_pose(pose)


class RenderPass:
    def __init__(self, shading="pbr"):
        if shading not in ("pbr", "phong", "flat"):
            raise ValueError("unknown shading type specified")
        self.ssao_enabled = True
        self._size = None

    def render(self, stage):
        result = Result(*_draw(stage, self.ssao_enabled))
        # The buffers are allocated once. Another size draws into their corner.
        if self._size is None:
            self._size, self._last = stage.viewport, result
        elif stage.viewport == self._size:
            self._last = result
        else:
            width, height = (min(a, b) for a, b in zip(self._size, stage.viewport, strict=True))
            for kept, drawn in zip(self._last.buffers, result.buffers, strict=True):
                kept[:height, :width] = drawn[:height, :width]
        return self._last


class Result:
    def __init__(self, *buffers):
        self.buffers = [buffer.copy() for buffer in buffers]

    def rgb(self):
        return torch.from_numpy(self.buffers[0].copy())

    def instance_index(self):
        """Rows of 16-bit values are padded to 4 bytes and read as if they were not."""
        index = self.buffers[1]
        height, width = index.shape
        padded = np.pad(index, [(0, 0), (0, width % 2)]).ravel()[: height * width]
        return torch.from_numpy(padded.reshape(height, width, 1).copy())

    def coordinates(self):
        return torch.from_numpy(self.buffers[2][..., :3].copy())

    def depth(self):
        return torch.from_numpy(self.buffers[2][..., 3].copy())


def stand_in() -> ModuleType:
    """Make the module."""
    module = ModuleType("stillleben")
    module.devices = []

    def start(device):
        module.devices.append(device)
        # Mesa's software renderer compares nothing through an anisotropic filter, which the maps of the shadows have.
        hidden = os.environ.get("MESA_EXTENSION_OVERRIDE", "").split()
        Stage.shadows = "-GL_EXT_texture_filter_anisotropic" in hidden

    module.init = lambda: start("cpu")
    module.init_cuda = lambda device_index=0: start(f"cuda:{device_index}")
    module.Scene, module.Object, module.Mesh, module.RenderPass = Stage, Object, LoadedMesh, RenderPass
    module.Texture, module.Texture2D, module.LightMap = Texture, Texture2D, LightMap
    return module


def _is_rigid(pose):
    rotation = np.asarray(pose, dtype=np.float64)[:3, :3]
    return np.isfinite(rotation).all() and (np.abs(rotation.T @ rotation - np.eye(3)) <= EPSILON).all()


def _draw(stage, ssao):
    """Return rgb (h, w, 4), instance (h, w), and coordinates with depth (h, w, 4)."""
    world_to_camera = np.linalg.inv(stage._camera)
    for item in stage.objects:
        if not _is_rigid(world_to_camera @ item._pose):
            raise Aborted("invertedRigid: the matrix does not represent a rigid transformation")
    width, height = stage.viewport
    camera = Camera(width, height, stage._intrinsics, stage._camera.astype(np.float64))
    objects = [SceneObject(item.mesh.mesh, item._pose.astype(np.float64), 1) for item in stage.objects]
    side = float(stage.background_plane_size[0])
    ground = None
    if side > 0:
        assert torch.equal(stage.background_plane_pose, torch.eye(4))
        ground = Ground(stage.background_plane_texture.image[::-1], side / 2)  # ours has the top row first
    scene = Scene(camera, objects, np.zeros((2, 4, 3), np.float32), ground)
    fragments = rasterize(scene)
    drawn = (fragments.depth > NEAR) & (fragments.depth < FAR)
    index = np.where(drawn, fragments.instance, 0)

    position = fragments.depth[..., None] * (camera.rays() @ camera.pose[:3, :3].T) + camera.pose[:3, 3]
    color, normal = np.zeros((height, width, 3)), np.zeros((height, width, 3))
    metallic, roughness = np.full((height, width), 0.04), np.full((height, width), 0.5)
    coordinates = np.full((height, width, 4), EMPTY, np.float32)
    coordinates[drawn, 3] = fragments.depth[drawn]
    instance = np.zeros((height, width), np.int16)
    if ground is not None:
        mask = drawn & (index == 0)
        plane = position[mask][:, :2] / ground.half_extent
        color[mask], normal[mask] = _sample(ground.texture, (plane + 1) / 2), [0, 0, 1]
        coordinates[mask, :3] = np.pad(plane, [(0, 0), (0, 1)])
    for number, (item, placed) in enumerate(zip(stage.objects, objects, strict=True)):
        mask = drawn & (index == number + 1)
        mesh, inside = placed.mesh, drawn[fragments.instance == number + 1]
        uv, points, normals = (
            fragments.interpolate(number, mesh.faces, values)[inside]
            for values in (mesh.uv, mesh.vertices, mesh.normals)
        )
        color[mask], normal[mask] = _sample(mesh.texture, uv), normals @ placed.pose[:3, :3].T
        coordinates[mask, :3] = points
        instance[mask] = item.instance_index
        metallic[mask] = 0.04 if item.metallic < 0 else item.metallic
        roughness[mask] = 0.5 if item.roughness < 0 else item.roughness

    light = np.zeros((height, width, 4))
    view = _unit(camera.pose[:3, 3] - position[drawn])
    light[drawn, 3] = 1
    light[drawn, :3] = _shade(
        stage, objects, position[drawn], _unit(normal[drawn]), view, color[drawn], metallic[drawn], roughness[drawn]
    )
    if ssao:
        border = np.ones((height, width), bool)
        border[1:-1, 1:-1] = False
        light[border, :3] *= 0.6
    metered = light.mean(axis=(0, 1))
    if stage.background_image is not None:  # a quad at depth 0 of [-1, 1], upside down
        behind = 2 * NEAR * FAR / (NEAR + FAR)
        image = stage.background_image.image[::-1] / 255
        light[~drawn | (fragments.depth > behind)] = np.pad(image, [(0, 0), (0, 0), (0, 1)])[
            ~drawn | (fragments.depth > behind)
        ]
    elif stage.light_map is not None:
        light[~drawn, :3] = stage.light_map.radiance
    exposure = stage.manual_exposure
    if exposure < 0:
        exposure = 1 / (9.6 * 0.1 * (LUMINANCE @ metered[:3] / metered[3]) + 1e-4)
    x = light[..., :3] * exposure
    film = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    rgb = np.concatenate([film, np.clip(light[..., 3:], 0, 1)], axis=-1)
    return (rgb * 255 + 0.5).astype(np.uint8), instance, coordinates


def _shade(stage, objects, position, normal, view, color, metallic, roughness):
    """Return the radiance of (n, 3) points, as Stillleben's fragment shader has it."""
    normal = np.where((normal * view).sum(axis=1, keepdims=True) < 0, -normal, normal)
    if stage.light_map is not None:
        return stage.light_map.radiance * color
    metallic, roughness = metallic[:, None], np.maximum(roughness, 0.045)[:, None]
    facing = np.clip((normal * view).sum(axis=1, keepdims=True), 1e-5, 1)
    reflectance = 0.04 * (1 - metallic) + color * metallic
    fresnel = reflectance + (np.maximum(1 - roughness, reflectance) - reflectance) * (1 - facing) ** 5
    light = stage.ambient_light.numpy() * color
    for direction, lamp in zip(stage.light_directions.numpy(), stage.light_colors.numpy(), strict=True):
        if not (direction.any() and lamp.any()):
            continue
        _check_shadow_camera(direction)
        toward = -direction / np.linalg.norm(direction)
        half = _unit(view + toward)
        cosine = np.maximum(normal @ toward, 0)[:, None]
        squared = roughness**4
        spread = ((normal * half).sum(axis=1, keepdims=True).clip(0) ** 2) * (squared - 1) + 1
        distribution = squared / (np.pi * spread**2)
        k = (roughness + 1) ** 2 / 8
        geometry = facing / (facing * (1 - k) + k) * cosine / (cosine * (1 - k) + k)
        specular = distribution * geometry * fresnel / np.maximum(4 * facing * cosine, 0.001)
        diffuse = (1 - fresnel) * (1 - metallic) * color / np.pi
        arriving = (diffuse + specular) * lamp * cosine
        if stage.shadows:
            arriving[_blocked(objects, position, toward)] = 0
        light = light + arriving
    return light


def _check_shadow_camera(direction):
    z = np.float32(direction / np.linalg.norm(direction))
    x = np.cross(z, np.float32([0, 0, 1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = x / np.linalg.norm(x)
    if not _is_rigid(np.stack([x, np.cross(z, x), z])):
        raise Aborted("invertedRigid: the matrix does not represent a rigid transformation")


def _blocked(objects, position, toward):
    """Return for each of (n, 3) points whether a triangle stands between it and the lamp (Möller and Trumbore)."""
    blocked = np.zeros(len(position), bool)
    for item in objects:
        vertices = item.mesh.vertices @ item.pose[:3, :3].T + item.pose[:3, 3]
        for a, b, c in vertices[item.mesh.faces]:
            across = np.cross(toward, c - a)
            determinant = (b - a) @ across
            if abs(determinant) < 1e-12:
                continue
            offset = position - a
            u = offset @ across / determinant
            along = np.cross(offset, b - a)
            v, distance = along @ toward / determinant, along @ (c - a) / determinant
            blocked |= (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 2e-3)
    return blocked


def _sample(texture, uv):
    """Return the linear colour at (n, 2) texture coordinates, (0, 0) at the bottom left."""
    height, width = texture.shape[:2]
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    return (texture[row, column] / 255) ** 2.2


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _read_obj(path):
    """Read an OBJ file with its material's texture as Assimp would, but PNG."""
    values = {"v": [], "vt": [], "vn": [], "f": [], "mtllib": []}
    for line in path.read_text().splitlines():
        keyword, *rest = line.split()
        if keyword in values:
            values[keyword].append(rest)
    material = dict(line.split(maxsplit=1) for line in (path.parent / values["mtllib"][0][0]).read_text().splitlines())
    texture = path.parent / material["map_Kd"]
    if texture.suffix == ".png":
        raise Aborted("libpng: two versions of it are loaded")
    corners = np.array([[corner.split("/") for corner in face] for face in values["f"]], dtype=int) - 1
    used, faces = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    vertices, uv, normals = (np.array(values[name], dtype=np.float64) for name in ("v", "vt", "vn"))
    return Mesh(
        name=path.stem,
        vertices=vertices[used[:, 0]],
        faces=faces.reshape(-1, 3),
        normals=normals[used[:, 2]],
        uv=uv[used[:, 1], :2],
        texture=np.array(Image.open(texture).convert("RGB")),
    )
