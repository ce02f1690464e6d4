"""``show``: several runs side by side, on one page or as curves in one plot."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.figures.plots import plot_comparison
from correspondence_losses.reference.runs.report import RunRecord, read_run, write_report


def show(runs: Sequence[Path], output: Path, metric: str) -> None:
    """Print the result of each run, and show all of them on one page or in one plot.

    Args:
        runs: Their folders, finished or not.
        output: What is written: a page where its name ends in ``.html``, else a picture of the evaluations' curves.
        metric: What the picture shows, a column of ``evaluation.csv``.

    Raises:
        CheckpointError: A folder holds no run; for a picture, no evaluation.
        ValueError: The evaluations have no such metric.
    """
    records = {str(run): read_run(run) for run in runs}
    width = max(len(name) for name in records)
    for name, record in records.items():
        tqdm.write(f"{name:<{width}}  {_line(record)}")
    if output.suffix.lower() == ".html":
        write_report(output, runs)
    else:
        for name, record in records.items():
            if not record.evaluation:
                raise CheckpointError(f"{name}: holds no evaluation, there is no evaluation.csv")
        curves = {name: record.evaluation for name, record in records.items()}
        plot_comparison(output, curves, "Evaluation", metric)
    tqdm.write(f"see {output}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="correspondence-losses show",
        description="Print the result of each run, and show all of them on one page or in one plot.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, finished or not")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("comparison.html"),
        help="what to write: a page (.html), or a picture of the curves (.png, .svg, .pdf); default: comparison.html",
    )
    parser.add_argument(
        "--metric",
        default="mean_iou",
        help="what the picture shows, a column of evaluation.csv such as mean_iou_objects or iou/025_mug",
    )
    chosen = parser.parse_args(arguments)
    show(chosen.runs, chosen.output, chosen.metric)


def _line(record: RunRecord) -> str:
    if not record.evaluation:
        return "not scored"
    last = record.evaluation[-1]
    line = f"epoch {int(last['epoch'])}, mean IoU {100 * last['mean_iou']:.2f} %"
    if "mean_iou" in record.results:
        mean, count = 100 * record.results["mean_iou"], record.results["averaged_evaluations"]
        line += f"; result {mean:.2f} %, the mean of {count}"
    return line
