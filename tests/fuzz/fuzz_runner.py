"""Running the targets in a process of their own, so that a crash, a hang or a flood of memory is one more result."""

import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["Report", "fuzz", "replay"]

SECONDS_PER_INPUT = 15.0
MAX_GROWTH = 1.5 * 2**30
"""Bytes that one input may add to the memory of the process: four times a picture of the greatest size allowed."""


@dataclass
class Report:
    """What came of the inputs.

    Attributes:
        inputs: How many there were of each target.
        read: How many of these were read.
        refused: The distinct errors that named the file, with how often each came up.
        failures: ``target:seed`` of each input that did anything else, with what it did.
        slowest: Seconds of the slowest input, and which that was.
        growth: Most bytes that the process grew by.
    """

    inputs: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    growth: int = 0

    def __str__(self) -> str:
        lines = [f"{'target':16} {'inputs':>8} {'read':>8} {'refused':>8} {'distinct errors':>16}"]
        for name, inputs in sorted(self.inputs.items()):
            distinct = [error for error in self.refused if error.startswith(f"{name}: ")]
            refused = sum(self.refused[error] for error in distinct)
            lines.append(f"{name:16} {inputs:8} {self.read[name]:8} {refused:8} {len(distinct):16}")
        total = f"{sum(self.inputs.values()):8} {sum(self.read.values()):8} {sum(self.refused.values()):8}"
        lines.append(f"{'all':16} {total} {len(self.refused):16}")
        lines.append(
            f"slowest {self.slowest[0]:.2f} s ({self.slowest[1]}), memory grew by {self.growth / 2**20:.0f} MiB"
        )
        lines.append(f"neither read nor refused with the name of the file: {len(self.failures)}")
        lines += [f"  {name}: {what}" for name, what in self.failures.items()]
        return "\n".join(lines)


def fuzz(inputs: Iterable[tuple[str, int]]) -> Report:
    """Run inputs, each a target's name and a seed, one after the other.

    Each target has a process of its own, since one input may damage memory and another one crash.
    """
    report = Report()
    worker, running = _Worker(), ""
    try:
        for name, seed in inputs:
            if running not in ("", name):
                worker.stop()
                worker = _Worker()
            running = name
            start = time.perf_counter()
            kind, detail, growth = worker.run(name, seed)
            seconds = time.perf_counter() - start
            report.inputs[name] += 1
            report.slowest = max(report.slowest, (seconds, f"{name}:{seed}"))
            report.growth = max(report.growth, growth)
            if kind == "read":
                report.read[name] += 1
            elif kind == "refused":
                report.refused[f"{name}: {detail}"] += 1
            else:
                report.failures[f"{name}:{seed}"] = f"{kind} {detail}"
                if kind in ("hang", "crash", "memory"):
                    worker.stop()
                    worker = _Worker()
    finally:
        worker.stop()
    return report


class _Worker:
    """A process that reads damaged files."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, other = context.Pipe()
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.process = context.Process(target=_work, args=(other, self.folder), daemon=True)
        self.process.start()
        other.close()
        self.connection.recv()  # it has imported what it needs

    def run(self, name: str, seed: int) -> tuple[str, str, int]:
        self.connection.send((name, seed))
        if not self.connection.poll(SECONDS_PER_INPUT):
            return "hang", f"took more than {SECONDS_PER_INPUT} s", 0
        try:
            result: tuple[str, str, int] = self.connection.recv()
        except EOFError:
            self.process.join()
            return "crash", f"exit code {self.process.exitcode}", 0
        return result

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)


def _work(connection: Connection, folder: Path) -> None:
    from fuzz_targets import TARGETS

    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # the C libraries of images write to it
    connection.send("ready")
    made: dict[str, dict[str, bytes]] = {}
    peak = 0
    while True:
        name, seed = connection.recv()
        target, root = TARGETS[name], folder / name / "root"
        if name not in made:
            root.mkdir(parents=True)
            target.make(root)
            target.read(root)  # whole files are read, and warm up what is loaded on first use
            made[name] = {path: (root / path).read_bytes() for path in target.files}
            peak = _peak()
        shutil.rmtree(folder / name / "written", ignore_errors=True)
        damaged = _damaged(target, name, seed, made[name])
        for path, content in damaged.items():
            (root / path).write_bytes(content)
        before = set(_names(folder / name))
        os.chdir(root)
        kind, detail = _outcome(target.read, root)
        stray = {path for path in _names(folder / name) if path.parts[0] != "written"} - before
        growth, peak = max(0, _peak() - peak), max(peak, _peak())
        if stray:
            kind, detail = "stray", f"wrote {sorted(map(str, stray))}"
        if growth > MAX_GROWTH or "MemoryError" in detail:
            kind, detail = "memory", f"grew by {growth} bytes; {detail}"
        for path in damaged:
            (root / path).write_bytes(made[name][path])
        connection.send((kind, detail, growth))


def replay(name: str, seed: int, root: Path) -> None:
    """Write the files of one input to a new folder, and read them in this process."""
    from fuzz_targets import TARGETS

    target = TARGETS[name]
    root.mkdir(parents=True)
    target.make(root)
    for path, content in _damaged(
        target, name, seed, {path: (root / path).read_bytes() for path in target.files}
    ).items():
        (root / path).write_bytes(content)
    target.read(root)


def _damaged(target: Any, name: str, seed: int, whole: dict[str, bytes]) -> dict[str, bytes]:
    rng = Random(f"{name}:{seed}")  # noqa: S311
    paths = rng.sample(sorted(target.files), min(rng.choice((1, 1, 1, 2)), len(target.files)))
    return {path: target.files[path](rng, whole[path]) for path in paths}


def _outcome(read: Any, root: Path) -> tuple[str, str]:
    try:
        read(root)
    except (ValueError, OSError) as error:
        named = str(root.parent) in str(error)
        return "refused" if named else "unnamed", _normal(error, root)
    except BaseException as error:
        return "uncaught", _normal(error, root)
    return "read", ""


def _normal(error: BaseException, root: Path) -> str:
    """An error without what differs between two of its kind."""
    text = f"{type(error).__name__}: {error}".replace(str(root.parent), "FOLDER")[:2000]  # a pattern below is quadratic
    text = re.sub(r"'[^']*'|\"[^\"]*\"|b'.*|\[.*\]", "…", text.splitlines()[0])
    return re.sub(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", "#", text)[:160]


def _names(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in folder.rglob("*"))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
