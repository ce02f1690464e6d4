"""The colour and the normal of the surface at each pixel, without noise: what the denoiser is guided by."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from correspondence_losses.reference.scenes.rasterize import Fragments, project
from correspondence_losses.reference.scenes.scene import FloatArray, Scene, SceneObject
from correspondence_losses.reference.scenes.sensor import from_srgb

__all__ = ["Guides", "surface_guides"]

FloatImage = NDArray[np.float32]


class Guides(NamedTuple):
    """What is known of the surfaces seen.

    Attributes:
        albedo: (height, width, 3) linear colour of the texture; 1 where no surface is.
        normal: (height, width, 3) unit normal in the object's or the world's frame; 0 where no surface is.
    """

    albedo: FloatImage
    normal: FloatImage


def surface_guides(scene: Scene, fragments: Fragments) -> Guides:
    """Look up texture and normal at the pixel centres; textures are averaged over about a pixel's footprint."""
    shape = fragments.depth.shape
    albedo, normal = np.ones((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    if scene.ground is not None:
        camera, ground = scene.camera, scene.ground
        mask = (fragments.instance == 0) & (fragments.depth > 0)
        rays = camera.rays()[mask] @ camera.pose[:3, :3].T
        point = camera.pose[:2, 3] + fragments.depth[mask][:, None] * rays[:, :2]
        albedo[mask] = _look_up(from_srgb(ground.texture), (point / ground.half_extent + 1) / 2)
        normal[mask] = [0, 0, 1]
    for index, (item, pose) in enumerate(zip(scene.objects, scene.object_poses(), strict=True)):
        mask = fragments.instance == index + 1
        if not mask.any():
            continue
        mesh = item.mesh
        uv = fragments.interpolate(index, mesh.faces, mesh.uv)
        level = _level_of_detail(scene, item, pose)[fragments.triangle[mask]]
        colors = np.empty((len(uv), 3), np.float32)
        texture = from_srgb(mesh.texture)
        for step in range(int(level.max()) + 1):
            chosen = level == step
            if chosen.any():
                colors[chosen] = _look_up(_reduced(texture, 2**step), uv[chosen])
        albedo[mask] = colors
        normal[mask] = fragments.interpolate(index, mesh.faces, mesh.normals)
    return Guides(albedo, normal)


def _level_of_detail(scene: Scene, item: SceneObject, pose: FloatArray) -> NDArray[np.int64]:
    """Return for each face how often its texture must be halved until a texel is about a pixel."""
    mesh = item.mesh
    image = project(scene.camera, mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
    texels = mesh.uv * [mesh.texture.shape[1], mesh.texture.shape[0]]
    ratio = _area(texels[mesh.faces]) / np.maximum(_area(image[mesh.faces]), 1e-9)
    limit = int(np.log2(min(mesh.texture.shape[:2])))
    return np.clip(np.round(np.log2(np.maximum(ratio, 1)) / 2), 0, limit).astype(np.int64)


def _area(corners: FloatArray) -> FloatArray:
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area: FloatArray = np.abs(ax * by - ay * bx)
    return area


def _reduced(texture: FloatImage, factor: int) -> FloatImage:
    """Return the means of blocks of factor x factor texels."""
    rows, columns = texture.shape[0] // factor, texture.shape[1] // factor
    whole = texture[: rows * factor, : columns * factor]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def _look_up(texture: FloatImage, uv: FloatArray) -> FloatImage:
    height, width = texture.shape[:2]
    row, column = (1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5
    channels = [map_coordinates(texture[..., i], [row, column], order=1, mode="nearest") for i in range(3)]
    return np.stack(channels, axis=-1)
