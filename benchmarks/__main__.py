"""Run the benchmarks: print a table, and write results.json, results.md, time.svg and memory.svg."""

import argparse
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.machine import describe_machine
from benchmarks.report import Report, failures, markdown, write_report
from benchmarks.sweep import SWEEPS, run_sweep
from benchmarks.table import WORKLOADS, run_workload
from benchmarks.workload import Workload


def main(arguments: list[str] | None = None) -> int:
    """Return 1 if two sides of a comparison did not compute the same number."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="what has this in its name: vicreg, segments, ..., sweep")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    options = parser.parse_args(arguments)
    workloads = [workload for workload in WORKLOADS if (options.only or "") in workload.name]
    sweeps = [sweep for sweep in SWEEPS if (options.only or "") in sweep.name]
    if not workloads and not sweeps:
        parser.error(f"--only {options.only}: no such name; there are {', '.join(w.name for w in WORKLOADS + SWEEPS)}")

    start = perf_counter()
    report = Report(machine=describe_machine(), quick=options.quick, seconds=0, table=[], sweeps=[])
    for item in [*workloads, *sweeps]:
        _say(f"{perf_counter() - start:4.0f} s  {item.name}")
        if isinstance(item, Workload):
            report["table"].append(run_workload(item, quick=options.quick))
        else:
            report["sweeps"].append(run_sweep(item, quick=options.quick))
        report["seconds"] = round(perf_counter() - start, 1)
        write_report(report, options.output)  # each time, so that a run cut short leaves what it found

    sys.stdout.write(markdown(report))
    failed = failures(report)
    for failure in failed:
        _say(f"not the same number: {failure}")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
