"""What a sweep's folder holds, as tables beside the thesis's figures."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t

from correspondence_losses.reference.engine.evaluation import MEANS
from correspondence_losses.reference.experiments.presets import Preset
from correspondence_losses.reference.files import read_json, read_text, reading, write_json, write_text

__all__ = ["FAILURE", "collect_results", "run_folder", "write_results"]

FAILURE = "failure.txt"
"""The file in a run's folder that says why the run failed."""


def run_folder(output: Path, preset: str, seed: int) -> Path:
    """Return the folder of a run of a sweep."""
    return output / preset / f"seed-{seed}"


def write_results(output: Path, tables: Mapping[str, Sequence[Preset]]) -> None:
    """Write ``results.json`` and ``results.md`` of all rows of tables into a sweep's folder."""
    content = collect_results(output, tables)
    write_json(output / "results.json", content)
    write_text(output / "results.md", _markdown(content))


def collect_results(output: Path, tables: Mapping[str, Sequence[Preset]]) -> dict[str, Any]:
    """Return what was run of each row, and what came out.

    Args:
        output: The sweep's folder.
        tables: Rows by the table's name.

    Returns:
        By table, its rows with the thesis's mean IoU, the mean and the standard deviation (of a sample) over the seeds,
        and each run: its seed, its result, or why there is none.

    Raises:
        FileError: A file of a finished run is damaged.
    """
    return {"tables": {name: _with_differences([_row(output, row) for row in rows]) for name, rows in tables.items()}}


def _row(output: Path, row: Preset) -> dict[str, Any]:
    folders = sorted((output / row.name).glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))
    runs = [_run(folder) for folder in folders]
    scores = [run["mean_iou_percent"] for run in runs if run.get("mean_iou_percent") is not None]
    return {
        "preset": row.name,
        "row": row.row,
        "family": row.family,
        "note": row.note,
        "thesis_percent": row.thesis,
        "baseline": row.baseline,
        "mean_iou_percent": statistics.fmean(scores) if scores else None,
        "standard_deviation_percent": statistics.stdev(scores) if len(scores) > 1 else None,
        **{f"{name}_percent": _mean(run.get(f"{name}_percent") for run in runs) for name in MEANS[1:]},
        "prediction_percent": _mean_of_ways(runs),
        "runs": runs,
    }


def _mean_of_ways(runs: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the mean over the runs of each way to predict that they were scored by, beside the result."""
    found = [run["prediction_percent"] for run in runs if run.get("prediction_percent")]
    return {
        way: _mean(scores.get(way) for scores in found) for way in dict.fromkeys(way for one in found for way in one)
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _with_differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row that has a baseline among them how much better it is, seed by seed, with a 95 % interval."""
    scores = {
        row["preset"]: {run["seed"]: run["mean_iou_percent"] for run in row["runs"] if "mean_iou_percent" in run}
        for row in rows
    }
    for row in rows:
        own, other = scores[row["preset"]], scores.get(row["baseline"], {})
        pairs = [(own[seed], other[seed]) for seed in own.keys() & other.keys()]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        row["difference_percent"] = None
        if len(differences) > 1:
            half = (
                statistics.stdev(differences) / math.sqrt(len(differences)) * float(t.ppf(0.975, len(differences) - 1))
            )
            row["difference_percent"] = {
                "mean": statistics.fmean(differences), "half_interval": half, "seeds": len(differences)
            }  # fmt: skip
    return rows


def _run(folder: Path) -> dict[str, Any]:
    run: dict[str, Any] = {"seed": int(folder.name.removeprefix("seed-")), "status": "not run"}
    if (folder / "results.json").exists():
        with reading(folder / "results.json", "a run's results"):
            return {**run, "status": "finished", **_finished(read_json(folder / "results.json"))}
    if (folder / FAILURE).exists():
        return {**run, "status": "failed", "reason": read_text(folder / FAILURE).strip()}
    if (folder / "settings.json").exists():
        return {**run, "status": "unfinished"}
    return run


def _finished(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table says of a run, together with the run that its backbone is from."""
    stages = [results]
    backbone = results["settings"].get("backbone_run")
    if backbone is not None and (Path(backbone) / "results.json").exists():
        stages.insert(0, read_json(Path(backbone) / "results.json"))
    return {
        **{f"{name}_percent": 100 * results[name] if name in results else None for name in MEANS},
        "prediction_percent": {
            way: 100 * scores["mean_iou"] for way, scores in results.get("prediction", {}).get("ways", {}).items()
        },
        "averaged_evaluations": results.get("averaged_evaluations"),
        "steps": [stage["settings"]["epochs"] * stage["settings"]["steps_per_epoch"] for stage in stages],
        "images_per_step": [
            stage["settings"]["batch_size"] * stage["settings"]["accumulate"] * stage["processes"] for stage in stages
        ],
        "seconds": sum(stage["seconds"] for stage in stages),
        "backbone": results["settings"]["backbone"],
        "image_size": results["settings"]["image_size"],
        "evaluation": results["settings"]["evaluation"],
        "data": {**stages[0]["data"], **results["data"], "segmenter": _segmenter(stages)},
        "versions": dict(results["versions"]),
    }


def _segmenter(stages: Sequence[Mapping[str, Any]]) -> Any:
    return next((stage["data"]["segmenter"] for stage in stages if stage["data"].get("segmenter")), None)


_HEAD = (
    "row",
    "preset",
    "thesis, %",
    "here, %",
    "objects",
    "present or found",
    "more than its baseline",
    "seeds",
    "epochs averaged",
    "steps x images",
    "seconds a run",
    "frames",
)


def _markdown(content: Mapping[str, Any]) -> str:
    parts = ["# Results\n"]
    for name, rows in content["tables"].items():
        parts.append(f"\n## {'Table ' if name[0].isdigit() else ''}{name}\n\n")
        parts.append(f"| {' | '.join(_HEAD)} |\n|{' --- |' * len(_HEAD)}\n")
        parts += [f"| {' | '.join(_cells(row))} |\n" for row in rows]
        notes = [
            f"- `{row['preset']}`, seed {run['seed']}: {run['status']}{': ' if run.get('reason') else ''}"
            f"{run.get('reason', '')}\n"
            for row in rows
            for run in row["runs"]
            if run["status"] != "finished"
        ]
        notes += [
            f"- `{row['preset']}`, other ways to predict, after the last epoch: "
            + ", ".join(f"{way} {mean:.2f}" for way, mean in row["prediction_percent"].items())
            + "\n"
            for row in rows
            if row["prediction_percent"]
        ]
        parts += ["\n", *notes] if notes else []
    parts.append(
        "\nMean IoU over the classes present in the truth, the mean over the last epochs of a run; mean ± standard "
        "deviation over the seeds. Objects: the same without the background. Present or found: over the classes that "
        "are in the truth or in the prediction. More than its baseline: the mean difference of runs with the same "
        "seed, with the half width of its 95 % interval (Student's t). Seconds are those of training and scoring. "
        "Frames: labelled / unlabelled / scored. "
        "The thesis's figures are of YCB-Video at its own scale.\n\n"
    )
    finished = [
        run for rows in content["tables"].values() for row in rows for run in row["runs"] if run["status"] == "finished"
    ]
    facts = {
        "Data": [f"{run['data']['root']} ({run['data']['layout']}), scored on {run['evaluation']}" for run in finished],
        "Model": [f"{run['backbone']} at {' x '.join(map(str, run['image_size']))}" for run in finished],
        "Segments": [_described(run["data"]["segmenter"]) for run in finished if run["data"]["segmenter"]],
        "Versions": [", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in finished],
    }
    parts += [f"- {name}: {value}\n" for name, values in facts.items() for value in dict.fromkeys(values)]
    return "".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    thesis = "" if row["thesis_percent"] is None else f"{row['thesis_percent']:.2f}"
    finished = [run for run in row["runs"] if run["status"] == "finished"]
    if not finished:
        return [row["row"], f"`{row['preset']}`", thesis, "not run", *[""] * (len(_HEAD) - 4)]
    here = "no score" if row["mean_iou_percent"] is None else f"{row['mean_iou_percent']:.2f}"
    if row["standard_deviation_percent"] is not None:
        here += f" ± {row['standard_deviation_percent']:.2f}"
    run = finished[0]
    means = [row["mean_iou_objects_percent"], row["mean_iou_union_percent"]]
    steps = [f"{steps} x {images}" for steps, images in zip(run["steps"], run["images_per_step"], strict=True)]
    frames = [run["data"].get(name) for name in ("labelled_frames", "unlabelled_frames", "evaluated_frames")]
    frames[1] = run["data"].get("seed_frames", 0) if frames[1] is None else frames[1]
    seconds = sum(run["seconds"] for run in finished) / len(finished)
    return [
        row["row"],
        f"`{row['preset']}`",
        thesis,
        here,
        *("" if mean is None else f"{mean:.2f}" for mean in means),
        _difference(row),
        str(len(finished)),
        str(run["averaged_evaluations"] or ""),
        " + ".join(steps),
        f"{seconds:.0f}",
        " / ".join(str(count) for count in frames),
    ]


def _difference(row: Mapping[str, Any]) -> str:
    difference = row["difference_percent"]
    if difference is None:
        return ""
    return f"{difference['mean']:+.2f} ± {difference['half_interval']:.2f} (`{row['baseline']}`)"


def _described(segmenter: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in segmenter["settings"].items())
    return f"{segmenter['class_path'].rpartition('.')[2]} ({settings})"
