"""One line of progress for each stage of a job."""

import sys
from collections.abc import Iterable, Sized
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    stage: str,
    unit: str,
    total: int | None = None,
    done: int = 0,
    nested: bool = False,
    shown: bool = True,
) -> "tqdm[Any]":
    """Return a progress bar with the time left on a terminal; elsewhere, one line that says what begins.

    A bar that is redrawn in place fills a log file with carriage returns.

    Args:
        items: What is gone through. Default: nothing, the caller calls ``update``.
        stage: Its name.
        unit: Of what there is one for each step, in the singular.
        total: How many there are. Default: the length of ``items``.
        done: How many of them were done before.
        nested: Part of another stage: the line goes when it is done, and there is none where there is no terminal.
        shown: Show nothing otherwise, as on all processes but the first.
    """
    bar: tqdm[Any] = tqdm(
        items,
        desc=stage,
        total=total,
        initial=done,
        unit=unit,
        leave=not nested,
        dynamic_ncols=True,
        disable=None if shown else True,  # None: where there is no terminal
    )
    if shown and not nested and not sys.stderr.isatty():
        count = len(items) if total is None and isinstance(items, Sized) else total
        before = f", {done} of them done before" if done else ""
        sys.stderr.write(f"{stage}" + (f": {count} {unit}s{before}\n" if count is not None else "\n"))
    return bar
