"""What the recipes look at, in place of your own data: drawn scenes of two domains, photographs, and panels."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from skimage import data
from skimage.segmentation import felzenszwalb
from torch import Tensor

from correspondence_losses import Matches


def draw_scenes(
    count: int, *, target: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw scenes of three objects, in flat colours or, for the target domain, with texture, light and noise.

    Returns:
        Images (count, 3, 96, 128) in [0, 1], and their labels (count, 96, 128): 0 background, 1 disc, 2 square,
        3 triangle. Plus one they serve as segments, since each scene has one object of each class.
    """
    random = np.random.default_rng(seed)
    colours = np.array([[0.85, 0.3, 0.25], [0.3, 0.75, 0.35], [0.3, 0.4, 0.85]])
    y, x = np.mgrid[:96, :128].astype(np.float32)
    images, labels = (
        np.empty((count, 3, 96, 128), np.float32),
        np.zeros((count, 96, 128), np.int64),
    )
    for image, label in zip(images, labels, strict=True):
        image[:] = random.uniform(0.3, 0.7, (3, 1, 1))
        for column, kind in enumerate(random.permutation([1, 2, 3])):
            angle, radius = random.uniform(0, 2 * np.pi), random.uniform(14, 21)
            dx = (x - 21 - 43 * column - random.uniform(-6, 6)) / radius
            dy = (y - random.uniform(26, 70)) / radius
            u, v = (
                dx * np.cos(angle) - dy * np.sin(angle),
                dx * np.sin(angle) + dy * np.cos(angle),
            )
            inside = (
                np.hypot(u, v) < 1,
                np.maximum(abs(u), abs(v)) < 0.85,
                (v > -0.5) & (v + 1.73 * abs(u) < 1),
            )
            label[inside[kind - 1]] = kind
            image[:, inside[kind - 1]] = (
                colours[kind - 1] + random.uniform(-0.15, 0.15, 3)
            )[:, None]
            if target:
                stripes = 0.25 * np.sin(random.uniform(4, 9) * u + random.uniform(0, 6))
                image[:, inside[kind - 1]] += stripes[inside[kind - 1]]
        if target:
            slope = random.uniform(-0.4, 0.4, 2)
            image *= 1 + slope[0] * (x / 64 - 1) + slope[1] * (y / 48 - 1)
            image += random.normal(0, 0.06, image.shape)
    return torch.from_numpy(images.clip(0, 1)), torch.from_numpy(labels)


def photographs(*names: str, size: tuple[int, int] = (192, 256)) -> Tensor:
    """Return photographs of :mod:`skimage.data` (n, 3, H, W) in [0, 1]: "coffee", "astronaut", "chelsea"."""
    images = [
        torch.from_numpy(getattr(data, name)().copy()).movedim(-1, 0)[None] / 255
        for name in names
    ]
    return torch.cat(
        [torch.nn.functional.interpolate(image, size, mode="area") for image in images]
    )


def similarity_to_middle(features: Tensor) -> Tensor:
    """Return the cosine similarity of each cell of a map (d, h, w) to its middle, as an image (3, h, w)."""
    cells = torch.nn.functional.normalize(features, dim=0)
    middle = cells[:, cells.shape[1] // 2, cells.shape[2] // 2]
    return torch.einsum("dhw,d->hw", cells, middle).expand(3, -1, -1)


def segment(images: Tensor) -> Tensor:
    """Return segments (b, H, W) of images by Felzenszwalb and Huttenlocher's method; every pixel is in one, from 1."""
    maps = [
        felzenszwalb(image.movedim(0, -1).numpy(), scale=150, sigma=0.8, min_size=150)
        for image in images
    ]
    return torch.from_numpy(np.stack(maps)).long() + 1


def show(panels: dict[str, Tensor]) -> Figure:
    """Show panels side by side: images (3, H, W), each channel stretched to its range, or label maps (H, W)."""
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(2.5 * len(panels), 2.2),
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, panel) in zip(axes[0], panels.items(), strict=True):
        if panel.ndim == 2:
            axis.imshow(
                panel.long() % 20, cmap="tab20", vmin=0, vmax=19, interpolation="nearest"
            )
        else:
            low, high = panel.detach().aminmax(dim=2, keepdim=True)
            low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)
            axis.imshow(
                ((panel.detach() - low) / (high - low).clamp(min=1e-6)).movedim(0, -1)
            )
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    return figure


def show_matches(
    views: Sequence[Tensor], sizes: Sequence[tuple[int, int]], matches: Matches
) -> Figure:
    """Show two views (3, H, W) and the matches of the first sample between the cells of their feature maps."""
    figure = show({"view a": views[0], "view b": views[1]})
    for slot in matches.valid[0].nonzero()[:, 0]:
        ends = []
        for view, (rows, columns), index in zip(
            views, sizes, (matches.index_a, matches.index_b), strict=True
        ):
            row, column = divmod(int(index[0, slot]), columns)
            height, width = view.shape[1:]
            ends.append(
                ((column + 0.5) * width / columns - 0.5, (row + 0.5) * height / rows - 0.5)
            )
        colour = plt.get_cmap("turbo")(float(slot) / max(matches.valid.shape[1] - 1, 1))
        figure.add_artist(
            ConnectionPatch(
                *ends,
                "data",
                "data",
                axesA=figure.axes[0],
                axesB=figure.axes[1],
                color=colour,
                lw=1,
            )
        )
        for axis, end in zip(figure.axes, ends, strict=True):
            axis.plot(*end, "o", color=colour, markersize=4)
    return figure
