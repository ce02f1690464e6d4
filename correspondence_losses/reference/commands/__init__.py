"""One module for each command, with ``main(arguments)``; only the chosen one is imported."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import auto_cli

__all__ = ["call", "print_missing"]


def call(components: Callable[..., Any] | dict[str, Any], command: str, arguments: Sequence[str]) -> Any:
    """Call a function, or one of several by name, with arguments that its signature describes."""
    return auto_cli(
        components,
        args=list(arguments),
        as_positional=True,
        prog=f"correspondence-losses {command}",
        allow_abbrev=False,
    )


def print_missing(frames: Sequence[str]) -> None:
    """Print what is missing, a name a line, and exit with 1 if anything is, as a script would want to know."""
    sys.stdout.write("".join(f"{frame}\n" for frame in frames))
    if frames:
        raise SystemExit(1)
