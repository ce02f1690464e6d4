"""``evaluate``: score a run's model class by class."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.engine.evaluation import SegmentationScores, score
from correspondence_losses.reference.experiments.record import versions
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.files import write_json
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.runs.trained import TrainedModel


def evaluate(
    run: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    max_frames: int | None = None,
    output: Path | None = None,
    accelerator: str = "auto",
) -> None:
    """Score a run's model on the labelled frames of a data set, and print the table of its classes.

    Args:
        run: The run's folder, finished or not.
        data: YCB-Video, in its original layout or BOP's. Default: the run's own.
        split: Which frames. Default: those that the run was scored on.
        max_frames: Score this many frames, evenly spread over the split. Default: all.
        output: A JSON file for the scores.
        accelerator: Fabric's, such as "auto", "cpu" or "cuda".

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        DataError: The data cannot be read.
        ValueError: There is no such split, or none is given for a run that was not scored; or ``max_frames`` is
            below 1.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    model = TrainedModel(run, accelerator=accelerator)
    settings = dataclasses.replace(
        model.settings,
        data=data or model.settings.data,
        evaluation=split or model.settings.evaluation,
        max_evaluation_frames=max_frames,
        labelled_data=None,
        refined=None,
    )
    if settings.evaluation is None:
        raise ValueError(f"split must be given, since {run} was not scored, got none")
    opened = RunData(model.fabric, settings)
    source, frames = opened.source, opened.evaluated
    scores = score(
        model.fabric,
        lambda frame: torch.from_numpy(model.classes(source.image(frame))),
        lambda frame: torch.from_numpy(source.label(frame)).long(),
        frames,
        source.class_names,
        lambda names: progress_bar(names, stage="evaluating", unit="frame"),
    )
    where = {"root": str(source.root), "layout": source.layout, "split": settings.evaluation, "frames": len(frames)}
    tqdm.write(f"{run} after step {model.step}, on {where['frames']} frames of {where['split']}, {where['root']}\n")
    tqdm.write(_table(scores))
    if output is not None:
        record = {"run": str(run), "step": model.step, "data": where, **scores.record(), "versions": versions()}
        write_json(output, record)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(evaluate, "evaluate", arguments)


def _table(scores: SegmentationScores) -> str:
    record = scores.record()
    lines = [f"{'class':<24}{'IoU, %':>8}{'pixels':>12}{'predicted':>12}"]
    lines += [
        f"{name:<24}{100 * row['iou']:>8.2f}{row['pixels']:>12}{row['predicted_pixels']:>12}"
        for name, row in record["classes"].items()
        if row["iou"] is not None
    ]
    lines += [
        "",
        f"{'mean, classes present':<24}{100 * record['mean_iou']:>8.2f}",
        f"{'  without background':<24}{100 * record['mean_iou_objects']:>8.2f}",
        f"{'mean, present or found':<24}{100 * record['mean_iou_union']:>8.2f}",
        f"{'pixel accuracy':<24}{100 * record['pixel_accuracy']:>8.2f}",
    ]
    return "\n".join(lines)
