"""Errors that a user can act on, as one line on the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from correspondence_losses.reference.engine.step_report import NonFiniteLossError
from correspondence_losses.reference.models.self_training import PseudoLabelCollapseError
from correspondence_losses.reference.models.weights import WeightsError

__all__ = ["REPORTED", "one_line", "one_line_errors"]

REPORTED = (ValueError, OSError, ModuleNotFoundError, NonFiniteLossError, PseudoLabelCollapseError, WeightsError)
"""What says by its message alone what to do; anything else is a fault of the code, and keeps its traceback."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line on stderr and exit code 1 where an error of :data:`REPORTED` is raised.

    ``python -X dev`` shows their tracebacks too.
    """
    try:
        yield
    except REPORTED as error:
        if sys.flags.dev_mode:
            raise
        sys.stderr.write(f"error: {one_line(error)}\n")
        raise SystemExit(1) from error


def one_line(error: BaseException) -> str:
    """Return an error's message without line breaks; that of an ``OSError`` begins with its file.

    Example:
        >>> one_line(FileNotFoundError(2, "No such file or directory", "scene.png"))
        'scene.png: No such file or directory'
        >>> one_line(MemoryError())
        'MemoryError'
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
