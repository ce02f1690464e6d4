"""What came of runs, from their folders to one page."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.experiments.presets import Preset, load_presets
from correspondence_losses.reference.figures.page import comparison, curves, page, picture, swatch, table
from correspondence_losses.reference.figures.panels import read_panels
from correspondence_losses.reference.files import FileError, read_json, read_text, reading, write_text

__all__ = ["RunRecord", "read_run", "write_report"]

Row = dict[str, float]
_PREDICTIONS, _SEGMENTS = "predictions", "segments"


@dataclass(frozen=True)
class RunRecord:
    """What the folder of a run holds so far.

    Attributes:
        folder: Of the run.
        results: ``results.json``, empty where the run is not finished.
        settings: ``settings.json``.
        scores: ``scores.json``, the scores of the last evaluation class by class.
        training: Rows of ``training.csv``.
        evaluation: Rows of ``evaluation.csv``.
    """

    folder: Path
    results: dict[str, Any]
    settings: dict[str, Any]
    scores: dict[str, Any]
    training: list[Row]
    evaluation: list[Row]


def read_run(folder: Path) -> RunRecord:
    """Read what the folder of a run holds, finished or not.

    Raises:
        CheckpointError: It holds nothing of a run.
        FileError: A file is damaged.
    """
    results, settings, scores = (_mapping(folder / f"{name}.json") for name in ("results", "settings", "scores"))
    training = _rows(folder / "training.csv", "step")
    evaluation = _rows(folder / "evaluation.csv", "epoch", "mean_iou")
    if not (settings or training or evaluation):
        raise CheckpointError(f"{folder}: holds no run, there is no settings.json, training.csv or evaluation.csv")
    return RunRecord(folder, results, settings, scores, training, evaluation)


def write_report(path: Path, folders: Sequence[Path]) -> None:
    """Write a page about one run, or about several side by side.

    The page is one file that needs no network: scores and what to hold them against, classes, curves, predictions and
    segments with a slider between their layers, settings, and what to do next.

    Args:
        path: The HTML file to write.
        folders: Of the runs, finished or not.

    Raises:
        CheckpointError: A folder holds nothing of a run.
        FileError: A file of one is damaged.
    """
    runs = {_name(folder, folders): read_run(folder) for folder in folders}
    title = f"Run {next(iter(runs))}" if len(runs) == 1 else f"{len(runs)} runs side by side"
    try:
        sections = _sections(runs)
    except FileError:
        raise
    except Exception as error:  # whatever a file that is JSON or a table, but not a run's, provokes
        names = ", ".join(map(str, folders))
        raise FileError(f"{names}: a file of the run is damaged ({type(error).__name__}: {error})") from error
    write_text(path, page(title, "\n".join(section for section in sections if section)))


def _sections(runs: Mapping[str, RunRecord]) -> tuple[str, ...]:
    return (
        _scores(runs),
        _classes(runs),
        _curves(runs),
        _layers(runs, _PREDICTIONS, "Predictions, in the colours of the classes", "prediction"),
        _layers(runs, _SEGMENTS, "Segments of unlabelled images, and the pooled projection", "segments"),
        _other_figures(runs),
        _settings(runs),
        _next(runs),
    )


def _name(folder: Path, folders: Sequence[Path]) -> str:
    """The shortest name that no other of the runs has."""
    parts = folder.resolve().parts
    for length in range(1, len(parts)):
        name = "/".join(parts[-length:])
        if sum("/".join(other.resolve().parts[-length:]) == name for other in folders) == 1:
            return name
    return str(folder)


def _mapping(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _rows(path: Path, *needed: str) -> list[Row]:
    if not path.exists():
        return []
    with reading(path, "a table of numbers"):
        lines = csv.DictReader(io.StringIO(read_text(path)))
        missing = [name for name in needed if name not in (lines.fieldnames or ())]
        if missing:
            raise FileError(f"{path}: has no column {missing[0]}")
        return [{key: float(value) for key, value in row.items()} for row in lines]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


# ------------------------------------------------------------------------------------------------- scores


def _scores(runs: Mapping[str, RunRecord]) -> str:
    blocks = [
        f"<div>{f'<h3>{escape(name)}</h3>' if len(runs) > 1 else ''}{_score(run)}</div>" for name, run in runs.items()
    ]
    return f'<h2>Score</h2>\n<div class="grid">{"".join(blocks)}</div>'


def _score(run: RunRecord) -> str:
    if not run.evaluation:
        state = "This run was not scored." if run.results else "Not scored yet."
        return f"<p>{state}</p>"
    last, results = run.evaluation[-1], run.results
    score = results.get("mean_iou", last["mean_iou"])
    data = results.get("data", {})
    what = f"mean IoU of {data['evaluated_frames']} frames" if data else "mean IoU"
    split = run.settings.get("evaluation")
    what += f" of the split {split}" if split else ""
    if results:
        count = results["averaged_evaluations"]
        what += f", the mean of the last {count} evaluations" if count > 1 else ""
    else:
        what += f", so far, after epoch {int(last['epoch'])}"
    rows = [
        ("Of the objects alone, without the background", results.get("mean_iou_objects", last["mean_iou_objects"])),
        ("Over all classes that are there or predicted", results.get("mean_iou_union", last["mean_iou_union"])),
        ("Pixels that are right", last["pixel_accuracy"]),
        ("After the first evaluation", run.evaluation[0]["mean_iou"]),
        ("If all were called background", _background(run)),
        *((f"Predicted in another way: {way}", of["mean_iou"]) for way, of in _ways(run).items() if way != "plain"),
    ]
    lines = [[escape(text), _percent(value)] for text, value in rows if value is not None]
    row = _thesis(run)
    if row is not None and row.thesis is not None:
        text = f"The thesis for “{row.row}” (table {row.table}), with its own model and data"
        lines.append([escape(text), f"{row.thesis:.2f}"])
    where = f'<p class="soft">{escape(str(data["root"]))}</p>' if data else ""
    return (
        f'<div class="score">{_percent(score)} %</div><p>{escape(what)}</p>{where}'
        f"{table(['Beside it', '%'], lines, numbers=[1])}"
    )


def _ways(run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = run.results.get("prediction", {}).get("ways", {})
    return found


def _background(run: RunRecord) -> float | None:
    """The mean IoU over the classes present of a model that says background everywhere."""
    pixels = [row["pixels"] for row in run.scores.get("classes", {}).values()]
    present = sum(count > 0 for count in pixels)
    return pixels[0] / sum(pixels) / present if present else None


def _thesis(run: RunRecord) -> Preset | None:
    """The row of a table whose settings this run has; of several, the one that says most."""
    fitting = [
        row
        for row in load_presets().values()
        if row.family == run.settings.get("family")
        and all(run.settings.get(name) == value for name, value in row.settings.items())
    ]
    return max(fitting, key=lambda row: len(row.settings), default=None)


# ------------------------------------------------------------------------------------------------ classes


def _classes(runs: Mapping[str, RunRecord]) -> str:
    scored = {name: run.scores["classes"] for name, run in runs.items() if "classes" in run.scores}
    if not scored:
        return ""
    rows, numbers = [], [*range(1, 1 + len(scored))]
    names = dict.fromkeys(name for classes in scored.values() for name in classes)  # in the order of the labels
    for index, name in enumerate(names):
        found = [classes.get(name) for classes in scored.values()]
        if all(row is None or row["iou"] is None for row in found):
            continue
        cells = [_percent(row["iou"]) if row else "" for row in found]
        if len(scored) == 1 and found[0]:
            width = 6 * found[0]["iou"]
            cells += [f'<span class="bar" style="width: {width:.2f}rem"></span>', f"{found[0]['pixels']:,}"]
            cells += [f"{found[0]['predicted_pixels']:,}"]
        rows.append([swatch(index, name), *cells])
    head = ["Class", *(["IoU, %"] if len(scored) == 1 else [f"{escape(name)}, %" for name in scored])]
    if len(scored) == 1:
        head, numbers = [*head, "", "pixels", "predicted"], [1, 3, 4]
    note = (
        '<p class="soft">Of the last evaluation. A class without a pixel in the truth does not count in the mean.</p>'
    )
    return f"<h2>Classes</h2>\n{table(head, rows, numbers)}{note}"


# ------------------------------------------------------------------------------------------------- curves


def _curves(runs: Mapping[str, RunRecord]) -> str:
    drawn = []
    evaluated = {name: run.evaluation for name, run in runs.items() if run.evaluation}
    if evaluated:
        measures = ["mean_iou"] if len(runs) > 1 else ["mean_iou", "mean_iou_objects", "pixel_accuracy"]
        lines = {
            (name if len(runs) > 1 else measure): ([row["epoch"] for row in rows], [row[measure] for row in rows])
            for name, rows in evaluated.items()
            for measure in measures
        }
        drawn.append(curves(lines, "Mean IoU" if len(runs) > 1 else "Evaluation", x="epoch"))
    for name, run in runs.items():
        terms = [term for term in (run.training[-1] if run.training else {}) if term != "step"]
        if terms:
            lines = {
                term: ([row["step"] for row in run.training], [row[term] for row in run.training]) for term in terms
            }
            title = "Training terms" if len(runs) == 1 else f"Training terms of {name}"
            drawn.append(curves(lines, title, x="step", log=True))
    return f'<h2>Curves</h2>\n<div class="grid">{"".join(drawn)}</div>' if drawn else ""


# ----------------------------------------------------------------------------------------------- pictures


def _layers(runs: Mapping[str, RunRecord], figure: str, title: str, first: str) -> str:
    """The pictures of each frame on top of each other; of several runs, frame by frame side by side."""
    frames: dict[str, list[str]] = {}
    for name, run in runs.items():
        for frame, layers in read_panels(run.folder / "figures" / figure):
            caption = frame if len(runs) == 1 else f"{name}: {frame}"
            seen = list(layers).index(first) if first in layers else 0
            frames.setdefault(frame, []).append(comparison(layers, caption, seen))
    if not frames:
        return ""
    if len(runs) == 1:
        return f'<h2>{title}</h2>\n<div class="grid">{"".join(block for row in frames.values() for block in row)}</div>'
    return f"<h2>{title}</h2>\n" + "\n".join(f'<div class="grid">{"".join(row)}</div>' for row in frames.values())


def _other_figures(runs: Mapping[str, RunRecord]) -> str:
    found = [
        f"<h3>{escape(path.stem if len(runs) == 1 else f'{name}: {path.stem}')}</h3>{picture(path, path.stem)}"
        for name, run in runs.items()
        for path in sorted((run.folder / "figures").glob("*.png"))
        if path.stem != "curves" and not read_panels(path.with_suffix(""))  # which are shown in another form
    ]
    return "<h2>Further figures</h2>\n" + "\n".join(found) if found else ""


# ----------------------------------------------------------------------------------------------- settings


def _settings(runs: Mapping[str, RunRecord]) -> str:
    flat = {name: _flat(run.settings) for name, run in runs.items() if run.settings}
    if not flat:
        return ""
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    rows = [[escape(key), *(escape(settings.get(key, "")) for settings in flat.values())] for key in keys]
    head = ["Setting", *(escape(name) for name in flat)] if len(flat) > 1 else ["Setting", "Value"]
    versions = [run.results["versions"] for run in runs.values() if "versions" in run.results]
    lines = dict.fromkeys(", ".join(f"{name} {value}" for name, value in found.items()) for found in versions)
    parts = ["<h2>Settings</h2>"]
    if len(flat) > 1:
        different = [row for row in rows if len(set(row[1:])) > 1]
        parts.append(table(head, different) if different else "<p>All runs have the same settings.</p>")
    parts.append(f"<details><summary>All settings</summary>{table(head, rows)}</details>")
    parts += [f'<p class="soft">{escape(line)}</p>' for line in lines]
    return "\n".join(parts)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = "" if value is None else str(value)
    return found


# ----------------------------------------------------------------------------------------------- commands


def _next(runs: Mapping[str, RunRecord]) -> str:
    best = max(runs.values(), key=lambda run: run.results.get("mean_iou", -1.0))
    folders = " ".join(str(run.folder) for run in runs.values())
    text = "Set it beside another run, such as one of another <code>--preset</code> or <code>--seed</code>:"
    label = ""
    if best.evaluation:
        label = (
            "<p>Label your own images, a folder of any pictures:</p>"
            f"<pre>correspondence-losses predict {escape(str(best.folder))} MY_IMAGES labelled</pre>"
        )
    return f"<h2>Next</h2>\n{label}<p>{text}</p><pre>correspondence-losses show {escape(folders)} runs/ANOTHER</pre>"
