"""Exact label, depth and object coordinates at pixel centres, by rasterisation with a z-buffer.

A path tracer samples somewhere inside a pixel. Annotations must hold at its centre: the object coordinates of a pixel,
moved by the object's pose and projected, land on that very pixel. The colours come from the path tracer, everything
else from here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.scene import Camera, FloatArray, Ground, Mesh, Scene

__all__ = ["Annotation", "Fragments", "annotate", "ground_depth", "project", "rasterize"]

_NEAR = 0.01


class Fragments(NamedTuple):
    """What the ray through each pixel centre meets first.

    Attributes:
        instance: (height, width) 1 + the index of the object; 0 where there is none.
        depth: (height, width) z in the camera frame, metres, of objects and table; 0 where there is neither.
        triangle: (height, width) face of the object.
        weights: (height, width, 3) of the face's corners: attributes of the point are their weighted sums.
    """

    instance: NDArray[np.int64]
    depth: FloatArray
    triangle: NDArray[np.int64]
    weights: FloatArray

    def interpolate(self, index: int, faces: NDArray[np.int64], attribute: FloatArray) -> FloatArray:
        """Return the attribute (n, c) of object ``index``'s vertices at its pixels, in row-major order."""
        mask = self.instance == index + 1
        value: FloatArray = np.einsum("ki,kic->kc", self.weights[mask], attribute[faces[self.triangle[mask]]])
        return value


class Annotation(NamedTuple):
    """Everything of a :class:`Frame` that the colours are not (the fields of the same names)."""

    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    depth: NDArray[np.float32]
    coordinates: NDArray[np.float32]
    class_indexes: NDArray[np.int64]
    poses: FloatArray


def annotate(scene: Scene, fragments: Fragments | None = None) -> Annotation:
    """Return what stands at each pixel of a scene, and the poses of the labelled objects that are seen.

    Args:
        scene: The scene.
        fragments: Those of the scene, where they are known already.
    """
    fragments = rasterize(scene) if fragments is None else fragments
    classes = np.array([0] + [item.class_index for item in scene.objects])
    coordinates = np.zeros((*fragments.depth.shape, 3), dtype=np.float32)
    seen = []
    for index, item in enumerate(scene.objects):
        mask = fragments.instance == index + 1
        if item.class_index > 0 and mask.any():
            seen.append(index)
            coordinates[mask] = fragments.interpolate(index, item.mesh.faces, item.mesh.vertices)
    return Annotation(
        label=classes[fragments.instance].astype(np.uint8),
        instance=fragments.instance.astype(np.int32),
        depth=fragments.depth.astype(np.float32),
        coordinates=coordinates,
        class_indexes=classes[1:][seen],
        poses=scene.object_poses()[seen, :3],
    )


def rasterize(scene: Scene) -> Fragments:
    """Find the nearest surface along the ray through each pixel centre.

    A pixel lies in a triangle where its barycentric coordinates b in the image are not negative. There 1/z is linear in
    the image: ``z = 1 / sum(b_i / z_i)``, and the weights of the corners are ``z b_i / z_i``. Both sides of a triangle
    count. Triangles that reach nearer than 1 cm before the camera, or behind it, are left out.
    """
    camera = scene.camera
    shape = camera.height, camera.width
    depth = np.zeros(shape) if scene.ground is None else ground_depth(camera, scene.ground)
    nearest = np.where(depth > 0, depth, np.inf).ravel()
    instance, triangle = np.zeros((2, nearest.size), dtype=np.int64)
    weights = np.zeros((nearest.size, 3))
    for index, (item, pose) in enumerate(zip(scene.objects, scene.object_poses(), strict=True)):
        hit = _scan(camera, item.mesh, pose)
        np.minimum.at(nearest, hit.pixel, hit.depth)
        wins = hit.depth == nearest[hit.pixel]
        pixel = hit.pixel[wins]
        instance[pixel] = index + 1
        triangle[pixel] = hit.triangle[wins]
        weights[pixel] = hit.weights[wins]
    depth = np.where(np.isfinite(nearest), nearest, 0.0)
    return Fragments(instance.reshape(shape), depth.reshape(shape), triangle.reshape(shape), weights.reshape(*shape, 3))


def project(camera: Camera, points: FloatArray) -> FloatArray:
    """Return the pixel positions (n, 2) of points (n, 3) in the camera frame; not those within 1 cm or behind it."""
    z = points[:, 2:]
    image: FloatArray = (points @ camera.intrinsics.T)[:, :2] / np.where(z > _NEAR, z, np.inf)
    return image


def ground_depth(camera: Camera, ground: Ground) -> FloatArray:
    """Return (height, width) z of the table along each pixel's ray, 0 where the ray misses it."""
    rays = camera.rays() @ camera.pose[:3, :3].T
    origin = camera.pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):  # rays along the table never meet it
        depth = -origin[2] / rays[..., 2]
        offset = np.abs(origin[:2] + depth[..., None] * rays[..., :2]).max(axis=-1)
    return np.where((depth > _NEAR) & (offset <= ground.half_extent), depth, 0.0)


class _Hits(NamedTuple):
    pixel: NDArray[np.int64]
    depth: FloatArray
    triangle: NDArray[np.int64]
    weights: FloatArray


def _scan(camera: Camera, mesh: Mesh, pose: FloatArray) -> _Hits:
    """Return every pair of a triangle and a pixel centre inside it."""
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    z = points[:, 2]
    kept = np.flatnonzero((z > _NEAR)[mesh.faces].all(axis=1))
    faces = mesh.faces[kept]
    corners = project(camera, points)[faces]
    limit = np.array([camera.width - 1, camera.height - 1])
    low = np.ceil(np.clip(corners.min(axis=1), 0, limit + 1)).astype(np.int64)
    high = np.floor(np.clip(corners.max(axis=1), -1, limit)).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)

    # One row for each (triangle, pixel of its bounding box); most triangles of a scan cover no centre or one.
    counts = extent.prod(axis=1)
    owner = np.repeat(np.arange(len(faces)), counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pixel = np.stack([low[owner, 0] + step % extent[owner, 0], low[owner, 1] + step // extent[owner, 0]], axis=1)

    a, b, c = (corners[owner, i] for i in range(3))
    area = _cross(b - a, c - a)
    opposite = np.stack([_cross(b - pixel, c - pixel), _cross(c - pixel, a - pixel), _cross(a - pixel, b - pixel)], 1)
    inside = (opposite * np.sign(area)[:, None] >= 0).all(axis=1) & (area != 0)
    owner, pixel = owner[inside], pixel[inside]
    weights = opposite[inside] / area[inside, None] / z[faces[owner]]
    depth = 1 / weights.sum(axis=1)
    return _Hits(pixel[:, 1] * camera.width + pixel[:, 0], depth, kept[owner], weights * depth[:, None])


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    cross: FloatArray = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return cross
