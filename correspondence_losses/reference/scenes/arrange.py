"""Scenes of a domain: settled on a table, at given poses, or one object alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from correspondence_losses.reference.data.background import IMAGE_SUFFIXES
from correspondence_losses.reference.data.files import read_color
from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes.domains import Domain
from correspondence_losses.reference.scenes.lighting import environment_files, load_environment
from correspondence_losses.reference.scenes.meshes import MeshLibrary
from correspondence_losses.reference.scenes.scene import Camera, FloatArray, Ground, Mesh, Scene, SceneObject
from correspondence_losses.reference.scenes.scene import ycb_video_camera as camera_at
from correspondence_losses.reference.scenes.settle import settle
from correspondence_losses.reference.scenes.shapes import assemble, box, prism, revolve
from correspondence_losses.reference.scenes.textures import Texture, surface

__all__ = ["SceneMaker"]

Rng = np.random.Generator

_DISTANCE = (0.5, 1.25)  # metres, from the camera to the objects; 0.5 to 1.1 in the frames of YCB-Video


class SceneMaker:
    """Draws scenes of one domain.

    Args:
        domain: What they look like.
        models: A folder with the user's meshes (:class:`MeshLibrary`); without one, the objects are procedural.
        environments: A folder of EXR or HDR files to draw the light from; without one, the light is procedural.
        backgrounds: A folder of images to draw tables and backgrounds from; without one, they are procedural.

    Raises:
        FileNotFoundError: A folder holds none of its files.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        models: Path | None = None,
        environments: Path | None = None,
        backgrounds: Path | None = None,
    ) -> None:
        self.domain = domain
        self.library = MeshLibrary(models, variant=domain.variant, worn=domain.worn)
        self._environments = [] if environments is None else environment_files(environments)
        self._backgrounds = [] if backgrounds is None else _image_files(backgrounds)

    def tabletop(
        self,
        arrangement: Rng,
        view: Rng,
        size: tuple[int, int],
        num_objects: tuple[int, int],
        *,
        turn: float = 0.0,
    ) -> Scene:
        """Drop objects of distinct classes, and clutter, on a table, and look at them from above.

        Args:
            arrangement: Draws objects, their poses, table, light, and where the camera's path starts: the same state
                gives the same table again.
            view: Draws the rest: where exactly the camera stands, and the sensor.
            size: Image width and height.
            num_objects: Least and greatest number of objects with a class.
            turn: How far the camera has gone around the table, radians.
        """
        domain = self.domain
        count = int(arrangement.integers(num_objects[0], num_objects[1] + 1))
        classes = [int(i) for i in arrangement.permutation(np.arange(1, len(CLASS_NAMES)))[:count]]
        num_clutter = int(arrangement.integers(domain.clutter[0], domain.clutter[1] + 1))
        meshes = [self.library[i] for i in classes] + [self._clutter(arrangement) for _ in range(num_clutter)]
        order = arrangement.permutation(len(meshes))
        poses = settle([meshes[i] for i in order], arrangement)
        objects = [
            SceneObject(meshes[i], pose, classes[i] if i < count else 0, domain.material(arrangement))
            for i, pose in zip(order, poses, strict=True)
        ]
        environment = self._environment(arrangement)
        extent = float(arrangement.uniform(*domain.half_extent))
        ground = Ground(self._table(arrangement), extent, domain.material(arrangement))
        azimuth, elevation = arrangement.uniform(0, 2 * np.pi), arrangement.uniform(0.5, 1.1)
        distance = arrangement.uniform(*_DISTANCE)
        target = np.mean([item.pose[:3, 3] for item in objects[: max(len(objects), 1)]], axis=0)
        pose = _look_at(
            target + view.normal(0, 0.02, 3),
            azimuth + turn + view.normal(0, 0.03),
            elevation + view.normal(0, 0.03),
            distance * view.uniform(0.93, 1.07),
            roll=view.normal(0, 0.05),
        )
        return Scene(camera_at(*size, pose), objects, environment, ground, sensor=domain.sensor(view))

    def posed(self, rng: Rng, camera: Camera, class_indexes: Sequence[int], poses: FloatArray) -> Scene:
        """Put objects at given poses before a background: the counterpart of a frame with known poses.

        Args:
            rng: Draws materials, light, background and sensor.
            camera: Its intrinsics and size are used; it stands at the origin.
            class_indexes: (n) class of each object, 1 to 21.
            poses: (n, 3, 4) or (n, 4, 4) object to camera, metres.

        Raises:
            ValueError: ``poses`` does not have one pose for each class.
        """
        if poses.ndim != 3 or poses.shape[1:] not in ((3, 4), (4, 4)) or len(poses) != len(class_indexes):
            raise ValueError(
                f"poses must have shape ({len(class_indexes)}, 3, 4), one for each class, got {poses.shape}"
            )
        objects = [
            SceneObject(self.library[int(i)], _rigid(pose), int(i), self.domain.material(rng))
            for i, pose in zip(class_indexes, poses, strict=True)
        ]
        turned = np.eye(4)
        turned[:3, :3] = Rotation.from_euler("x", -np.pi / 2).as_matrix()  # the world's up is the camera's, y = -1
        objects = [SceneObject(o.mesh, turned @ o.pose, o.class_index, o.material) for o in objects]
        standing = Camera(camera.width, camera.height, camera.intrinsics, turned)
        background = self._background(rng, (camera.width, camera.height))
        return Scene(standing, objects, self._environment(rng), background=background, sensor=self.domain.sensor(rng))

    def single(self, rng: Rng, camera: Camera, class_index: int) -> Scene:
        """Put one object, turned at random and nowhere hidden, before a background (multiple arrangements, sec. 4.4).

        Args:
            rng: Draws everything.
            camera: Its intrinsics and size are used; it stands at the origin.
            class_index: 1 to 21.
        """
        mesh = self.library[class_index]
        middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        radius = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
        # Near enough to fill 35 to 85 percent of the image's height, so that its sphere is inside the image.
        filled = rng.uniform(0.35, 0.85)
        focal = camera.intrinsics[1, 1]
        z = 2 * radius * focal / (filled * camera.height) + radius
        margin = 1 - filled
        pixel = np.array([camera.width, camera.height]) * (0.5 + rng.uniform(-0.45, 0.45, 2) * margin)
        center = z * (np.linalg.inv(camera.intrinsics) @ [*pixel, 1.0])
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        pose[:3, 3] = center - pose[:3, :3] @ middle
        return self.posed(rng, camera, [class_index], pose[None])

    def _environment(self, rng: Rng) -> NDArray[np.float32]:
        if not self._environments:
            return self.domain.environment(rng)
        light = load_environment(self._environments[rng.integers(len(self._environments))])
        return np.roll(light, int(rng.integers(light.shape[1])), axis=1)

    def _table(self, rng: Rng) -> Texture:
        if not self._backgrounds:
            return self.domain.table(rng)
        return _read_image(self._backgrounds[rng.integers(len(self._backgrounds))], (512, 512))

    def _clutter(self, rng: Rng) -> Mesh:
        """A box, a can, a cone or a prism of any size and colour, or covered with a picture."""
        texture = surface(rng, 128)
        if self._backgrounds and rng.random() < 0.5:
            texture = _read_image(self._backgrounds[rng.integers(len(self._backgrounds))], (128, 128))
        width, depth, height = rng.uniform(0.03, 0.16, 3)
        kind = int(rng.integers(3))
        if kind == 0:
            parts = box((width, depth, height))
        elif kind == 1:
            top = width / 2 * rng.uniform(0.3, 1)
            parts = [revolve([(0, 0), (width / 2, 0)]), revolve([(width / 2, 0), (top, height), (0, height)])]
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, 3)) + np.array([0, 0.3, 0.6])
            parts = prism(width / 1.5 * np.column_stack([np.cos(angle), np.sin(angle)]), 0, height)
        return assemble("clutter", [(part, texture) for part in parts])

    def _background(self, rng: Rng, size: tuple[int, int]) -> Texture:
        if self._backgrounds:
            return _read_image(self._backgrounds[rng.integers(len(self._backgrounds))], size)
        return np.array(Image.fromarray(self.domain.table(rng)).resize(size, Image.Resampling.BILINEAR))


def _look_at(target: FloatArray, azimuth: float, elevation: float, distance: float, *, roll: float) -> FloatArray:
    """Return the camera-to-world pose that has ``target`` in the middle, seen from above by ``elevation`` radians."""
    direction = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    forward = -direction
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_euler("z", roll).as_matrix()
    pose[:3, 3] = target + distance * direction
    return pose


def _rigid(pose: FloatArray) -> FloatArray:
    full = np.eye(4)
    full[:3] = pose[:3]
    return full


def _image_files(folder: Path) -> list[Path]:
    paths = (
        sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES) if folder.is_dir() else []
    )
    if not paths:
        raise FileNotFoundError(f"{folder}: holds no images")
    return paths


def _read_image(path: Path, size: tuple[int, int]) -> Texture:
    image = Image.fromarray(np.ascontiguousarray(read_color(path)[..., :3]))
    return np.array(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
