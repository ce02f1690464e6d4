"""From light to an image file: exposure, lens and sensor effects, and the sRGB curve."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from correspondence_losses.reference.scenes.scene import Sensor

__all__ = ["automatic_exposure", "develop", "from_srgb", "to_srgb"]

FloatImage = NDArray[np.float32]

_MIDDLE_GREY = 0.2
_VALUE = np.arange(256) / 255
_LIGHT = np.where(_VALUE <= 0.04045, _VALUE / 12.92, ((_VALUE + 0.055) / 1.055) ** 2.4).astype(np.float32)


def develop(light: FloatImage, sensor: Sensor, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn (h, w, 3) linear light, white at 1, into ``uint8`` sRGB as a camera would.

    In the order of a camera: chromatic aberration and blur (lens), exposure and gains, shot and read noise with
    variance ``shot_noise * light + read_noise ** 2`` (sensor), then the sRGB curve.
    """
    light = light * np.float32(2.0**sensor.exposure) * np.asarray(sensor.white_balance, dtype=np.float32)
    if sensor.aberration:
        light = np.stack(
            [
                _scaled(light[..., 0], 1 + sensor.aberration / 2),
                light[..., 1],
                _scaled(light[..., 2], 1 - sensor.aberration / 2),
            ],
            axis=-1,
        )
    if sensor.blur:
        light = gaussian_filter(light, (sensor.blur, sensor.blur, 0))
    deviation = np.sqrt(sensor.shot_noise * np.clip(light, 0, 1) + sensor.read_noise**2)
    light = light + deviation * rng.standard_normal(light.shape, dtype=np.float32)
    return (to_srgb(light) * 255 + 0.5).astype(np.uint8)


def automatic_exposure(light: FloatImage) -> float:
    """Return the gain that brings (..., 3) linear light to middle grey, unless highlights would burn out."""
    if light.size == 0:
        return 1.0
    luminance = light @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    middle = _MIDDLE_GREY / float(np.exp(np.log(luminance + 1e-4).mean()))
    highlights = 1.6 / max(float(np.quantile(luminance, 0.98)), 1e-4)
    return min(middle, highlights)


def to_srgb(light: FloatImage) -> FloatImage:
    """Apply the sRGB curve to linear light, clipped to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def from_srgb(image: NDArray[np.uint8]) -> FloatImage:
    """Return the linear light, 0 to 1, of a ``uint8`` sRGB image."""
    light: FloatImage = _LIGHT[image]
    return light


def _scaled(channel: FloatImage, scale: float) -> FloatImage:
    height, width = channel.shape
    center = np.array([(height - 1) / 2, (width - 1) / 2]).reshape(2, 1, 1)
    grid = np.mgrid[:height, :width]
    scaled: FloatImage = map_coordinates(channel, (grid - center) / scale + center, order=1, mode="nearest")
    return scaled
