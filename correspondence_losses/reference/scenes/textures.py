"""Procedural textures: arrays made from a palette and a random generator, with no files behind them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["blotches", "checks", "label", "noise", "plain", "stripes", "surface", "weathered", "wood"]

Color = tuple[int, int, int]
Texture = NDArray[np.uint8]


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: int, octaves: int = 4) -> NDArray[np.float32]:
    """Return smooth noise in [0, 1]: random grids of ``cells``, 2 ``cells``, ... across, each half as strong."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        grid = rng.random((cells * 2**octave + 1,) * 2, dtype=np.float32)
        smooth = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) / 2**octave
    low, high = total.min(), total.max()
    scaled: NDArray[np.float32] = (total - low) / max(high - low, 1e-6)
    return scaled


def plain(rng: np.random.Generator, color: Color, size: int = 128, grain: float = 0.06) -> Texture:
    """One colour, with a little mottling."""
    return _scaled(np.asarray(color, np.float32), 1 + grain * (noise(rng, (size, size), 8) - 0.5))


def stripes(rng: np.random.Generator, colors: tuple[Color, Color], count: int, size: int = 128) -> Texture:
    """Bands of two colours, across v."""
    band = (np.arange(size) * count // size) % 2
    return _two(plain(rng, colors[0], size), plain(rng, colors[1], size), np.repeat(band[:, None], size, 1) > 0)


def checks(rng: np.random.Generator, colors: tuple[Color, Color], count: int, size: int = 128) -> Texture:
    """A chequerboard of two colours."""
    cell = np.arange(size) * count // size
    return _two(plain(rng, colors[0], size), plain(rng, colors[1], size), (cell[:, None] + cell) % 2 > 0)


def blotches(
    rng: np.random.Generator, colors: tuple[Color, Color], cells: int, share: float, size: int = 128
) -> Texture:
    """Blots of the second colour, covering about ``share`` of the first."""
    field = noise(rng, (size, size), cells, 3)
    return _two(plain(rng, colors[0], size), plain(rng, colors[1], size), field > np.quantile(field, 1 - share))


def label(rng: np.random.Generator, ground: Color, band: Color, ink: Color, size: int = 128) -> Texture:
    """A product label: a band with rows of word-like marks, and an emblem."""
    texture = plain(rng, ground, size)
    top, bottom = sorted(rng.choice(np.arange(size // 8, size - size // 8), 2, replace=False))
    bottom = max(bottom, top + size // 4)
    texture[top:bottom] = plain(rng, band, size)[top:bottom]
    y, x = np.mgrid[:size, :size]
    center, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.1, 0.2) * size
    texture[(x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2] = ink
    row = size // 16
    while row < size - size // 10:
        letter_height = int(rng.integers(size // 32 + 2, size // 9))
        column = int(rng.integers(size // 24, size // 5))
        while column < size - size // 12 and rng.random() > 0.08:
            width = int(rng.integers(max(letter_height // 3, 1), letter_height + 1))
            texture[row : row + letter_height, column : column + width] = ink if rng.random() < 0.8 else ground
            column += width + max(letter_height // 4, 1) * (4 if rng.random() < 0.2 else 1)
        row += letter_height + int(rng.integers(size // 24, size // 5))
    return texture


def wood(rng: np.random.Generator, colors: tuple[Color, Color], rings: float = 6.0, size: int = 128) -> Texture:
    """Grain along u: two colours blended by warped rings."""
    warp = noise(rng, (size, size), 3)
    v = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    blend = 0.5 + 0.5 * np.sin(2 * np.pi * rings * (v + 0.1 * warp)) + 0.3 * (noise(rng, (size, size), 24, 2) - 0.5)
    blend = np.clip(blend, 0, 1)[..., None]
    first, second = (np.asarray(color, np.float32) for color in colors)
    return _bytes(first * (1 - blend) + second * blend)


def surface(rng: np.random.Generator, size: int = 256) -> Texture:
    """Any of the above in random colours: what tables, walls and clutter are made of."""
    first, second = (_random_color(rng) for _ in range(2))
    kind = int(rng.integers(6))
    if kind == 0:
        return plain(rng, first, size, grain=0.4)
    if kind == 1:
        return stripes(rng, (first, second), int(rng.integers(6, 40)), size)
    if kind == 2:
        return checks(rng, (first, second), int(rng.integers(6, 40)), size)
    if kind == 3:
        return blotches(rng, (first, second), int(rng.integers(4, 20)), float(rng.uniform(0.2, 0.6)), size)
    if kind == 4:
        return label(rng, first, second, _random_color(rng), size)
    return wood(rng, (first, second), float(rng.uniform(4, 25)), size)


def weathered(rng: np.random.Generator, texture: Texture) -> Texture:
    """The same texture on another specimen: faded, off in hue, and soiled."""
    color = texture.astype(np.float32)
    grey = color.mean(axis=-1, keepdims=True)
    color = grey + (color - grey) * rng.uniform(0.55, 0.95)
    color = color * rng.uniform(0.85, 1.1, 3).astype(np.float32) + rng.uniform(0, 20)
    dirt = noise(rng, (texture.shape[0], texture.shape[1]), 6)[..., None]
    color *= 1 - rng.uniform(0.1, 0.4) * np.clip(2 * dirt - 1, 0, 1)
    return _bytes(color)


def _random_color(rng: np.random.Generator) -> Color:
    r, g, b = (rng.uniform(20, 235) + rng.uniform(-90, 90, 3)).clip(5, 250).astype(int).tolist()
    return r, g, b


def _scaled(color: NDArray[np.float32], gain: NDArray[np.float32]) -> Texture:
    return _bytes(color * gain[..., None])


def _bytes(color: NDArray[np.floating]) -> Texture:
    texture: Texture = np.clip(color, 0, 255).astype(np.uint8)
    return texture


def _two(first: Texture, second: Texture, mask: NDArray[np.bool_]) -> Texture:
    return np.where(mask[..., None], second, first)
