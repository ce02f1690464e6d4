"""Twenty-one procedural objects that stand for those of YCB-Video: the same classes, order and sizes.

They are told apart by shape and by texture, as the originals are. They are stand-ins: a model trained on them has not
seen the YCB objects.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from correspondence_losses.reference.data.ycb_classes import CLASS_NAMES
from correspondence_losses.reference.scenes.scene import FloatArray, Mesh
from correspondence_losses.reference.scenes.shapes import Part, assemble, box, prism, revolve, tube
from correspondence_losses.reference.scenes.textures import Texture, blotches, checks, label, plain, stripes, wood

__all__ = ["procedural_object"]

Rng = np.random.Generator
Textured = list[tuple[Part, Texture]]

_METAL = (178, 180, 184)
_BLACK = (28, 28, 32)


def procedural_object(class_index: int, variant: int = 0) -> Mesh:
    """Return the object that stands for a class.

    Args:
        class_index: 1 to 21, the label value of YCB-Video.
        variant: Which specimen: another one has the same shape and colours, but other print.

    Raises:
        ValueError: ``class_index`` is outside 1 to 21.

    Example:
        >>> mesh = procedural_object(1)
        >>> mesh.name, (mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).round(3).tolist()
        ('002_master_chef_can', [0.102, 0.102, 0.14])
    """
    if not 1 <= class_index <= len(_OBJECTS):
        raise ValueError(f"class_index must lie in [1, {len(_OBJECTS)}], got {class_index}")
    rng = np.random.default_rng([class_index, variant])
    return assemble(CLASS_NAMES[class_index], _OBJECTS[class_index - 1](rng))


def _can(rng: Rng, radius: float, height: float, side: Texture) -> Textured:
    metal = plain(rng, _METAL)
    rim = radius * 0.94
    lids = [
        (revolve([(0, -height / 2), (radius, -height / 2)]), metal),
        (revolve([(radius, height / 2), (rim, height / 2), (rim, height / 2 - 0.003), (0, height / 2 - 0.003)]), metal),
    ]
    return [(revolve([(radius, -height / 2), (radius, height / 2)]), side), *lids]


def _carton(size: tuple[float, float, float], large: Texture, narrow: Texture, ends: Texture) -> Textured:
    return list(zip(box(size), (large, large, narrow, narrow, ends, ends), strict=True))


def _master_chef_can(rng: Rng) -> Textured:
    return _can(rng, 0.051, 0.14, label(rng, (30, 60, 150), (235, 235, 235), (15, 25, 70)))


def _cracker_box(rng: Rng) -> Textured:
    large = label(rng, (190, 25, 25), (235, 190, 40), (250, 245, 235))
    return _carton(
        (0.07, 0.16, 0.21), large, label(rng, (190, 25, 25), (250, 245, 235), _BLACK), plain(rng, (190, 25, 25))
    )


def _sugar_box(rng: Rng) -> Textured:
    large = label(rng, (240, 215, 60), (245, 245, 240), (30, 60, 150))
    return _carton(
        (0.045, 0.093, 0.176), large, plain(rng, (245, 245, 240)), stripes(rng, ((240, 215, 60), (30, 60, 150)), 6)
    )


def _tomato_soup_can(rng: Rng) -> Textured:
    side = label(rng, (240, 238, 230), (200, 25, 30), (200, 25, 30))
    side[64:] = label(rng, (200, 25, 30), (200, 25, 30), (245, 240, 230))[64:]
    return _can(rng, 0.034, 0.102, side)


def _mustard_bottle(rng: Rng) -> Textured:
    body = [(0.0, 0.0), (0.044, 0.0), (0.047, 0.01), (0.048, 0.09), (0.043, 0.125), (0.024, 0.15), (0.016, 0.158)]
    cap = [(0.017, 0.158), (0.016, 0.17), (0.007, 0.178), (0.005, 0.19), (0.0, 0.19)]
    yellow = label(rng, (245, 200, 20), (245, 200, 20), (160, 20, 25))
    return [(revolve(body, scale=(1, 0.68)), yellow), (revolve(cap, scale=(1, 0.9)), plain(rng, (190, 30, 30)))]


def _tuna_fish_can(rng: Rng) -> Textured:
    return _can(rng, 0.0428, 0.033, stripes(rng, ((40, 130, 190), (230, 235, 240)), 5))


def _pudding_box(rng: Rng) -> Textured:
    ends = label(rng, (95, 60, 35), (225, 170, 60), (250, 245, 235))
    side = plain(rng, (95, 60, 35))
    return _carton((0.138, 0.129, 0.039), side, side, ends)


def _gelatin_box(rng: Rng) -> Textured:
    ends = label(rng, (230, 70, 110), (245, 230, 235), (160, 15, 60))
    side = checks(rng, ((230, 70, 110), (245, 230, 235)), 6)
    return _carton((0.089, 0.1, 0.03), side, side, ends)


def _potted_meat_can(rng: Rng) -> Textured:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    outline = np.column_stack([0.051 * _rounded(np.cos(angle), 0.45), 0.03 * _rounded(np.sin(angle), 0.45)])
    side, *lids = prism(outline, 0, 0.083)
    metal = plain(rng, _METAL)
    return [(side, label(rng, (40, 75, 170), (240, 200, 60), (250, 250, 250))), *((lid, metal) for lid in lids)]


def _banana(rng: Rng) -> Textured:
    angle = np.linspace(-1.0, 1.0, 28)
    path = np.column_stack([0.1 * np.cos(angle), 0.1 * np.sin(angle), np.zeros(28)])
    radius = 0.019 * np.clip(1.1 - np.abs(angle) ** 4, 0.25, 1)
    return [(tube(path, radius), blotches(rng, ((235, 205, 60), (95, 70, 25)), 10, 0.1))]


def _pitcher_base(rng: Rng) -> Textured:
    wall = [(0.0, 0.0), (0.055, 0.0), (0.056, 0.005), (0.066, 0.235), (0.07, 0.243)]
    inner = [(0.07, 0.243), (0.063, 0.235), (0.053, 0.008), (0.0, 0.008)]
    blue = plain(rng, (25, 60, 190), grain=0.15)
    return [(revolve(wall), blue), (revolve(inner), blue), (_handle(0.062, 0.2, 0.05, 0.05, 0.009), blue)]


def _bleach_cleanser(rng: Rng) -> Textured:
    body = [(0.0, 0.0), (0.048, 0.0), (0.051, 0.008), (0.051, 0.15), (0.045, 0.185), (0.022, 0.215)]
    cap = [(0.017, 0.215), (0.017, 0.248), (0.012, 0.25), (0.0, 0.25)]
    white = label(rng, (240, 242, 240), (40, 110, 200), (200, 40, 50))
    return [(revolve(body, scale=(1, 0.64)), white), (revolve(cap), stripes(rng, ((60, 120, 210), (35, 80, 160)), 16))]


def _bowl(rng: Rng) -> Textured:
    outer = [(0.0, 0.0), (0.035, 0.0), (0.04, 0.004), (0.066, 0.025), (0.08, 0.055)]
    inner = [(0.08, 0.055), (0.076, 0.055), (0.062, 0.027), (0.038, 0.008), (0.0, 0.008)]
    red = plain(rng, (205, 60, 40), grain=0.1)
    return [(revolve(outer), red), (revolve(inner), plain(rng, (225, 90, 60), grain=0.1))]


def _mug(rng: Rng) -> Textured:
    outer = [(0.0, 0.0), (0.044, 0.0), (0.0465, 0.004), (0.0465, 0.081)]
    inner = [(0.0465, 0.081), (0.043, 0.081), (0.0425, 0.008), (0.0, 0.006)]
    red = plain(rng, (170, 20, 35), grain=0.1)
    return [(revolve(outer), red), (revolve(inner), red), (_handle(0.045, 0.065, 0.016, 0.028, 0.006), red)]


def _power_drill(rng: Rng) -> Textured:
    dark, orange = plain(rng, _BLACK, grain=0.3), label(rng, (215, 95, 30), _BLACK, (240, 235, 225))
    body = revolve([(0, -0.07), (0.024, -0.07), (0.028, -0.05), (0.028, 0.035), (0.02, 0.05)]).moved(
        (0, 0, 0.0), _Y_TO_Z
    )
    chuck = revolve([(0.02, 0.05), (0.018, 0.07), (0.011, 0.085), (0.0, 0.085)]).moved((0, 0, 0), _Y_TO_Z)
    grip = tube(np.linspace([0, -0.03, -0.02], [0, -0.05, -0.115], 8), 0.018)
    battery = [(part.moved((0, -0.045, -0.13)), dark) for part in box((0.055, 0.085, 0.035))]
    return [(body, orange), (chuck, dark), (grip, orange), *battery]


def _wood_block(rng: Rng) -> Textured:
    grain = wood(rng, ((200, 155, 100), (165, 115, 65)), 5)
    return _carton((0.085, 0.085, 0.2), grain, grain, wood(rng, ((190, 145, 95), (150, 105, 60)), 9))


def _scissors(rng: Rng) -> Textured:
    metal, grip = plain(rng, _METAL), plain(rng, (225, 110, 25))
    parts: Textured = []
    for side in (-1, 1):
        blade = np.linspace([side * 0.012, -0.02, side * 0.002], [side * -0.014, 0.1, side * 0.002], 10)
        parts.append((tube(blade, np.linspace(0.009, 0.002, 10), flatten=0.3), metal))
        angle = np.linspace(0, 2 * np.pi, 25)
        ring = np.column_stack([side * 0.026 + 0.021 * np.cos(angle), -0.055 + 0.034 * np.sin(angle), np.zeros(25)])
        parts.append((tube(ring, 0.006), grip))
    return parts


def _large_marker(rng: Rng) -> Textured:
    barrel = label(rng, (235, 235, 235), (235, 235, 235), _BLACK)
    body = revolve([(0, -0.06), (0.009, -0.06), (0.0095, -0.055), (0.0095, 0.02)], segments=20).moved(
        (0, 0, 0), _Y_TO_Z
    )
    cap = revolve([(0.0105, 0.02), (0.0105, 0.045), (0.007, 0.06), (0, 0.06)], segments=20).moved((0, 0, 0), _Y_TO_Z)
    return [(body, barrel), (cap, plain(rng, _BLACK))]


def _large_clamp(rng: Rng) -> Textured:
    return _clamp(rng, 0.17, 0.12, 0.016)


def _extra_large_clamp(rng: Rng) -> Textured:
    return _clamp(rng, 0.165, 0.2, 0.015)


def _foam_brick(rng: Rng) -> Textured:
    faces = [blotches(rng, ((160, 70, 60), (125, 45, 40)), 30, 0.25) for _ in range(2)]
    return _carton((0.052, 0.077, 0.051), faces[0], faces[1], faces[0])


def _clamp(rng: Rng, length: float, width: float, radius: float) -> Textured:
    """Two crossing arms with orange tips on the jaws, and a spring where they cross."""
    dark, tip = plain(rng, (48, 50, 55), grain=0.25), plain(rng, (225, 120, 35))
    parts: Textured = []
    for side in (-1, 1):
        waypoints = np.array([[0.5, -0.5, 0], [0.25, -0.1, 0], [0.02, 0.08, 0], [-0.2, 0.3, 0], [-0.08, 0.45, 0]])
        path = _smooth(waypoints * [side * width, length, 1])
        parts.append((tube(path, radius * np.linspace(0.7, 0.9, len(path)), flatten=0.8), dark))
        parts.extend((face.moved(path[-1]), tip) for face in box((0.018, 0.022, 0.03)))
    spring = revolve([(0, -0.018), (radius * 1.2, -0.018), (radius * 1.2, 0.018), (0, 0.018)], segments=20)
    return [*parts, (spring.moved((0, 0.08 * length, 0)), plain(rng, _METAL))]


def _handle(x: float, top: float, bottom: float, reach: float, radius: float) -> Part:
    angle = np.linspace(np.pi / 2, -np.pi / 2, 16)
    height = (top - bottom) / 2
    path = np.column_stack([x + reach * np.cos(angle), np.zeros(16), (top + bottom) / 2 + height * np.sin(angle)])
    return tube(path, radius)


def _smooth(waypoints: FloatArray, per_segment: int = 6) -> FloatArray:
    pieces = [np.linspace(a, b, per_segment, endpoint=False) for a, b in pairwise(waypoints)]
    path = np.concatenate([*pieces, waypoints[-1:]])
    for _ in range(3):
        path[1:-1] = (path[:-2] + path[1:-1] + path[2:]) / 3
    return path


def _rounded(value: FloatArray, power: float) -> FloatArray:
    rounded: FloatArray = np.sign(value) * np.abs(value) ** power
    return rounded


_Y_TO_Z = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Turns what was built along z to lie along y."""

_OBJECTS: tuple[Callable[[Rng], Textured], ...] = (
    _master_chef_can,
    _cracker_box,
    _sugar_box,
    _tomato_soup_can,
    _mustard_bottle,
    _tuna_fish_can,
    _pudding_box,
    _gelatin_box,
    _potted_meat_can,
    _banana,
    _pitcher_base,
    _bleach_cleanser,
    _bowl,
    _mug,
    _power_drill,
    _wood_block,
    _scissors,
    _large_marker,
    _large_clamp,
    _extra_large_clamp,
    _foam_brick,
)
