"""Shapes laid over an image, with pictures and plain colours in them: things that are none of the objects.

What stands behind and between the objects is what a network takes them for in a room that it has not seen. Shapes of
all sizes that hide each other have the statistics of photographs (the dead leaves model; Lee, Mumford and Huang 2001,
"Occlusion Models for Natural Images").
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from correspondence_losses.reference.data import Background

__all__ = ["lay_shapes"]

_PICTURES = 0.5
_FADES = (0.6, 1.0)


def lay_shapes(
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    pictures: Background,
    *,
    count: tuple[int, int],
    size: tuple[float, float],
) -> NDArray[np.int64]:
    """Lay random ellipses, boxes, polygons and lines over an image, in place.

    Args:
        image: (H, W, 3), changed.
        rng: Draws everything.
        pictures: What half of the shapes are filled with; the others have one colour that fades a little.
        count: Least and greatest number of shapes.
        size: Range of their radius, as a part of the image's height.

    Returns:
        (H, W) the number of the shape that lies on top, from 1; 0 where none lies.
    """
    shapes = np.zeros(image.shape[:2], np.int64)
    for number in range(1, int(rng.integers(count[0], count[1] + 1)) + 1):
        shape = _shape(rng, image.shape[:2], size)
        rows, columns = (np.flatnonzero(shape.any(axis)) for axis in (1, 0))
        if len(rows):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            inside = shape[box]
            image[box][inside] = _filling(rng, inside.shape, pictures)[inside]
            shapes[shape] = number
    return shapes


def _shape(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[float, float]) -> NDArray[np.bool_]:
    height, width = shape
    mask = np.zeros((height, width), np.uint8)
    radius = float(rng.uniform(*size)) * height
    center = int(rng.integers(width)), int(rng.integers(height))
    turn = float(rng.uniform(0, 180))
    kind = int(rng.integers(4))
    if kind == 0:
        cv2.ellipse(mask, center, (int(radius * rng.uniform(0.3, 1)), int(radius)), turn, 0, 360, 1, -1)
    elif kind == 1:
        box = cv2.boxPoints((center, (radius * float(rng.uniform(0.3, 1.5)), radius), turn))
        cv2.fillPoly(mask, [box.astype(np.int32)], 1)
    elif kind == 2:
        angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
        reach = radius * rng.uniform(0.5, 1, len(angle))
        corners = np.asarray(center) + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    else:
        end = (int(center[0] + 2 * radius * rng.normal()), int(center[1] + 2 * radius * rng.normal()))
        cv2.line(mask, center, end, 1, int(rng.integers(1, 8)))
    return mask.astype(np.bool_)


def _filling(rng: np.random.Generator, shape: tuple[int, ...], pictures: Background) -> NDArray[Any]:
    height, width = shape
    if rng.random() < _PICTURES:
        return pictures.render((height, width), "clutter", int(rng.integers(2**31)))
    color = rng.uniform(0, 255, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(0, 255))
    fade = np.linspace(rng.uniform(*_FADES), rng.uniform(*_FADES), width)
    row: NDArray[np.uint8] = (fade[:, None] * color).astype(np.uint8)
    return np.broadcast_to(row, (height, width, 3))
