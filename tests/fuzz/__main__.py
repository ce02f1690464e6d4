"""Read damaged files for a while, and say what came of it: ``python tests/fuzz --seconds 600``."""

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from fuzz_runner import fuzz, replay
from fuzz_targets import TARGETS


def main() -> int:
    # Each target's process is forked from one that has imported PyTorch and the rest once; it finds modules by the
    # environment only.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    multiprocessing.set_forkserver_preload(["fuzz_targets"])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--input", help="TARGET:SEED: one input of a report again, in this process")
    arguments = parser.parse_args()
    if arguments.input:
        name, _, seed = arguments.input.partition(":")
        replay(name, int(seed), Path(tempfile.mkdtemp(prefix="fuzz-")) / name / "root")
        return 0
    seconds = arguments.seconds / len(arguments.targets)

    def inputs() -> Iterator[tuple[str, int]]:
        for name in arguments.targets:
            end = time.monotonic() + seconds
            for seed in itertools.count(arguments.first_seed):
                if time.monotonic() > end:
                    break
                yield name, seed

    report = fuzz(inputs())
    sys.stdout.write(f"{report}\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
