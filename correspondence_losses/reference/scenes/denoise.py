"""Smooths the light of a path-traced image, and leaves its textures and edges as they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.guides import Guides
from correspondence_losses.reference.scenes.rasterize import Fragments

__all__ = ["denoise"]

FloatImage = NDArray[np.float32]

_LEVELS = 4
_RANGE = 0.9
_DEPTH = 0.01
_BEND = 8.0
_DARKEST = 0.02


def denoise(light: FloatImage, fragments: Fragments, guides: Guides) -> FloatImage:
    """Filter the irradiance of an image with few samples a pixel, guided by what is known without noise.

    The light is divided by the surfaces' colours, filtered by 3 x 3 kernels whose taps lie 1, 2, 4 and 8 pixels apart
    (an edge-avoiding wavelet; Dammertz et al. 2010), and multiplied by the colours again. A neighbour counts as far as
    it is of the same object, and near in depth, in normal and in light.

    Args:
        light: (h, w, 3) linear light.
        fragments: What is seen at each pixel.
        guides: Its colours and normals.

    Returns:
        (h, w, 3) the smoothed light.
    """
    albedo = np.maximum(guides.albedo, _DARKEST)
    instance = fragments.instance.astype(np.int32)
    depth = fragments.depth.astype(np.float32)
    # In the logarithm, a few samples that found a lamp by chance do not outweigh their neighbours.
    irradiance = np.log1p(np.maximum(light, 0) / albedo)
    rows, columns = depth.shape
    tolerance = _DEPTH * np.maximum(depth, 0.1)
    for level in range(_LEVELS):
        step = 2**level
        images = [_padded(image, step) for image in (irradiance, instance, depth, guides.normal)]
        total, weights = np.zeros_like(irradiance), np.zeros_like(depth)
        for dy in range(3):
            for dx in range(3):
                window = np.s_[dy * step : dy * step + rows, dx * step : dx * step + columns]
                value, other, other_depth, other_normal = (image[window] for image in images)
                contrast = _sum(np.abs(value - irradiance)) / (3 * _RANGE / 2**level)
                bend = _BEND * (1 - _sum(guides.normal * other_normal))
                weight = np.exp(-(contrast**2) - np.abs(other_depth - depth) / (tolerance * step) - bend)
                weight *= (other == instance) * np.float32((2 - abs(dy - 1)) * (2 - abs(dx - 1)))
                weights += weight
                total += weight[..., None] * value
        irradiance = total / weights[..., None]
    smoothed: FloatImage = np.expm1(irradiance) * albedo
    return smoothed


def _sum(image: FloatImage) -> FloatImage:
    """Return the sum of three channels; NumPy's own takes many times as long for so few."""
    total: FloatImage = image[..., 0] + image[..., 1] + image[..., 2]
    return total


def _padded(image: NDArray[Any], step: int) -> NDArray[Any]:
    return np.pad(image, [(step, step), (step, step)] + [(0, 0)] * (image.ndim - 2), mode="edge")
