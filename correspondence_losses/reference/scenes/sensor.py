"""From light to an image file: exposure, lens and sensor effects, and the sRGB curve."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from correspondence_losses.reference.scenes.scene import Sensor

__all__ = ["automatic_exposure", "develop", "from_srgb", "to_srgb"]

FloatImage = NDArray[np.float32]

_TYPICAL = 0.8
_BRIGHTEST = 1.6
_DARKEST = 0.02
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
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


def automatic_exposure(light: FloatImage, albedo: FloatImage) -> float:
    """Meter the light that falls on surfaces, not what they reflect: a black object stays black, alone as in a group.

    Args:
        light: (n, 3) linear light of the surfaces seen.
        albedo: (n, 3) their colours.

    Returns:
        The gain that shows a surface under the typical light at 0.8 of its colour, unless highlights would burn out.
    """
    if light.size == 0:
        return 1.0
    typical = float(np.exp(np.log((light @ _LUMINANCE + 1e-4) / (albedo @ _LUMINANCE + _DARKEST)).mean()))
    highlights = float(np.quantile(light @ _LUMINANCE, 0.98))
    return min(_TYPICAL / typical, _BRIGHTEST / max(highlights, 1e-4))


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
