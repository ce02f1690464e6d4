"""Light from everywhere: images of radiance, longitude by latitude, procedural or from the user's files.

One convention holds for every renderer (:func:`environment_directions`).
"""

import re
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from correspondence_losses.reference.files import reading
from correspondence_losses.reference.scenes.requirements import require
from correspondence_losses.reference.scenes.textures import noise

__all__ = [
    "environment_directions",
    "environment_files",
    "load_environment",
    "look_up_environment",
    "room_environment",
    "studio_environment",
]

Environment = NDArray[np.float32]

_BRIGHTEST = 1e9
_MAX_PIXELS = 2**25
_SUFFIXES = (".exr", ".hdr", ".pfm")


def environment_directions(height: int, width: int) -> NDArray[np.float64]:
    """Return the (height, width, 3) unit directions in the world that the pixels of an environment look along.

    It is a panorama as it is seen from inside, z up. The first row looks straight up and the last straight down. The
    left edge looks along y, and to the right, clockwise as seen from above, follow x, -y and -x.

    Example:
        >>> environment_directions(3, 4).round(2)[1].tolist()
        [[0.71, 0.71, 0.0], [0.71, -0.71, 0.0], [-0.71, -0.71, 0.0], [-0.71, 0.71, 0.0]]
    """
    return _on_sphere(np.linspace(0, np.pi, height), width)


def look_up_environment(environment: Environment, directions: NDArray[np.float64]) -> Environment:
    """Return the (..., 3) radiance that comes from (..., 3) directions of any length, interpolated."""
    height, width = environment.shape[:2]
    x, y, z = np.moveaxis(directions, -1, 0)
    row = np.arctan2(np.hypot(x, y), z) / np.pi * (height - 1)
    column = np.arctan2(x, y) / (2 * np.pi) % 1 * width - 0.5
    wrapped = np.concatenate([environment[:, -1:], environment, environment[:, :1]], axis=1)
    channels = [map_coordinates(wrapped[..., i], [row, column + 1], order=1, mode="nearest") for i in range(3)]
    return np.stack(channels, axis=-1)


def studio_environment(rng: np.random.Generator, height: int = 32) -> Environment:
    """A plain sky, lighter above than below, with one to three soft lamps of nearly white light."""
    direction = _directions(height)
    gradient = 0.5 + 0.25 * direction[..., 2:]
    light = gradient * rng.uniform(0.4, 1.0) * rng.uniform(0.9, 1.1, 3)
    for _ in range(int(rng.integers(1, 4))):
        lamp = _upper_direction(rng, 0.35)
        sharpness = rng.uniform(8, 60)
        glow = np.exp(sharpness * (direction @ lamp - 1))[..., None]
        light = light + glow * rng.uniform(2, 8) * rng.uniform(0.9, 1.1, 3)
    return light.astype(np.float32)


def room_environment(rng: np.random.Generator, height: int = 64) -> Environment:
    """A room: walls, floor and ceiling of mottled colours, and windows and lamps with edges, cool or warm."""
    direction = _directions(height)
    wall, floor, ceiling = rng.uniform(0.15, 0.7, 3), rng.uniform(0.05, 0.35, 3), rng.uniform(0.4, 0.9) * np.ones(3)
    elevation = direction[..., 2:]
    light = np.where(elevation > 0.55, ceiling, np.where(elevation < -0.4, floor, wall))
    light = light * (0.6 + 0.8 * noise(rng, direction.shape[:2], 5)[..., None])
    longitude = np.arctan2(direction[..., 0], direction[..., 1])
    for _ in range(int(rng.integers(1, 4))):
        at, level = rng.uniform(-np.pi, np.pi), rng.uniform(0.05, 0.6)
        offset = np.abs((longitude - at + np.pi) % (2 * np.pi) - np.pi)
        window = (offset < rng.uniform(0.15, 0.5)) & (np.abs(elevation[..., 0] - level) < rng.uniform(0.1, 0.25))
        warmth = rng.uniform(-1, 1)
        tint = np.array([1 + 0.3 * warmth, 1.0, 1 - 0.35 * warmth])
        light = np.where(window[..., None], rng.uniform(4, 14) * tint, light)
    return light.astype(np.float32)


def environment_files(folder: Path) -> list[Path]:
    """Return the images of radiance in a folder, sorted.

    Raises:
        FileNotFoundError: There are none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(f"{folder}: holds no {', '.join(_SUFFIXES)} files")
    return files


def load_environment(path: Path, max_height: int = 256) -> Environment:
    """Read an image of radiance (EXR, HDR or PFM), reduced to ``max_height`` rows at most, its mean made 1.

    Raises:
        ValueError: The file is missing or damaged, or holds values that are no radiance.
    """
    with reading(path, "an image of radiance"):
        _check_size(path)
        light = _read_exr(path) if path.suffix.lower() == ".exr" else _read_with_opencv(path)
    factor = -(-light.shape[0] // max_height)
    rows, columns = (extent // factor for extent in light.shape[:2])
    if columns == 0 or not (np.abs(light) < _BRIGHTEST).all():
        raise ValueError(f"{path}: needs finite radiance, {max_height} times as high as it is wide at most")
    light = light[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    scaled: Environment = (light / max(float(light.mean()), 1e-6)).astype(np.float32)
    return scaled


def _check_size(path: Path) -> None:
    """Refuse what would take gigabytes before anything is decoded."""
    with path.open("rb") as stream:
        head = stream.read(2**20)
    if path.suffix.lower() == ".exr":
        left, top, right, bottom = struct.unpack("<4i", _exr_attributes(head)[b"dataWindow"])
        width, height = right - left + 1, bottom - top + 1
    else:  # HDR has "-Y 512 +X 1024", PFM "PF", its width and its height
        found = re.search(rb"(?:P[Ff]|[-+]Y)\s+([0-9]+)\s+(?:[-+]X\s+)?([0-9]+)", head)
        width, height = (int(extent) for extent in found.groups()) if found else (0, 0)
    if width < 1 or not 1 <= height <= _MAX_PIXELS // width:
        raise ValueError(f"wanted 1 to {_MAX_PIXELS} pixels, got {width} x {height}")


def _exr_attributes(head: bytes) -> dict[bytes, bytes]:
    """Return the header of an EXR file, in which each attribute has a name, a type and a size."""
    attributes, at = {}, 8
    while head[at]:
        name_end = head.index(b"\0", at)
        type_end = head.index(b"\0", name_end + 1)
        (size,) = struct.unpack_from("<i", head, type_end + 1)
        begin = type_end + 5
        if not 0 <= size <= len(head) - begin:
            raise ValueError(f"its header holds an attribute of {size} bytes")
        attributes[head[at:name_end]] = head[begin : begin + size]
        at = begin + size
    return attributes


def _read_exr(path: Path) -> NDArray[np.float64]:
    mitsuba = require("mitsuba")
    if mitsuba.variant() is None:
        mitsuba.set_variant("scalar_rgb")
    bitmap = mitsuba.Bitmap(str(path)).convert(mitsuba.Bitmap.PixelFormat.RGB, mitsuba.Struct.Type.Float32, False)
    return np.array(bitmap, dtype=np.float64)


def _read_with_opencv(path: Path) -> NDArray[np.float64]:
    # Mitsuba reads these formats too, but damaged files can corrupt its memory.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None or image.dtype != np.float32:
        raise ValueError("damaged, or not of the format that its name says")
    return image[..., ::-1].astype(np.float64)


def _directions(height: int) -> NDArray[np.float64]:
    """Return the (height, 2 height, 3) directions that procedural images are drawn for: rows by their centres."""
    return _on_sphere((np.arange(height) + 0.5) / height * np.pi, 2 * height)


def _on_sphere(latitude: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi
    theta, phi = np.meshgrid(latitude, longitude, indexing="ij")
    return np.stack([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)], axis=-1)


def _upper_direction(rng: np.random.Generator, lowest: float) -> NDArray[np.float64]:
    z, phi = rng.uniform(lowest, 1), rng.uniform(0, 2 * np.pi)
    radius = np.sqrt(1 - z**2)
    return np.array([radius * np.sin(phi), radius * np.cos(phi), z])
