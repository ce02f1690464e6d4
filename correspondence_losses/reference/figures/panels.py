"""The panels of a run's figures as single pictures, which its report shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence_losses.reference.figures.plots import Panel
from correspondence_losses.reference.files import atomic_path, read_json, write_json

__all__ = ["read_panels", "save_panels"]


def save_panels(folder: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Save rows of titled images, each row of one frame whose name is its first title.

    Args:
        folder: For the pictures, and a ``panels.json`` that says which is which.
        rows: As :func:`~.plots.plot_images` takes them.
    """
    record = []
    for number, row in enumerate(rows):
        names = ["image", *(title for title, _ in row[1:])]
        files = [_save(folder / f"{number}-{index}", image) for index, (_, image) in enumerate(row)]
        record.append({"frame": row[0][0], "layers": dict(zip(names, files, strict=True))})
    write_json(folder / "panels.json", record)


def read_panels(folder: Path) -> list[tuple[str, dict[str, Path]]]:
    """Return the frames that were saved to a folder, each with the file of each layer; none where there are none."""
    if not (folder / "panels.json").exists():
        return []
    return [
        (row["frame"], {name: folder / file for name, file in row["layers"].items()})
        for row in read_json(folder / "panels.json")
    ]


def _save(path: Path, pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    few = image.getcolors(256) is not None  # label maps, which JPEG would blur
    name = path.with_suffix(".png" if few else ".jpg")
    with atomic_path(name) as temporary:
        image.save(temporary, format="PNG" if few else "JPEG", quality=90)
    return name.name
