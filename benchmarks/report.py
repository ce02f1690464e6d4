"""The report: JSON with everything, Markdown and plots to look at."""

import json
from pathlib import Path
from typing import TypedDict

from benchmarks.measure import SideResult
from benchmarks.sweep import SweepResult
from benchmarks.table import Row

_LOSS = 0.95


class Report(TypedDict):
    """What one run of the benchmarks found."""

    machine: dict[str, object]
    quick: bool
    seconds: float
    table: list[Row]
    sweeps: list[SweepResult]


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
    lines = [
        "| workload | peer | ours | peer's | ratio | memory, ours | memory, peer's | difference | target |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in rows),
        "",
        "Times are medians a step (least to most; runs); ratios are the peer's time over ours; memory is the peak "
        "beyond the inputs; the difference is the largest relative one of the value and its gradients.",
        "",
        *(f"- {row['title']}: {row['note']}." for row in rows if row["note"]),
        "",
        f"Slower than the peer by more than 5 %: {'; '.join(losses(report)) or 'none'}.",
        "",
        "Measured on: " + ", ".join(f"{name} {value}" for name, value in report["machine"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def losses(report: Report) -> list[str]:
    """Where a peer was faster by more than 5 %; one that only does a part of the work is no rival."""
    rows = [
        (f"{row['title']} beside {row['peer']}", row["measurement"]) for row in report["table"] if not row["is_floor"]
    ]
    points = [
        (f"{sweep['title']}, {sweep['axis']} = {value}, beside {sweep['peer']}", point)
        for sweep in report["sweeps"]
        for value, point in zip(sweep["values"], sweep["points"], strict=True)
    ]
    return [f"{what} ({point['ratio']:.2f})" for what, point in rows + points if point["ratio"] < _LOSS]


def failures(report: Report) -> list[str]:
    """Comparisons whose two sides did not compute the same number."""
    rows = [(row["name"], row["measurement"]) for row in report["table"]]
    points = [(sweep["name"], point) for sweep in report["sweeps"] for point in sweep["points"]]
    return [
        f"{name}: relative difference {point['relative_difference']:.1e}"
        for name, point in rows + points
        if not point["same_number"]
    ]


def _line(row: Row) -> str:
    measurement = row["measurement"]
    ours, peer, difference = measurement["ours"], measurement["peer"], measurement["relative_difference"]
    targets = ", ".join(f"{target}: {'met' if met else '**missed**'}" for target, met in row["targets"].items())
    cells = [
        row["title"],
        row["peer"] + (" (a floor)" if row["is_floor"] else ""),
        _time(ours),
        _time(peer),
        _three_digits(measurement["ratio"]),
        f"{ours['peak_memory_mib']:.0f} MiB",
        f"{peer['peak_memory_mib']:.0f} MiB",
        "-" if difference is None else f"{difference:.0e}",
        targets,
    ]
    return f"| {' | '.join(cells)} |"


def _time(side: SideResult) -> str:
    scale, unit = (1, "s") if side["median_s"] >= 1 else (1e3, "ms")
    median, least, most = (_three_digits(side[key] * scale) for key in ("median_s", "least_s", "most_s"))
    return f"{median} {unit} ({least} to {most}; {side['runs']})"


def _three_digits(figure: float) -> str:
    return f"{figure:.3g}" if figure < 999.5 else f"{figure:,.0f}"


def _draw(sweeps: list[SweepResult], path: Path, key: str, label: str) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(sweeps) // columns)
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(3 * columns, 2.6 * rows), layout="constrained")
        for axes, sweep in zip(figure.subplots(rows, columns, squeeze=False).flat, sweeps, strict=False):
            for side, marker in (("peer", "s"), ("ours", "o")):
                # Steps too small to raise the peak of a process at all are drawn at 0.1 MiB.
                heights = [max(point[side][key], 0.1 if key == "peak_memory_mib" else 0) for point in sweep["points"]]
                axes.plot(sweep["values"], heights, marker=marker, label=sweep["peer"] if side == "peer" else "ours")
            axes.set(xscale="log", yscale="log", title=sweep["title"], xlabel=sweep["axis"], ylabel=label)
            axes.legend(fontsize=7)
            axes.grid(visible=True, alpha=0.3)
        for axes in figure.axes[len(sweeps) :]:
            axes.set_axis_off()
        figure.savefig(path, metadata={"Date": None})
