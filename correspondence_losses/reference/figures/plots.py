"""Plots of a run: what it predicts, what it was given, how it went."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from correspondence_losses.reference.figures.colors import PALETTE
from correspondence_losses.reference.files import atomic_path

__all__ = [
    "MatchPanel",
    "Panel",
    "plot_comparison",
    "plot_curves",
    "plot_images",
    "plot_legend",
    "plot_matches",
    "plot_predictions",
]

Panel = tuple[str, NDArray[np.uint8]]
MatchPanel = tuple[str, NDArray[np.uint8], NDArray[np.floating], NDArray[np.floating]]


def plot_images(path: Path, rows: Sequence[Sequence[Panel]], title: str) -> None:
    """Save a grid of titled images."""
    figure = _grid(rows, title)
    _save(figure, path)


def plot_legend(path: Path, class_names: Sequence[str]) -> None:
    """Save the colours of all classes with their names."""
    figure = Figure(figsize=(2.6, 0.22 * len(class_names) + 0.2))
    figure.legend(handles=_patches(class_names, range(len(class_names))), loc="center", fontsize="small", frameon=False)
    _save(figure, path)


def plot_matches(path: Path, rows: Sequence[Sequence[MatchPanel]], title: str) -> None:
    """Save images with pairs of matched points, each pair in a colour of its own (fig. 4.9).

    Args:
        path: The image file to write.
        rows: For each row its panels: title, image, and the two ends (k, 2) of each match, as (x, y) in pixels.
        title: Written above.
    """
    figure = _grid([[(name, image) for name, image, *_ in row] for row in rows], title)
    columns = max(len(row) for row in rows)
    for index, axes in enumerate(figure.axes):
        row = rows[index // columns]
        if index % columns < len(row):
            _, image, one, other = row[index % columns]
            # Positions count from the corner of the first pixel, as those of a ViewGrid do.
            height, width = image.shape[:2]
            axes.images[0].set_extent((0, width, height, 0))
            axes.set(xlim=(0, width), ylim=(height, 0))
            for k, ends in enumerate(np.stack([one, other], axis=1)):
                axes.plot(*ends.T, "-o", color=colormaps["tab10"](k % 10), linewidth=1.2, markersize=5)
    _save(figure, path)


def plot_predictions(
    path: Path, rows: Sequence[Sequence[Panel]], title: str, class_names: Sequence[str], shown: Sequence[int]
) -> None:
    """Save a grid of titled images with a legend of the classes ``shown``."""
    figure = _grid(rows, title)
    columns = max(2 * max(len(row) for row in rows) - 2, 1)  # a name is about half a panel wide
    figure.legend(
        handles=_patches(class_names, shown), loc="outside lower center", ncols=columns, fontsize="small", frameon=False
    )
    _save(figure, path)


def plot_curves(path: Path, training: Sequence[Mapping[str, float]], evaluation: Sequence[Mapping[str, float]]) -> None:
    """Save the training terms and, where there are any, the evaluation's scores over the steps."""
    panels = 2 if evaluation else 1
    figure = Figure(figsize=(5.5 * panels, 4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _curves(axes[0], training, "Training terms", log=True)
    if evaluation:
        _curves(axes[1], evaluation, "Evaluation", log=False)
        axes[1].set_ylim(0, 1)
    _save(figure, path)


def plot_comparison(
    path: Path, runs: Mapping[str, Sequence[Mapping[str, float]]], title: str, metric: str = "mean_iou"
) -> None:
    """Save one curve for each of several runs in one plot (fig. 4.10).

    Args:
        path: The image file to write.
        runs: The evaluations of each run, as ``results.json`` has them, by the name that the legend shows.
        title: Written above.
        metric: Which score of the evaluations is drawn.

    Raises:
        ValueError: A run has no such score.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, evaluations in runs.items():
        if not evaluations or metric not in evaluations[0]:
            raise ValueError(f"runs must have evaluations with {metric!r}, {name!r} has none")
        scores = [row[metric] for row in evaluations]
        axes.plot([row["epoch"] for row in evaluations], scores, marker="." if len(scores) < 30 else "", label=name)
    axes.set(title=title, xlabel="epoch", ylabel=metric)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _curves(axes: Axes, rows: Sequence[Mapping[str, float]], title: str, *, log: bool) -> None:
    axes.set(title=title, xlabel="step")
    if not rows:
        axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
        return
    steps = [row["step"] for row in rows]
    names = [name for name in rows[-1] if name not in ("step", "epoch") and not name.startswith("iou/")]
    many = len(names) > 8
    if many:
        axes.set_prop_cycle(color=colormaps["tab20"].colors)  # type: ignore[attr-defined]
    for name in names:
        axes.plot(steps, [row[name] for row in rows], marker="." if len(rows) < 30 else "", label=name)
    if log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    if many:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="x-small")
    else:
        axes.legend()


def _patches(class_names: Sequence[str], shown: Iterable[int]) -> list[Patch]:
    return [Patch(facecolor=tuple(PALETTE[i] / 255), edgecolor="gray", label=class_names[i]) for i in shown]


def _grid(rows: Sequence[Sequence[Panel]], title: str) -> Figure:
    columns = max(len(row) for row in rows)
    height, width = rows[0][0][1].shape[:2]
    figure = Figure(figsize=(3.2 * columns, 3.2 * height / width * len(rows) + 0.8), layout="constrained")
    figure.suptitle(title)
    for axes in (grid := figure.subplots(len(rows), columns, squeeze=False)).flat:
        axes.axis("off")
    for row_axes, row in zip(grid, rows, strict=True):
        for axes, (name, image) in zip(row_axes, row, strict=False):
            axes.imshow(image)
            axes.set_title(name, fontsize="small")
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
