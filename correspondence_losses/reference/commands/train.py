"""``train``: one row of a table."""

from collections.abc import Sequence

from correspondence_losses.reference.runs.command_line import settings_from_command_line
from correspondence_losses.reference.runs.run import run

_DESCRIPTION = """Train one row of a table, score it and draw its figures; a run that was stopped goes on when the same
command is given again. Without --data, embedded scenes are made and used."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(
        settings_from_command_line(
            preset="sam_fpn", description=_DESCRIPTION, args=arguments, prog="correspondence-losses train"
        )
    )
