"""What a sweep's folder holds, as tables beside the thesis's figures."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from correspondence_losses.reference.experiments.presets import Preset
from correspondence_losses.reference.files import read_json, read_text, write_json, write_text

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
    return {"tables": {name: [_row(output, row) for row in rows] for name, rows in tables.items()}}


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
        "mean_iou_percent": statistics.fmean(scores) if scores else None,
        "standard_deviation_percent": statistics.stdev(scores) if len(scores) > 1 else None,
        "runs": runs,
    }


def _run(folder: Path) -> dict[str, Any]:
    run: dict[str, Any] = {"seed": int(folder.name.removeprefix("seed-")), "status": "not run"}
    if (folder / "results.json").exists():
        stages = [read_json(folder / "results.json")]
        backbone = stages[0]["settings"].get("backbone_run")
        if backbone is not None and (Path(backbone) / "results.json").exists():
            stages.insert(0, read_json(Path(backbone) / "results.json"))
        results = stages[-1]
        return {
            **run,
            "status": "finished",
            "mean_iou_percent": 100 * results["mean_iou"] if "mean_iou" in results else None,
            "averaged_evaluations": results.get("averaged_evaluations"),
            "steps": [stage["settings"]["epochs"] * stage["settings"]["steps_per_epoch"] for stage in stages],
            "images_per_step": [
                stage["settings"]["batch_size"] * stage["settings"]["accumulate"] * stage["processes"]
                for stage in stages
            ],
            "seconds": sum(stage["seconds"] for stage in stages),
            "backbone": results["settings"]["backbone"],
            "image_size": results["settings"]["image_size"],
            "evaluation": results["settings"]["evaluation"],
            "data": {**stages[0]["data"], **results["data"], "segmenter": _segmenter(stages)},
            "versions": results["versions"],
        }
    if (folder / FAILURE).exists():
        return {**run, "status": "failed", "reason": read_text(folder / FAILURE).strip()}
    if (folder / "settings.json").exists():
        return {**run, "status": "unfinished"}
    return run


def _segmenter(stages: Sequence[Mapping[str, Any]]) -> Any:
    return next((stage["data"]["segmenter"] for stage in stages if stage["data"].get("segmenter")), None)


_HEAD = (
    "row",
    "preset",
    "thesis, %",
    "here, %",
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
        parts += ["\n", *notes] if notes else []
    parts.append(
        "\nMean IoU over the classes present in the truth, the mean over the last epochs of a run; mean ± standard "
        "deviation over the seeds. Seconds are those of training and scoring. Frames: labelled / unlabelled / scored. "
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
    steps = [f"{steps} x {images}" for steps, images in zip(run["steps"], run["images_per_step"], strict=True)]
    frames = [run["data"].get(name) for name in ("labelled_frames", "unlabelled_frames", "evaluated_frames")]
    frames[1] = run["data"].get("seed_frames", 0) if frames[1] is None else frames[1]
    seconds = sum(run["seconds"] for run in finished) / len(finished)
    return [
        row["row"],
        f"`{row['preset']}`",
        thesis,
        here,
        str(len(finished)),
        str(run["averaged_evaluations"] or ""),
        " + ".join(steps),
        f"{seconds:.0f}",
        " / ".join(str(count) for count in frames),
    ]


def _described(segmenter: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in segmenter["settings"].items())
    return f"{segmenter['class_path'].rpartition('.')[2]} ({settings})"
