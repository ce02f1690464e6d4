"""``evaluate``: score a run's model class by class."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from correspondence_losses.reference.commands import call
from correspondence_losses.reference.engine.evaluation import SegmentationScores
from correspondence_losses.reference.engine.prediction import PredictionWays
from correspondence_losses.reference.experiments.record import plain, versions
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.files import write_json
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import Segmenter


def evaluate(
    run: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    max_frames: int | None = None,
    scales: list[float] | None = None,
    mirror: bool = False,
    segmenter: Segmenter | None = None,
    min_confidence: float = 0.0,
    object_threshold: float = 0.0,
    output: Path | None = None,
    accelerator: str = "auto",
) -> None:
    """Score a run's model on the labelled frames of a data set, and print the table of its classes.

    The table is of the plain prediction, as a run is scored. What several sizes, the mirrored image, votes of
    segments and a threshold make of it is printed beside it, each by itself.

    Args:
        run: The run's folder, finished or not.
        data: YCB-Video, in its original layout or BOP's. Default: the run's own.
        split: Which frames. Default: those that the run was scored on.
        max_frames: Score this many frames, evenly spread over the split. Default: all.
        scales: Predict at several sizes too, factors on the run's own, and average.
        mirror: Predict the mirrored image too, and average.
        segmenter: Let the segments of each image vote for their class, such as those of "FelzenszwalbSegmenter".
        min_confidence: Least probability of its class that a segment votes with.
        object_threshold: Least probability of its class for a pixel of an object; a pixel below it is background.
        output: A JSON file for the scores.
        accelerator: Fabric's, such as "auto", "cpu" or "cuda".

    Raises:
        CheckpointError: The folder holds no run or a damaged one, or its model predicts no classes.
        DataError: The data cannot be read.
        ValueError: There is no such split, or none is given for a run that was not scored; or a number is out of
            range.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    ways = PredictionWays(
        scales=tuple(scales or (1.0,)),
        mirror=mirror,
        segmenter=segmenter,
        min_confidence=min_confidence,
        object_threshold=object_threshold,
    )
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
    of_ways = opened.scores(lambda frame: model.predict(source.image(frame), ways).classes(), ways.names, "evaluating")
    scores = of_ways["plain"]
    where = {"root": str(source.root), "layout": source.layout, "split": settings.evaluation, "frames": len(frames)}
    tqdm.write(f"{run} after step {model.step}, on {where['frames']} frames of {where['split']}, {where['root']}\n")
    tqdm.write(_table(scores))
    if len(of_ways) > 1:
        tqdm.write(_ways_table(of_ways))
    if output is not None:
        record = {
            "run": str(run),
            "step": model.step,
            "data": where,
            **scores.record(),
            "prediction": {"settings": plain(ways), "ways": {way: found.record() for way, found in of_ways.items()}},
            "versions": versions(),
        }
        write_json(output, record)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(evaluate, "evaluate", arguments)


def _ways_table(of_ways: Mapping[str, SegmentationScores]) -> str:
    lines = ["", f"{'mean IoU by the way to predict, %':<36}{'present':>10}{'objects':>10}{'or found':>10}"]
    for way, scores in of_ways.items():
        record = scores.record()
        means = (record[name] for name in ("mean_iou", "mean_iou_objects", "mean_iou_union"))
        lines.append(f"{way:<36}" + "".join(f"{100 * mean:>10.2f}" for mean in means))
    return "\n".join(lines)


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
