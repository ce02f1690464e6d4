"""``train``: one row of a table."""

from collections.abc import Iterable, Sequence

from correspondence_losses.reference.runs.command_line import settings_from_command_line
from correspondence_losses.reference.runs.errors import one_line_errors
from correspondence_losses.reference.runs.run import run

_DESCRIPTION = """Train one row of a table, score it and draw its figures; a run that was stopped goes on when the same
command is given again. Without --data, embedded scenes are made and used."""


def train(
    *,
    preset: str,
    description: str | None,
    tables: Iterable[str] | None = None,
    args: Sequence[str] | None = None,
    prog: str | None = None,
) -> None:
    """Run what the command line says; the arguments are those of :func:`.command_line.settings_from_command_line`."""
    with one_line_errors():
        run(settings_from_command_line(preset=preset, description=description, tables=tables, args=args, prog=prog))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    train(preset="sam_fpn", description=_DESCRIPTION, args=arguments, prog="correspondence-losses train")
