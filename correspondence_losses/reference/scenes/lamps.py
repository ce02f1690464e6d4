"""An environment as a few lamps and even light, for a renderer that cannot take images of radiance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.lighting import environment_directions
from correspondence_losses.reference.scenes.scene import FloatArray

__all__ = ["Lamps", "lamps"]

_SPREAD = np.cos(np.radians(30))


class Lamps(NamedTuple):
    """Light that is even but for lamps which are infinitely far away.

    Attributes:
        ambient: (3,) radiance that comes from everywhere.
        directions: (n, 3) unit directions in the world, toward the lamps; the brightest spot is the first.
        irradiance: (n, 3) of a surface that faces the lamp.
    """

    ambient: FloatArray
    directions: FloatArray
    irradiance: FloatArray


def lamps(environment: NDArray[np.float32], count: int) -> Lamps:
    """Find the lamps of an environment.

    What exceeds twice the mean radiance comes from lamps. The excess within 30 degrees of the brightest spot makes one
    lamp, that around the brightest spot of the rest the next; all other light is spread evenly.

    Args:
        environment: (h, w, 3) radiance from everywhere, as :func:`.lighting.environment_directions` has it.
        count: Largest number of lamps.
    """
    height, width = environment.shape[:2]
    directions = environment_directions(height, width)
    edges = np.clip(np.arange(height + 1) - 0.5, 0, height - 1) / max(height - 1, 1) * np.pi
    solid_angle = (-np.diff(np.cos(edges)) * 2 * np.pi / width)[:, None, None]
    power = environment * solid_angle
    total = power.sum(axis=(0, 1))
    excess = np.maximum(environment - 2 * total / (4 * np.pi), 0)
    toward, irradiance = [], []
    for _ in range(count):
        brightness = excess.mean(axis=-1)
        if not brightness.any():
            break
        peak = np.unravel_index(brightness.argmax(), brightness.shape)
        near = directions @ directions[peak] > _SPREAD
        taken = (excess * solid_angle)[near]
        center = taken.mean(axis=-1) @ directions[near]
        toward.append(center / np.linalg.norm(center))
        irradiance.append((directions[near] @ toward[-1]) @ taken)
        total = total - taken.sum(axis=0)
        excess[near] = 0
    return Lamps(total / (4 * np.pi), np.array(toward).reshape(-1, 3), np.array(irradiance).reshape(-1, 3))
