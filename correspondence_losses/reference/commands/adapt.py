"""``adapt``: from labelled images of one domain and a folder of others to the labels of that folder."""

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tqdm import tqdm

from correspondence_losses.reference.commands.predict import check_output, names_without_endings, write_labels
from correspondence_losses.reference.data import ImageFolder, open_dataset
from correspondence_losses.reference.engine.prediction import Prediction
from correspondence_losses.reference.experiments import BoundarySettings, SelfTrainingSettings
from correspondence_losses.reference.experiments.presets import load_presets, scale_names
from correspondence_losses.reference.figures.plots import plot_legend
from correspondence_losses.reference.files import write_text
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.runs.boundary_segmenter import BoundarySegmenter
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.run import launch, run
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import Segmenter, presegment

_DESCRIPTION = """Learn to label the images of a folder, without a label of any of them: learn from labelled images of
another domain to segment, train on the labelled images and on pseudo labels of the folder, and label it by votes of the
learnt segments. OUTPUT gets labels/NAME.png, overlays/NAME.jpg, legend.png, and report.csv: how sure each image's
labels are, the least sure first. OUTPUT/segmenter and OUTPUT/run are the runs, which the same command continues. With
--segmenter, that one does all of it, and none is learnt."""
_OF_THE_SEGMENTER = (
    "data", "labelled_data", "labelled", "backgrounds", "image_size", "prediction_size", "backbone", "pretrained",
    "backbone_weights", "batch_norm", "frozen_stages", "channels_last", "steps_per_epoch", "batch_size", "seed",
    "num_workers", "accelerator", "devices", "num_nodes", "strategy", "precision",
)  # fmt: skip
_SHOWN = 5


@dataclass(frozen=True)
class Sureness:
    """How sure the labels of an image are.

    Args:
        image: Its path below the folder.
        segments: Number of its segments.
        sure_segments: The part of them that votes for its class with at least the least probability.
        sure_pixels: The part of the pixels that are in such segments.
        classes: The objects that are found, by the number of their pixels.
    """

    image: str
    segments: int
    sure_segments: float
    sure_pixels: float
    classes: str


def adapt(
    images: Path,
    settings: SelfTrainingSettings,
    output: Path,
    *,
    segmenter: BoundarySettings | None = None,
    least: float = 0.9,
    opacity: float = 0.6,
) -> list[Sureness]:
    """Train as the settings say, label the folder of images, and write how sure the labels are.

    Args:
        images: The folder.
        settings: Of the run.
        output: The folder for what is made, outside of ``images``.
        segmenter: How to learn a segmenter, whose segments vote for the labels. Default: those vote that the run was
            trained with.
        least: Least probability of its class that a sure segment votes with.
        opacity: Of the colours in the overlays.

    Returns:
        How sure the labels of each image are, the least sure first.

    Raises:
        ValueError: OUTPUT lies in IMAGES, or a number is out of range.
        DataError: An image cannot be read.
        PseudoLabelCollapseError: The pseudo labels collapsed to the background.
    """
    check_output(images, output, opacity)
    if not 0 <= least <= 1:
        raise ValueError(f"sure must lie between 0 and 1, got {least}")
    source = ImageFolder(images, background=settings.backgrounds)
    frames = source.frames()
    fabric = launch(settings)
    if segmenter is not None:
        run(segmenter, fabric=fabric)
    run(settings, fabric=fabric)
    if fabric.global_rank > 0:
        return []
    voters: Segmenter = settings.segmenter
    folder = settings.segments_folder("images")
    if segmenter is not None:
        voters, folder = BoundarySegmenter(segmenter.output), segmenter.output / "masks"
    segments = presegment(source, frames, folder, voters, min_area=settings.min_segment_area)
    model = TrainedModel(settings.output, accelerator=settings.accelerator)
    ways = replace(settings.prediction_ways(), segmenter=voters)
    report = []
    names = names_without_endings(frames)
    for frame, name in progress_bar(names.items(), stage="labelling", unit="image", total=len(names)):
        image = source.image(frame)
        found = model.predict(image, ways, segments.load(frame))
        write_labels(output, name, image, found.best().to("cpu").numpy().astype(np.uint8), opacity)
        report.append(_sureness(frame, found, least, model.class_names))
    plot_legend(output / "legend.png", model.class_names)
    report.sort(key=lambda row: (row.sure_segments, row.image))
    write_text(output / "report.csv", _csv(report))
    return report


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    presets = [name for name, preset in load_presets().items() if preset.family == "self_training"]
    parser = argparse.ArgumentParser(
        prog="correspondence-losses adapt",
        usage="%(prog)s IMAGES --labelled DATA [--output DIR] [--preset NAME] [--sure P] [--SETTING VALUE ...]",
        description=_DESCRIPTION,
        epilog="Every setting of the run (correspondence-losses train --preset mic_votes --help) is an argument too.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder of images, and of its subfolders")
    parser.add_argument("--labelled", type=Path, required=True, metavar="DATA", help="YCB-Video's or BOP's layout")
    parser.add_argument("--output", type=Path, default=Path("runs/adapt"), help="default: runs/adapt")
    parser.add_argument("--preset", choices=presets, default="mic_votes", help="default: mic_votes")
    parser.add_argument("--scale", choices=scale_names(), default="laptop", help="default: laptop")
    parser.add_argument("--segmenter_epochs", type=int, metavar="N", help="default: the scale's")
    parser.add_argument("--sure", type=float, default=0.9, metavar="P", help="least probability; default: 0.9")
    parser.add_argument("--opacity", type=float, default=0.6, help="of the colours in the overlays; default: 0.6")
    chosen, rest = parser.parse_known_args(arguments)
    changes = {
        "data": str(chosen.labelled),
        "labelled": "synthetic" if "synthetic" in open_dataset(chosen.labelled).splits() else "train",
        "unlabelled": None,
        "unlabelled_images": str(chosen.images),
        "evaluation": None,
        "output": str(chosen.output / "run"),
    }
    settings = cast(
        SelfTrainingSettings, preset_settings(chosen.preset, scale=chosen.scale, changes=changes, args=rest)
    )
    segmenter = None
    if not any(argument.startswith("--segmenter") for argument in rest):
        segmenter = _segmenter_settings(settings, chosen.scale, chosen.output / "segmenter", chosen.segmenter_epochs)
    report = adapt(
        chosen.images, settings, chosen.output, segmenter=segmenter, least=chosen.sure, opacity=chosen.opacity
    )
    if report:
        tqdm.write(_summary(report, chosen.output))


def _segmenter_settings(
    settings: SelfTrainingSettings, scale: str, output: Path, epochs: int | None
) -> BoundarySettings:
    """Return how to learn a segmenter from the labelled images of a run, with the backbone and on the machine of it."""
    changes = {} if epochs is None else {"epochs": epochs}
    found = cast(BoundarySettings, preset_settings("boundaries", scale=scale, changes=changes))
    return replace(found, output=output, **{name: getattr(settings, name) for name in _OF_THE_SEGMENTER})


def _sureness(frame: str, found: Prediction, least: float, class_names: Sequence[str]) -> Sureness:
    if found.segments is None or found.votes is None:
        raise ValueError("segmenter must be given to say how sure labels are, got none")
    areas = torch.bincount(found.segments.flatten(), minlength=len(found.votes.confidence))[1:]
    sure = (found.votes.confidence[1:] >= least) & (areas > 0)
    counts = torch.bincount(found.best().flatten(), minlength=len(class_names)).tolist()
    objects = sorted((label for label in range(1, len(counts)) if counts[label]), key=lambda label: -counts[label])
    number = int((areas > 0).sum())
    return Sureness(
        image=frame,
        segments=number,
        sure_segments=int(sure.sum()) / max(number, 1),
        sure_pixels=int(areas[sure].sum()) / found.segments.numel(),
        classes=" ".join(class_names[label] for label in objects),
    )


def _csv(report: Sequence[Sureness]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "segments", "sure_segments", "sure_pixels", "classes"))
    for row in report:
        writer.writerow((row.image, row.segments, f"{row.sure_segments:.4f}", f"{row.sure_pixels:.4f}", row.classes))
    return text.getvalue()


def _summary(report: Sequence[Sureness], output: Path) -> str:
    mean = sum(row.sure_segments for row in report) / len(report)
    lines = [f"{len(report)} images, {mean:.0%} of their segments sure on average; look at these first:"]
    lines += [f"  {row.image}: {row.sure_segments:.0%} of {row.segments} segments sure" for row in report[:_SHOWN]]
    return "\n".join([*lines, f"see {output / 'overlays'} and {output / 'report.csv'}"])
