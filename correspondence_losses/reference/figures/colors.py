"""Labels, segments and feature maps as colours."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

__all__ = ["PALETTE", "colorize", "colorize_segments", "component_images", "projection_image"]

PALETTE: NDArray[np.uint8] = np.concatenate([
    np.zeros((1, 3), np.uint8),
    (np.asarray(colormaps["tab20"].colors) * 255).astype(np.uint8),  # type: ignore[attr-defined]
    np.array([[255, 255, 255]], np.uint8),
    np.random.default_rng(0).integers(40, 256, (234, 3), np.uint8),
])  # fmt: skip
"""(256, 3) colours of classes, the background black; the first 22 are for YCB-Video's."""


def colorize(label: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Class map (H, W) to colours (H, W, 3)."""
    colors: NDArray[np.uint8] = PALETTE[label]
    return colors


def colorize_segments(image: NDArray[np.uint8], segments: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Lay a colour for each segment over its image (H, W, 3), with borders in white; no segment stays as it is."""
    colors = np.random.default_rng(0).integers(0, 256, (int(segments.max()) + 1, 3))
    blended = np.where(segments[..., None] > 0, (image.astype(np.int64) + 2 * colors[segments]) // 3, image)
    border = np.zeros(segments.shape, bool)
    border[:, 1:] |= segments[:, 1:] != segments[:, :-1]
    border[1:] |= segments[1:] != segments[:-1]
    blended[border] = 255
    return blended.astype(np.uint8)


def projection_image(projection: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Show a projection (d, H, W) as an image, each channel stretched from its 1st to its 99th percentile.

    Of more than three channels it shows the first three principal components; of fewer, the last one again.
    """
    return component_images(projection[None])[0] if len(projection) > 3 else _as_colors(projection)


def component_images(maps: NDArray[np.floating]) -> list[NDArray[np.uint8]]:
    """Show feature maps (n, d, h, w) as images by their first three principal components (fig. 3.6).

    Components and colours are those of all maps together, so that equal features have equal colours.
    """
    wide = np.concatenate(list(maps), axis=-1)
    vectors = wide.reshape(len(wide), -1).astype(np.float64)
    vectors -= vectors.mean(axis=1, keepdims=True)
    directions = np.linalg.eigh(vectors @ vectors.T)[1][:, :-4:-1]
    image = _as_colors((directions.T @ vectors).reshape(-1, *wide.shape[1:]))
    return np.split(image, len(maps), axis=1)


def _as_colors(channels: NDArray[np.floating]) -> NDArray[np.uint8]:
    """One to three channels (d, H, W), each stretched, as red, green and blue; what is missing is the last again."""
    channels = channels[np.minimum(range(3), len(channels) - 1)]
    low, high = np.percentile(channels, [1, 99], axis=(1, 2), keepdims=True)
    stretched = (channels - low) / np.maximum(high - low, 1e-8)
    image: NDArray[np.uint8] = (255 * np.clip(stretched, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    return image
