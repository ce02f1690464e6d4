"""The report: JSON with everything, Markdown and plots to look at."""

import json
from pathlib import Path
from typing import TypedDict

from benchmarks.gpu_tests import GpuTests
from benchmarks.machine import Rates
from benchmarks.measure import FloorResult, Measurement, SideResult
from benchmarks.sweep import SweepResult
from benchmarks.table import Row
from benchmarks.thesis import Result
from benchmarks.thesis import markdown as thesis_table

_LOSS = 0.95


class Report(TypedDict):
    """What one run of the benchmarks found."""

    machine: dict[str, object]
    rates: Rates
    quick: bool
    processes: int
    """In which each row ran."""
    seconds: float
    table: list[Row]
    gpu_tests: GpuTests | None
    thesis: list[Result]
    """Training steps of the thesis's protocol, on a GPU."""
    sweeps: list[SweepResult]
    left_out: list[str]
    """What there was no time for."""


def write_report(report: Report, folder: Path) -> None:
    """Write results.json, results.md and, where there are sweeps, time.svg and memory.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(report))
    if report["sweeps"]:
        _draw(report["sweeps"], folder / "time.svg", "median_s", "seconds a step")
        _draw(report["sweeps"], folder / "memory.svg", "peak_memory_mib", "peak memory, MiB")


def markdown(report: Report) -> str:
    """The table, its notes, where we lose, and the machine."""
    rows = report["table"]
    rates, tests = report["rates"], report["gpu_tests"]
    times = (
        "Times are medians a step (least to most; runs)"
        if report["processes"] == 1
        else f"Each row ran in {report['processes']} processes, and figures are medians over them (least to most)"
    )
    lines = [
        "| workload | peer | ours | peer's | ratio | floor | times the floor | memory, ours | memory, peer's "
        "| difference | target |",
        f"|{' --- |' * 11}",
        *(_line(row, rates) for row in rows),
        "",
        f"{times}; ratios are the peer's time over ours; memory is the peak beyond the inputs; the difference is the "
        "largest relative one of the value and its gradients. A floor is the least work of any solution, at the rate "
        "that it reached and the rate of one large copy or product.",
        "",
        *(f"- {row['title']}: {row['note']}." for row in rows if row["note"]),
        "",
        f"Slower than the peer by more than 5 %: {'; '.join(losses(report)) or 'none'}.",
        *([] if tests is None else ["", f"Tests marked for a GPU: {tests['summary']}."]),
        *(["", thesis_table(report["thesis"]).rstrip()] if report["thesis"] else []),
        *(["", f"No time was left for: {', '.join(report['left_out'])}."] if report["left_out"] else []),
        "",
        "Measured on: " + ", ".join(f"{name} {value}" for name, value in report["machine"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def losses(report: Report) -> list[str]:
    """Where a peer was faster by more than 5 %."""
    rows = [(f"{row['title']} beside {row['peer']}", row["measurement"]) for row in report["table"]]
    points = [
        (f"{sweep['title']}, {sweep['axis']} = {value}, beside {sweep['peer']}", point)
        for sweep in report["sweeps"]
        for value, point in zip(sweep["values"], sweep["points"], strict=True)
    ]
    return [f"{what} ({point['ratio']:.2f})" for what, point in rows + points if point["ratio"] < _LOSS]


def failures(report: Report) -> list[str]:
    """Comparisons whose two sides did not compute the same number, and tests that failed."""
    rows = [(row["name"], row["measurement"]) for row in report["table"]]
    points = [(sweep["name"], point) for sweep in report["sweeps"] for point in sweep["points"]]
    failed = [
        f"not the same number: {name}: relative difference {point['relative_difference']:.1e}"
        for name, point in rows + points
        if not point["same_number"]
    ]
    tests = report["gpu_tests"]
    return failed if tests is None or tests["passed"] else [*failed, f"tests: {tests['summary']}"]


def _line(row: Row, rates: Rates) -> str:
    measurement = row["measurement"]
    ours, peer, floor = measurement["ours"], measurement["peer"], measurement["floor"]
    targets = ", ".join(f"{target}: {'met' if met else '**missed**'}" for target, met in row["targets"].items())
    cells = [
        row["title"],
        row["peer"],
        _time(ours),
        _time(peer),
        _ratio(measurement),
        *(("-", "-") if floor is None else (_floor(row["floor"], floor, rates), _times(floor))),
        f"{ours['peak_memory_mib']:.0f} MiB",
        f"{peer['peak_memory_mib']:.0f} MiB",
        f"{measurement['relative_difference']:.0e}",
        targets,
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(measurement: Measurement) -> str:
    return _median(measurement["ratio"], measurement["least_ratio"], measurement["most_ratio"])


def _times(floor: FloorResult) -> str:
    return _median(floor["times"], floor["least_times"], floor["most_times"])


def _median(median: float, least: float, most: float) -> str:
    spread = "" if least == most else f" ({_three_digits(least)} to {_three_digits(most)})"
    return _three_digits(median) + spread


def _floor(what: str, floor: FloorResult, rates: Rates) -> str:
    seconds = floor["median_s"]
    scale, unit = _unit(seconds)
    work, limit, per = (
        (floor["bytes"], rates["bytes_s"], "GB/s") if floor["bytes"] else (floor["flops"], rates["flops_s"], "GFLOP/s")
    )
    reached = f"{_three_digits(work / seconds / 1e9)} of {_three_digits(limit / 1e9)} {per}"
    return f"{what}: {_three_digits(seconds * scale)} {unit} ({reached})"


def _unit(seconds: float) -> tuple[float, str]:
    return (1, "s") if seconds >= 1 else (1e3, "ms")


def _time(side: SideResult) -> str:
    scale, unit = _unit(side["median_s"])
    median, least, most = (_three_digits(side[key] * scale) for key in ("median_s", "least_s", "most_s"))
    return f"{median} {unit} ({least} to {most}; {side['runs']})"


def _three_digits(figure: float) -> str:
    return f"{figure:.3g}" if figure < 999.5 else f"{figure:,.0f}"


def _draw(sweeps: list[SweepResult], path: Path, key: str, label: str) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    columns = 4
    rows = -(-len(sweeps) // columns)
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8, "axes.titlesize": 8}):
        figure = Figure(figsize=(3 * columns, 2.6 * rows), layout="constrained")
        for axes, sweep in zip(figure.subplots(rows, columns, squeeze=False).flat, sweeps, strict=False):
            for side, marker in (("peer", "s"), ("ours", "o")):
                # Steps too small to raise the peak of a process at all are drawn at 0.1 MiB.
                heights = [max(point[side][key], 0.1 if key == "peak_memory_mib" else 0) for point in sweep["points"]]
                axes.plot(sweep["values"], heights, marker=marker, label=sweep["peer"] if side == "peer" else "ours")
            axes.set(xscale="log", yscale="log", title=sweep["title"], xlabel=sweep["axis"], ylabel=label)
            axes.set_xticks(sweep["values"], map(str, sweep["values"]))
            axes.xaxis.set_minor_locator(NullLocator())  # within a decade their labels overlap
            axes.legend(fontsize=7)
            axes.grid(visible=True, alpha=0.3)
        for axes in figure.axes[len(sweeps) :]:
            axes.set_axis_off()
        figure.savefig(path, metadata={"Date": None})
