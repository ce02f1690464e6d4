"""Surfaces with texture coordinates: turned profiles, boxes and tubes, and how parts become one mesh."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.scene import FloatArray, Mesh

__all__ = ["Part", "assemble", "box", "prism", "revolve", "tube", "vertex_normals"]


class Part(NamedTuple):
    """A surface: vertices (n, 3) in metres, faces (m, 3), texture coordinates (n, 2) in [0, 1]."""

    vertices: FloatArray
    faces: NDArray[np.int64]
    uv: FloatArray

    def moved(self, offset: Sequence[float], rotation: FloatArray | None = None) -> "Part":
        """Return the part rotated by a (3, 3) matrix, then moved."""
        vertices = self.vertices if rotation is None else self.vertices @ rotation.T
        return self._replace(vertices=vertices + np.asarray(offset, dtype=np.float64))


def revolve(profile: Sequence[tuple[float, float]], *, scale: tuple[float, float] = (1, 1), segments: int = 40) -> Part:
    """Turn a profile of (radius, z) about the z axis; ``scale`` flattens the circle to an ellipse."""
    radius, z = np.asarray(profile, dtype=np.float64).T
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    x = scale[0] * np.outer(radius, np.cos(angle))
    y = scale[1] * np.outer(radius, np.sin(angle))
    rings = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1)
    return _grid(rings, _arc_length(np.asarray(profile)), np.linspace(0, 1, segments + 1))


def prism(outline: FloatArray, z_low: float, z_high: float) -> list[Part]:
    """Extrude a convex, closed (n, 2) outline along z: the side, the bottom and the top."""
    closed = np.vstack([outline, outline[:1]])
    heights = np.array([z_low, z_high])
    rings = np.stack([np.column_stack([closed, np.full(len(closed), h)]) for h in heights])
    side = _grid(rings, np.array([0.0, 1.0]), _arc_length(closed))
    low, size = outline.min(axis=0), np.ptp(outline, axis=0)
    fan = np.column_stack([np.zeros(len(outline) - 2, int), np.arange(1, len(outline) - 1), np.arange(2, len(outline))])
    caps = [
        Part(np.column_stack([outline, np.full(len(outline), h)]), faces, (outline - low) / size)
        for h, faces in ((z_low, fan[:, ::-1]), (z_high, fan))
    ]
    return [side, *caps]


def box(size: Sequence[float]) -> list[Part]:
    """Return the faces of a box about the origin, each with its own vertices: -x, +x, -y, +y, -z, +z."""
    half = np.asarray(size, dtype=np.float64) / 2
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    parts = []
    for axis, (right, up) in enumerate((((0, 1, 0), (0, 0, 1)), ((1, 0, 0), (0, 0, 1)), ((1, 0, 0), (0, 1, 0)))):
        for sign in (-1, 1):
            outward = np.eye(3)[axis] * sign
            across = np.asarray(right) * np.sign(np.dot(np.cross(right, up), outward))
            span = 2 * corners - 1
            vertices = (outward + span[:, :1] * across + span[:, 1:] * np.asarray(up)) * half
            parts.append(Part(vertices, np.array([[0, 1, 2], [0, 2, 3]]), corners))
    return parts


def tube(path: FloatArray, radius: float | FloatArray, *, segments: int = 16, flatten: float = 1.0) -> Part:
    """Sweep a circle along a (n, 3) path; ``radius`` may vary along it, and ``flatten`` shrinks it along z."""
    path = np.asarray(path, dtype=np.float64)
    radius = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # The paths here are planar or nearly so: one reference direction serves along all of them.
    spread = np.linalg.svd(path - path.mean(axis=0), full_matrices=True)[2]
    reference = spread[2]
    side = np.cross(tangent, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    normal = np.cross(side, tangent)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    circle = np.cos(angle)[None, :, None] * side[:, None] + flatten * np.sin(angle)[None, :, None] * normal[:, None]
    rings = path[:, None] + radius[:, None, None] * circle
    ends = [np.broadcast_to(path[i], rings[:1].shape) for i in (0, -1)]
    rings = np.concatenate([ends[0], rings, ends[1]])
    return _grid(rings, np.linspace(0, 1, len(rings)), np.linspace(0, 1, segments + 1))


def assemble(name: str, parts: Sequence[tuple[Part, NDArray[np.uint8]]]) -> Mesh:
    """Join parts into one mesh, centred at its bounding box, with their square textures side by side in one."""
    side = parts[0][1].shape[0]
    tiles: list[NDArray[np.uint8]] = []
    columns: list[int] = []
    for _, tile in parts:
        if tile.shape != (side, side, 3):
            raise ValueError(f"textures must all have shape {(side, side, 3)}, got {tile.shape}")
        column = next((i for i, known in enumerate(tiles) if known is tile), len(tiles))
        if column == len(tiles):
            tiles.append(tile)
        columns.append(column)
    vertices = np.concatenate([part.vertices for part, _ in parts])
    vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    offsets = np.cumsum([0] + [len(part.vertices) for part, _ in parts[:-1]])
    faces = np.concatenate([part.faces + offset for (part, _), offset in zip(parts, offsets, strict=True)])
    # Half a texel stays free at a tile's border, so that bilinear filtering never reads from its neighbour.
    inset = [0.5 / side + part.uv * (1 - 1 / side) for part, _ in parts]
    moved = [at + np.array([column, 0]) for at, column in zip(inset, columns, strict=True)]
    uv = np.concatenate(moved) / [len(tiles), 1]
    normals = vertex_normals(vertices, faces)
    return Mesh(name, vertices, faces, normals, uv, np.concatenate(tiles, axis=1))


def vertex_normals(vertices: FloatArray, faces: NDArray[np.int64], *, weld: bool = False) -> FloatArray:
    """Return (n, 3) unit normals, the area-weighted mean of the faces around each vertex.

    Args:
        vertices: (n, 3) metres.
        faces: (m, 3) vertex indices.
        weld: Whether vertices at one place (closer than 10 micrometres) share a normal, as where a texture is cut.
    """
    corners = vertices[faces]
    weighted = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    owner = np.arange(len(vertices))
    if weld:
        owner = np.unique((vertices * 1e5).round().astype(np.int64), axis=0, return_inverse=True)[1].reshape(-1)
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(normals, owner[faces[:, corner]], weighted)
    normals = normals[owner]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def _grid(rings: FloatArray, rows: FloatArray, columns: FloatArray) -> Part:
    """Join (r, c, 3) points to a sheet; rows give v and columns give u."""
    r, c = rings.shape[:2]
    index = np.arange(r * c).reshape(r, c)
    a, b, d, e = (at.ravel() for at in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    faces = np.concatenate([np.column_stack([a, b, e]), np.column_stack([a, e, d])])
    vertices = rings.reshape(-1, 3)
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    u, v = np.meshgrid(columns, rows)
    return Part(vertices, faces[area > 0], np.column_stack([u.ravel(), v.ravel()]))


def _arc_length(points: FloatArray) -> FloatArray:
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    fraction: FloatArray = length / length[-1]
    return fraction
