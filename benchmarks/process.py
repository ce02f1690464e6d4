"""Processes that have run nothing yet, so that no measurement depends on those before it."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_new_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a process of its own, which has the library imported."""
    # The server imports the library once; each call is run by a fork of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.sweep"])
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *args, **kwargs).result()
