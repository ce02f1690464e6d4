"""``scenes``: render data sets of tabletop scenes."""

from collections.abc import Sequence
from pathlib import Path

from correspondence_losses.reference.commands import call, print_missing
from correspondence_losses.reference.data import SolidBackground, spread
from correspondence_losses.reference.data.background import composite
from correspondence_losses.reference.data.files import read_color, read_gray8
from correspondence_losses.reference.figures.colors import colorize
from correspondence_losses.reference.figures.plots import Panel, plot_images
from correspondence_losses.reference.scenes.generate import (
    SceneSettings,
    generate_scenes,
    missing_frames,
    render_pairs,
    render_single_objects,
)

_DEFAULT = SceneSettings()


def generate(
    root: Path, settings: SceneSettings = _DEFAULT, workers: int | None = None, shard: str | None = None
) -> None:
    """Make a data set of both domains.

    Args:
        root: Its folder.
        settings: What it holds.
        workers: Processes. Default: one for each core.
        shard: Render every N-th frame from the I-th on, I/N, while other jobs render the others. Default: all.
    """
    generate_scenes(root, settings, workers=workers, shard=shard)


def pairs(
    root: Path,
    source: Path,
    frames: Path,
    settings: SceneSettings = _DEFAULT,
    workers: int | None = None,
    shard: str | None = None,
) -> None:
    """Render the counterparts of frames with known poses.

    Args:
        root: The folder of the data set that is made.
        source: YCB-Video in its original layout.
        frames: A text file with a frame a line, such as ``image_sets/train.txt``.
        settings: Meshes, light, renderer and seed.
        workers: Processes. Default: one for each core.
        shard: Render every N-th frame from the I-th on, I/N, while other jobs render the others. Default: all.
    """
    names = frames.read_text(encoding="utf-8").split()
    render_pairs(root, settings, source, names, workers=workers, shard=shard)


def single_objects(
    root: Path,
    poses_per_class: int,
    settings: SceneSettings = _DEFAULT,
    workers: int | None = None,
    shard: str | None = None,
) -> None:
    """Render each class alone in random poses.

    Args:
        root: The folder of the data set that is made.
        poses_per_class: Images of each class.
        settings: Meshes, light, renderer and seed.
        workers: Processes. Default: one for each core.
        shard: Render every N-th frame from the I-th on, I/N, while other jobs render the others. Default: all.
    """
    render_single_objects(root, settings, poses_per_class, workers=workers, shard=shard)


def missing(root: Path) -> None:
    """Print the frames of a data set of scenes that are not there yet; exit with 1 if there are any.

    Args:
        root: Its folder.
    """
    print_missing(missing_frames(root))


def sheet(folder: Path, output: Path, count: int = 24, columns: int = 6) -> None:
    """Draw frames of a folder, evenly spread, each with its labels below it.

    Args:
        folder: Where ``FFFFFF-color.png`` and ``FFFFFF-label.png`` are, at any depth.
        output: The picture to write.
        count: How many frames at most.
        columns: Frames in a row.

    Raises:
        FileNotFoundError: There is no frame.
        ValueError: A number is below 1.
    """
    for name, number in (("count", count), ("columns", columns)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    frames = spread(sorted(folder.rglob("*-color.png")), count)
    if not frames:
        raise FileNotFoundError(f"{folder}: holds no FFFFFF-color.png")
    grey = SolidBackground()
    rows: list[list[Panel]] = []
    for first in range(0, len(frames), columns):
        row = frames[first : first + columns]
        labels = [path.with_name(path.name.replace("-color", "-label")) for path in row]
        rows.append([(str(path.relative_to(folder)), composite(read_color(path), grey, path.name, 0)) for path in row])
        rows.append([("", colorize(read_gray8(path))) for path in labels])
    plot_images(output, rows, str(folder))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    commands = {
        "generate": generate,
        "pairs": pairs,
        "single_objects": single_objects,
        "missing": missing,
        "sheet": sheet,
    }
    call(commands, "scenes", arguments)
