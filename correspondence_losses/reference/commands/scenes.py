"""``scenes``: render data sets of tabletop scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.scenes.contact_sheet import contact_sheet
from correspondence_losses.reference.scenes.generate import (
    SceneSettings,
    generate_scenes,
    render_pairs,
    render_single_objects,
)

_DEFAULT = SceneSettings()


def generate(root: Path, settings: SceneSettings = _DEFAULT, workers: int | None = None) -> None:
    """Make a data set of both domains.

    Args:
        root: Its folder.
        settings: What it holds.
        workers: Processes. Default: one for each core.
    """
    generate_scenes(root, settings, workers=workers)


def pairs(
    root: Path, source: Path, frames: Path, settings: SceneSettings = _DEFAULT, workers: int | None = None
) -> None:
    """Render the counterparts of frames with known poses.

    Args:
        root: The folder of the data set that is made.
        source: YCB-Video in its original layout.
        frames: A text file with a frame a line, such as ``image_sets/train.txt``.
        settings: Meshes, light, renderer and seed.
        workers: Processes. Default: one for each core.
    """
    names = frames.read_text(encoding="utf-8").split()
    render_pairs(root, settings, source, names, workers=workers)


def single_objects(
    root: Path, poses_per_class: int, settings: SceneSettings = _DEFAULT, workers: int | None = None
) -> None:
    """Render each class alone in random poses.

    Args:
        root: The folder of the data set that is made.
        poses_per_class: Images of each class.
        settings: Meshes, light, renderer and seed.
        workers: Processes. Default: one for each core.
    """
    render_single_objects(root, settings, poses_per_class, workers=workers)


def sheet(folder: Path, output: Path, count: int = 24, columns: int = 6) -> None:
    """Draw frames of a folder, evenly chosen, as a contact sheet.

    Args:
        folder: Where ``FFFFFF-color.png`` are, at any depth.
        output: The picture to write, PNG.
        count: How many frames at most.
        columns: Frames in a row.
    """
    found: Sequence[Path] = sorted(folder.rglob("*-color.png"))
    if not found:
        raise FileNotFoundError(f"{folder}: holds no FFFFFF-color.png")
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
    prefixes = [path.with_name(path.name.removesuffix("-color.png")) for path in chosen]
    with atomic_path(output) as path:
        Image.fromarray(contact_sheet(prefixes, columns)).save(path, format="PNG")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call({"generate": generate, "pairs": pairs, "single_objects": single_objects, "sheet": sheet}, "scenes", arguments)
