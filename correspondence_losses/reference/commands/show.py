"""``show``: draw the curves of several runs in one plot."""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.figures.plots import plot_comparison
from correspondence_losses.reference.files import read_json, read_text


def show(runs: Sequence[Path], output: Path, metric: str) -> None:
    """Print the result of each run, and draw the evaluations of all of them in one plot.

    Args:
        runs: Their folders, finished or not.
        output: The picture to write.
        metric: What is drawn, a column of ``evaluation.csv``.

    Raises:
        CheckpointError: A folder holds no evaluation.
        ValueError: The evaluations have no such metric.
    """
    curves = {str(run): _evaluations(run) for run in runs}
    width = max(len(name) for name in curves)
    for run, (name, rows) in zip(runs, curves.items(), strict=True):
        last = rows[-1]
        line = f"{name:<{width}}  epoch {int(last['epoch'])}, mean IoU {100 * last['mean_iou']:.2f} %"
        if (run / "results.json").exists():
            results = read_json(run / "results.json")
            line += f"; result {100 * results['mean_iou']:.2f} %, the mean of {results['averaged_evaluations']}"
        tqdm.write(line)
    plot_comparison(output, curves, "Evaluation", metric)
    tqdm.write(f"see {output}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="correspondence-losses show",
        description="Print the result of each run, and draw the evaluations of all of them in one plot.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, finished or not")
    parser.add_argument("--output", type=Path, default=Path("comparison.png"), help="the picture to write")
    parser.add_argument(
        "--metric",
        default="mean_iou",
        help="what is drawn, a column of evaluation.csv such as mean_iou_objects or iou/025_mug",
    )
    chosen = parser.parse_args(arguments)
    show(chosen.runs, chosen.output, chosen.metric)


def _evaluations(run: Path) -> list[dict[str, float]]:
    path = run / "evaluation.csv"
    if not path.is_file():
        raise CheckpointError(f"{run}: holds no evaluation, there is no evaluation.csv")
    rows = csv.DictReader(io.StringIO(read_text(path)))
    return [{name: float(value) for name, value in row.items()} for row in rows]
