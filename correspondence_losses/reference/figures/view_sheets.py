"""Contact sheets: the images of a view set, its crops, and where its cells lie in the seed frame (fig. 4.2 to 4.5)."""

from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from numpy.typing import NDArray
from torch import Tensor

from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.streams.arrangements import PlacedView
from correspondence_losses.reference.streams.view_stream import ViewStream

__all__ = ["draw_view_set"]

_BLACK = (0.0, 0.0, 0.0)
_INCHES = 3.6
"""Height of the sheet."""

Color = tuple[float, ...]


def draw_view_set(path: Path, stream: ViewStream, index: int, title: str) -> None:
    """Save a contact sheet of one view set.

    From left to right: the images that views were cut from besides the seed frame, the seed frame, the small views,
    the large views, and the labelled image where there is one. A box and an arrow of one colour show where a view comes
    from. Each cell of a view has a colour, and so has its place in the seed frame; a black one has no place there.
    Cells that came there through poses are numbered.

    Args:
        path: The image file to write.
        stream: The view sets.
        index: Which of them.
        title: Written above.

    Raises:
        OSError: The file cannot be written.
    """
    seed, placed, _ = stream.placed(index)
    views = stream[index]
    pictures = list(dict.fromkeys(view.picture for view in placed))
    others = pictures[1:]
    small, large = range(views.num_large, len(placed)), range(views.num_large)
    aspect = seed.image.shape[1] / seed.image.shape[0]
    widths = [_width(len(others), 2 if len(others) > 1 else 1, aspect), _INCHES * aspect]
    widths += [_width(len(small), 3, 1), _width(len(large), 2, 1)]
    widths.append(0.0 if views.labelled is None else _INCHES * aspect)
    shown = [i for i, width in enumerate(widths) if width]
    figure = Figure(figsize=(sum(widths) + 0.4, _INCHES + 0.5))
    figure.suptitle(f"{title}: {seed.name}", fontsize="medium")
    columns = figure.add_gridspec(
        1, len(shown), width_ratios=[widths[i] for i in shown], left=0.01, right=0.99, bottom=0.02, top=0.9, wspace=0.06
    )
    zones = {zone: columns[0, i] for i, zone in enumerate(shown)}

    def panels(zone: int, count: int, rows: int) -> list[Axes]:
        if not count:
            return []
        rows = min(rows, count)
        cells = zones[zone].subgridspec(rows, -(-count // rows), hspace=0.06, wspace=0.06)
        return [figure.add_subplot(cells[i % rows, i // rows]) for i in range(count)]

    other_axes = panels(0, len(others), 2 if len(others) > 1 else 1)
    seed_axes = panels(1, 1, 1)[0]
    view_axes = dict(zip(small, panels(2, len(small), 3), strict=True))
    view_axes |= dict(zip(large, panels(3, len(large), 2), strict=True))
    picture_axes = dict(zip(pictures, [seed_axes, *other_axes], strict=True))
    for picture, axes in picture_axes.items():
        _show(axes, picture.image.permute(1, 2, 0).numpy())
    if views.labelled is not None:
        _show(axes := panels(4, 1, 1)[0], _bytes(views.labelled.image[0]))
        axes.set_title("labelled", fontsize="x-small", pad=2)
    for i, view in enumerate(placed):
        color = colormaps["tab10"](i % 10)[:3]
        _show(view_axes[i], _bytes(views.images[i][0]), color)
        _connect(figure, picture_axes[view.picture], view_axes[i], view, color)
        grid, cells = views.grids[i], views.grids[i].size[0]
        own = view.crop.grid(cells)
        colors = _cell_colors(grid.valid.flatten())
        numbered = not grid.axis_aligned
        centres = (np.arange(cells) + 0.5) * view.size / cells
        in_view = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
        _dots(view_axes[i], in_view, colors, numbered=numbered)
        _dots(picture_axes[view.picture], own.points.flatten(0, 2).numpy(), colors, numbered=numbered)
        if view.picture is not pictures[0]:
            found = [k for k, valid in enumerate(grid.valid.flatten().tolist()) if valid]
            _dots(seed_axes, grid.points.flatten(0, 2).numpy(), colors, numbered=numbered, only=found)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _width(count: int, rows: int, aspect: float) -> float:
    """Width of ``count`` panels in ``rows`` rows of the sheet's height."""
    rows = min(rows, max(count, 1))
    return -(-count // rows) * _INCHES / rows * aspect


def _show(axes: Axes, image: NDArray[np.generic], color: Color | None = None) -> None:
    height, width = image.shape[:2]
    # Positions count from the corner of the first pixel, as those of a ViewGrid do.
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(visible=color is not None, color=color or _BLACK, linewidth=2)


def _connect(figure: Figure, picture_axes: Axes, view_axes: Axes, view: PlacedView, color: Color) -> None:
    crop = view.crop
    corner, width, height = (crop.left, crop.top), crop.right - crop.left, crop.bottom - crop.top
    picture_axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.2))
    figure.add_artist(
        ConnectionPatch(
            (crop.right, (crop.top + crop.bottom) / 2),
            (0, view.size / 2),
            coordsA="data",
            coordsB="data",
            axesA=picture_axes,
            axesB=view_axes,
            arrowstyle="-|>",
            color=color,
            linewidth=0.8,
            alpha=0.7,
        )
    )


def _cell_colors(valid: Tensor) -> list[Color]:
    """A colour for each cell, spread over those that are valid, and black for the others."""
    rank, total = valid.cumsum(0).tolist(), max(int(valid.sum()), 1)
    return [
        tuple(colormaps["hsv"]((rank[k] - 1) / total)[:3]) if known else _BLACK
        for k, known in enumerate(valid.tolist())
    ]


def _dots(
    axes: Axes, points: NDArray[np.floating], colors: list[Color], *, numbered: bool, only: list[int] | None = None
) -> None:
    chosen = list(range(len(points))) if only is None else only
    x, y = points[chosen, 0], points[chosen, 1]
    size = 26 if numbered else 7
    axes.scatter(x, y, s=size, c=[colors[k] for k in chosen], edgecolors="white", linewidths=0.4, zorder=3)
    for k in chosen if numbered else []:
        axes.text(points[k, 0], points[k, 1], str(k + 1), color="white", fontsize=4, ha="center", va="center", zorder=4)


def _bytes(image: Tensor) -> NDArray[np.uint8]:
    return (255 * image).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
