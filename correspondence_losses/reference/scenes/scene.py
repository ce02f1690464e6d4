"""What a scene is, and what rendering one gives: the interface between arrangements and renderers.

Units are metres. The world has z up, and the table is its plane z = 0. A camera has x right, y down, z forward, and
pixel centres at integer coordinates, as in YCB-Video.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Camera",
    "Frame",
    "Ground",
    "Material",
    "Mesh",
    "Renderer",
    "Scene",
    "SceneObject",
    "Sensor",
    "ycb_video_camera",
]

FloatArray = NDArray[np.float64]

_YCB_VIDEO_INTRINSICS = np.array([[1066.778, 0.0, 312.9869], [0.0, 1067.487, 241.3109], [0.0, 0.0, 1.0]])
_YCB_VIDEO_SIZE = (640, 480)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        intrinsics: (3, 3) camera matrix, in pixels; pixel centres are integers.
        pose: (4, 4) camera to world, metres.
    """

    width: int
    height: int
    intrinsics: FloatArray
    pose: FloatArray = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width and height must be at least 1, got {self.width} and {self.height}")
        if self.intrinsics.shape != (3, 3):
            raise ValueError(f"intrinsics must have shape (3, 3), got {self.intrinsics.shape}")
        _check_pose("pose", self.pose)

    @property
    def world_to_camera(self) -> FloatArray:
        """(4, 4) world to camera."""
        inverse: FloatArray = np.linalg.inv(self.pose).astype(np.float64)
        return inverse

    def rays(self) -> FloatArray:
        """Return (height, width, 3) directions through the pixel centres, in the camera frame, with z = 1."""
        x, y = np.meshgrid(np.arange(self.width), np.arange(self.height))
        pixels = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
        return pixels @ np.linalg.inv(self.intrinsics).T


def ycb_video_camera(width: int, height: int, pose: FloatArray | None = None) -> Camera:
    """Return YCB-Video's camera at another resolution.

    An image that is smaller by a factor s sees the same rays where ``f' = f s`` and ``c' = (c + 1/2) s - 1/2``: the
    half pixel is there because pixel centres, not pixel corners, are integers.

    Example:
        >>> ycb_video_camera(320, 240).intrinsics.round(3).tolist()
        [[533.389, 0.0, 156.243], [0.0, 533.744, 120.405], [0.0, 0.0, 1.0]]
    """
    scale_x, scale_y = width / _YCB_VIDEO_SIZE[0], height / _YCB_VIDEO_SIZE[1]
    (fx, _, cx), (_, fy, cy), _ = _YCB_VIDEO_INTRINSICS.tolist()
    intrinsics = np.array(
        [
            [fx * scale_x, 0.0, (cx + 0.5) * scale_x - 0.5],
            [0.0, fy * scale_y, (cy + 0.5) * scale_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    return Camera(width, height, intrinsics, np.eye(4) if pose is None else pose)


@dataclass(frozen=True, eq=False)
class Mesh:
    """A textured triangle mesh.

    Attributes:
        name: Name of the object.
        vertices: (n, 3) metres, in the object frame.
        faces: (m, 3) vertex indices.
        normals: (n, 3) unit vertex normals.
        uv: (n, 2) texture coordinates; (0, 0) is the texture's bottom left corner, as in OBJ files.
        texture: (h, w, 3) ``uint8`` sRGB.
    """

    name: str
    vertices: FloatArray
    faces: NDArray[np.int64]
    normals: FloatArray
    uv: FloatArray
    texture: NDArray[np.uint8]


@dataclass(frozen=True)
class Material:
    """How a surface reflects, besides its texture: parameters of the principled model, each 0 to 1."""

    roughness: float = 0.6
    specular: float = 0.4
    metallic: float = 0.0
    clearcoat: float = 0.0


@dataclass(frozen=True, eq=False)
class SceneObject:
    """An object that stands in a scene.

    Attributes:
        mesh: Its shape and texture.
        pose: (4, 4) object to world.
        class_index: Its label, 1 to 255; 0 is clutter, which hides objects but has no label and no pose.
        material: How its surface reflects.
    """

    mesh: Mesh
    pose: FloatArray
    class_index: int
    material: Material = field(default_factory=Material)

    def __post_init__(self) -> None:
        _check_pose("pose", self.pose)
        if not 0 <= self.class_index <= 255:
            raise ValueError(f"class_index must lie in [0, 255], got {self.class_index}")


@dataclass(frozen=True, eq=False)
class Ground:
    """The table: a square on the world's plane z = 0, centred at the origin.

    Attributes:
        texture: (h, w, 3) ``uint8`` sRGB; seen from above with x to the right, y is up in it.
        half_extent: Half of its side, metres.
        material: How its surface reflects.
    """

    texture: NDArray[np.uint8]
    half_extent: float = 1.5
    material: Material = field(default_factory=Material)


@dataclass(frozen=True)
class Sensor:
    """What a camera does to the light that reaches it.

    Attributes:
        exposure: Stops above or below the automatic exposure.
        white_balance: Gains of red, green and blue.
        blur: Standard deviation of the blur, pixels.
        aberration: Relative difference in size of the red and the blue image.
        shot_noise: Variance of the noise at white, relative to white; it falls with the light.
        read_noise: Standard deviation of the noise in the dark, relative to white.
    """

    exposure: float = 0.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.0
    aberration: float = 0.0
    shot_noise: float = 0.0
    read_noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a renderer needs.

    Attributes:
        camera: Where from.
        objects: What stands there.
        environment: (h, 2h, 3) ``float32`` radiance from everywhere: a panorama, as
            :func:`.lighting.environment_directions` has it.
        ground: The table, or none.
        background: (height, width, 3) ``uint8`` sRGB image behind everything; without one, the environment is seen.
        sensor: What the camera does to the light.
    """

    camera: Camera
    objects: Sequence[SceneObject]
    environment: NDArray[np.float32]
    ground: Ground | None = None
    background: NDArray[np.uint8] | None = None
    sensor: Sensor = field(default_factory=Sensor)

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width, 3)
        if self.background is not None and self.background.shape != shape:
            raise ValueError(f"background must have shape {shape}, got {self.background.shape}")

    def object_poses(self) -> FloatArray:
        """(n, 4, 4) object to camera, of every object."""
        world_to_camera = self.camera.world_to_camera
        return np.array([world_to_camera @ item.pose for item in self.objects]).reshape(-1, 4, 4)


@dataclass(frozen=True, eq=False)
class Frame:
    """A rendered scene.

    Attributes:
        color: (height, width, 3) ``uint8`` sRGB.
        label: (height, width) ``uint8`` class of the object at each pixel; 0 where there is none.
        instance: (height, width) ``int32``: 1 + the index of the scene's object; 0 where there is none.
        depth: (height, width) ``float32`` z in the camera frame, metres; 0 where nothing stands.
        coordinates: (height, width, 3) ``float32`` point seen, in its object's own frame, metres; 0 where label is 0.
        class_indexes: (n,) ``int64`` class of each labelled object that is seen.
        poses: (n, 3, 4) object to camera of each of them, metres.
        camera: The scene's camera.
    """

    color: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    depth: NDArray[np.float32]
    coordinates: NDArray[np.float32]
    class_indexes: NDArray[np.int64]
    poses: FloatArray
    camera: Camera


class Renderer(Protocol):
    """Anything that turns a scene into a frame."""

    def render(self, scene: Scene, *, seed: int) -> Frame:
        """Render a scene; the same scene and seed give the same frame."""
        ...


def _check_pose(name: str, pose: FloatArray) -> None:
    if pose.shape != (4, 4):
        raise ValueError(f"{name} must have shape (4, 4), got {pose.shape}")
    if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3) or np.linalg.det(pose[:3, :3]) < 0:
        raise ValueError(f"{name} must be a rigid motion, got rotation part {pose[:3, :3].tolist()}")
