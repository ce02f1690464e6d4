"""``views``: draw arrangements of views with their correspondences."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.reference.commands import call
from correspondence_losses.reference.data import DataError, FrameSource, YCBVideo, spread
from correspondence_losses.reference.figures.view_sheets import draw_view_set
from correspondence_losses.reference.scenes import SceneSettings, render_pairs, render_single_objects, scene_models
from correspondence_losses.reference.streams.arrangements import ArrangementName, create_arrangement
from correspondence_losses.reference.streams.view_stream import ViewStream


def draw_arrangements(
    data: Path,
    output: Path,
    *,
    models: Path | None = None,
    arrangements: Sequence[ArrangementName] = get_args(ArrangementName),
    count: int = 3,
    split: str = "train",
    poses_per_class: int = 2,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw contact sheets of arrangements of views, with their correspondences (fig. 4.2 to 4.5).

    What the paired and the multiple arrangements need is rendered into ``OUTPUT/renders`` first, unless it is there.

    Args:
        data: YCB-Video, or embedded scenes, in the original layout.
        output: The folder for the sheets, ``ARRANGEMENT-N.png``.
        models: The folder of the meshes that the poses of the data set are of, ``CLASS/textured.obj``. Default: the
            procedural objects, which are those of embedded scenes.
        arrangements: Which of them to draw.
        count: How many seed frames, evenly chosen.
        split: Where they are from.
        poses_per_class: How many images are rendered of each object alone.
        seed: Seed of everything.
        workers: Processes that render. Default: one for each core.

    Raises:
        DataError: The data cannot be read.
        FileNotFoundError: ``models`` lacks a mesh.
        ValueError: A number is out of range, there is no such split, the data set needs ``models`` to be rendered, or
            ``OUTPUT/renders`` holds renders of other settings.
        ModuleNotFoundError: Something is to be rendered, and a package of the ``scenes`` extra is not installed.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    source = YCBVideo(data)
    names = source.frames(split)
    seeds = spread(names, count)
    if not seeds:
        raise DataError(f"{data}: holds no frame of {split}")
    height, width = source.image(seeds[0]).shape[:2]

    def scenes() -> SceneSettings:
        return SceneSettings(width=width, height=height, models=scene_models(data, models), seed=seed)

    def labelled() -> list[tuple[FrameSource, str]]:
        return [(source, frame) for frame in source.frames("synthetic" if "synthetic" in source.splits() else split)]

    def pairs() -> FrameSource:
        below_data = [frame.removeprefix("data/") for frame in seeds]
        return YCBVideo(render_pairs(output / "renders/pairs", scenes(), data, below_data, workers=workers))

    def single_objects() -> FrameSource:
        return YCBVideo(render_single_objects(output / "renders/objects", scenes(), poses_per_class, workers=workers))

    for name in arrangements:
        arrangement = create_arrangement(
            name,
            frames=[(source, frame) for frame in names],
            labelled=labelled,
            pairs=pairs,
            single_objects=single_objects,
        )
        stream = ViewStream(
            [(source, frame, None) for frame in seeds],
            arrangement,
            crops=MultiCrop(),
            seed=seed,
            labelled_size=(height, width) if name == "unpaired" else None,
        )
        for i in range(len(seeds)):
            draw_view_set(output / f"{name}-{i}.png", stream, i, name.replace("_", " "))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(draw_arrangements, "views", arguments)
