"""Real processes, forked from a server that has imported PyTorch and the trainer once (see ``conftest.py``)."""

import atexit
import gc
import os
import runpy
import socket
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.multiprocessing as mp

from correspondence_losses.reference.experiments import FamilySettings
from correspondence_losses.reference.runs.run import run

__all__ = ["run_in_two_processes", "run_script", "start_script"]


def run_in_two_processes(settings: FamilySettings) -> None:
    """Run settings with ``devices=2`` in two gloo processes, with the variables that Fabric gives those it starts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.start_processes(_rank, (settings, port), nprocs=2, start_method="forkserver")


def _rank(rank: int, settings: FamilySettings, port: int) -> None:
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
    }
    run(settings)


def start_script(script: Path, arguments: Sequence[str], folder: Path) -> BaseProcess:
    """Start a script as a program, the first of a group of processes of its own, as a shell starts it.

    Args:
        script: To run.
        arguments: Its command line.
        folder: Where it runs; what it writes to the standard streams goes to ``out`` and ``err`` there.
    """
    context = mp.get_context("forkserver")
    process = context.Process(target=_script, args=(script, [*arguments], folder))
    process.start()
    return process


def run_script(script: Path, arguments: Sequence[str], folder: Path) -> str:
    """Run a script as :func:`start_script` does, check that it ends well, and return its standard output."""
    process = start_script(script, arguments, folder)
    process.join()
    assert process.exitcode == 0, (folder / "err").read_text()
    return (folder / "out").read_text()


def _script(script: Path, arguments: list[str], folder: Path) -> None:
    os.setsid()
    # Its own processes start as those of any program, and not as it did.
    mp.set_start_method(mp.get_all_start_methods()[0], force=True)
    os.chdir(folder)
    for standard, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), standard)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    code: int | str | None = None
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    # What a program does at its end, and a process of multiprocessing does not: PyTorch lets go of its readers there.
    gc.collect()
    atexit._run_exitfuncs()
    sys.exit(code)
