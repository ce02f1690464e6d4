"""One module for each command, with ``main(arguments)``; only the chosen one is imported."""

from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import auto_cli

__all__ = ["call"]


def call(components: Callable[..., None] | dict[str, Any], command: str, arguments: Sequence[str]) -> Any:
    """Call a function, or one of several by name, with arguments that its signature describes."""
    return auto_cli(
        components,
        args=list(arguments),
        as_positional=True,
        prog=f"correspondence-losses {command}",
        allow_abbrev=False,
    )
