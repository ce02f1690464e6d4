"""Two domains: what scenes of each look like.

``SYNTHETIC`` stands for what a renderer gives: plain light, materials and tables at random, a perfect camera.
``TARGET`` stands for what a camera would see: rooms, other specimens of the objects, clutter, an imperfect sensor. It
is rendered like the other, and is never to be called real: it is a stand-in, so that adaptation from one domain to
another can be measured on one machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.scenes.lighting import room_environment, studio_environment
from correspondence_losses.reference.scenes.scene import Material, Sensor
from correspondence_losses.reference.scenes.textures import Texture, surface, wood

__all__ = ["SYNTHETIC", "TARGET", "Domain"]

Rng = np.random.Generator


@dataclass(frozen=True)
class Domain:
    """How the scenes of a domain are drawn.

    Attributes:
        name: ``"synthetic"`` or ``"target"``.
        variant: Which specimens of the procedural objects.
        worn: Whether textures are faded and soiled.
        clutter: Least and greatest number of objects without a class.
        half_extent: Least and greatest half side of the table, metres: a small one shows what is behind it.
        environment: Draws the light.
        table: Draws the texture of the table.
        material: Draws how an object reflects.
        sensor: Draws what the camera does to the light.
    """

    name: str
    variant: int
    worn: bool
    clutter: tuple[int, int]
    half_extent: tuple[float, float]
    environment: Callable[[Rng], NDArray[np.float32]]
    table: Callable[[Rng], Texture]
    material: Callable[[Rng], Material]
    sensor: Callable[[Rng], Sensor]


def _any_material(rng: Rng) -> Material:
    return Material(
        roughness=float(rng.uniform(0.15, 1.0)),
        specular=float(rng.uniform(0.0, 0.9)),
        metallic=float(rng.uniform(0.0, 0.6)) if rng.random() < 0.15 else 0.0,
        clearcoat=float(rng.uniform(0.0, 1.0)) if rng.random() < 0.3 else 0.0,
    )


def _likely_material(rng: Rng) -> Material:
    return Material(roughness=float(rng.uniform(0.35, 0.8)), specular=float(rng.uniform(0.3, 0.6)))


def _perfect_sensor(rng: Rng) -> Sensor:
    return Sensor(exposure=float(rng.uniform(-0.2, 0.3)))


def _webcam(rng: Rng) -> Sensor:
    warmth, tint = rng.normal(0, 0.06), rng.normal(0, 0.03)
    return Sensor(
        exposure=float(rng.uniform(-0.9, 0.5)),
        white_balance=(float(1 + warmth), float(1 + tint), float(1 - warmth)),
        blur=float(rng.uniform(0.3, 0.9)),
        aberration=float(rng.uniform(-0.004, 0.004)),
        shot_noise=float(rng.uniform(0.0003, 0.002)),
        read_noise=float(rng.uniform(0.002, 0.01)),
    )


def _any_table(rng: Rng) -> Texture:
    """A random texture, or wood in a quarter of the cases: a wooden table should not be taken for a wooden object."""
    return _wooden(rng) if rng.random() < 0.25 else surface(rng)


def _table_top(rng: Rng) -> Texture:
    """Wood, or a dull cloth or board."""
    if rng.random() < 0.7:
        return _wooden(rng)
    texture = surface(rng, 512).astype(np.float32)
    grey = texture.mean(axis=-1, keepdims=True)
    cloth: Texture = (0.7 * grey + 0.3 * texture).astype(np.uint8)
    return cloth


def _wooden(rng: Rng) -> Texture:
    base = rng.uniform(60, 200)
    light = tuple(int(c) for c in np.clip(base * np.array([1.0, 0.8, 0.6]) + rng.normal(0, 12, 3), 5, 250))
    dark = tuple(int(c * 0.7) for c in light)
    return wood(rng, ((light[0], light[1], light[2]), (dark[0], dark[1], dark[2])), float(rng.uniform(8, 30)), 512)


SYNTHETIC = Domain(
    name="synthetic",
    variant=0,
    worn=False,
    clutter=(0, 4),
    half_extent=(0.2, 1.0),
    environment=studio_environment,
    table=_any_table,
    material=_any_material,
    sensor=_perfect_sensor,
)

TARGET = Domain(
    name="target",
    variant=1,
    worn=True,
    clutter=(2, 5),
    half_extent=(0.8, 1.8),
    environment=room_environment,
    table=_table_top,
    material=_likely_material,
    sensor=_webcam,
)
