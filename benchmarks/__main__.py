"""Run the benchmarks: print a table, and write results.json, results.md, time.svg and memory.svg.

On a GPU the tests marked for one run as well, and training steps of the thesis's protocol, and all of it ends within
ten minutes.
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.device import benchmark_device
from benchmarks.gpu_tests import run_gpu_tests
from benchmarks.machine import describe_machine, measure_rates
from benchmarks.process import in_new_process
from benchmarks.report import Report, failures, markdown, write_report
from benchmarks.sweep import SWEEPS, Sweep, run_sweep
from benchmarks.table import WORKLOADS, run_workload
from benchmarks.thesis import VARIANTS, Variant, run_variant
from benchmarks.workload import Workload

# On a GPU: nothing new starts after so many seconds, and the tests get so many at most before the curves are drawn.
_LAST_START, _TESTS = 570, 180


def main(arguments: list[str] | None = None) -> int:
    """Return 1 if two sides of a comparison did not compute the same number, or a test on the GPU failed."""
    options, chosen = _parse(arguments)
    device, on_gpu = options.device, options.device.type == "cuda"
    start = perf_counter()
    report = Report(
        machine=describe_machine(device),
        rates=in_new_process(measure_rates, device),
        quick=options.quick,
        processes=options.processes,
        seconds=0,
        table=[],
        gpu_tests=None,
        thesis=[],
        sweeps=[],
        left_out=[],
    )
    for item in chosen:
        elapsed = perf_counter() - start
        if on_gpu and elapsed > _LAST_START:
            report["left_out"].append(item.name)
            continue
        if on_gpu and options.only is None and not isinstance(item, Workload) and report["gpu_tests"] is None:
            _say(f"{elapsed:4.0f} s  tests marked for a GPU")
            report["gpu_tests"] = run_gpu_tests(min(_TESTS, _LAST_START - elapsed))
        _say(f"{perf_counter() - start:4.0f} s  {item.name}")
        if isinstance(item, Workload):
            row = run_workload(item, quick=options.quick, device=device, processes=options.processes)
            report["table"].append(row)
        elif isinstance(item, Variant):
            report["thesis"].append(in_new_process(run_variant, item, device, quick=options.quick))
        else:
            report["sweeps"].append(run_sweep(item, quick=options.quick, device=device))
        report["seconds"] = round(perf_counter() - start, 1)
        write_report(report, options.output)  # each time, so that a run cut short leaves what it found

    sys.stdout.write(markdown(report))
    failed = failures(report)
    for failure in failed:
        _say(failure)
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, list[Workload | Variant | Sweep]]:
    """Return the options, and what is to run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="what begins with one of these: vicreg, segments, ..., thesis, sweep"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    parser.add_argument("--device", type=benchmark_device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="run each row of the table in N new processes, and report medians over them",
    )
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error(f"--processes must be at least 1, got {options.processes}")
    on_gpu = options.device.type == "cuda"
    every = [*(w for w in WORKLOADS if on_gpu or not w.cuda_only), *(VARIANTS if on_gpu else []), *SWEEPS]
    chosen = [item for item in every if item.name.startswith(tuple(options.only or [""]))]
    if not chosen:
        parser.error(
            f"--only {' '.join(options.only)}: no such name; there are {', '.join(item.name for item in every)}"
        )
    return options, chosen


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
