"""``presets``: list the rows of all tables."""

import sys
from collections.abc import Sequence

from correspondence_losses.reference.command_line import list_presets
from correspondence_losses.reference.commands import call
from correspondence_losses.reference.presets import load_presets


def presets(tables: list[str] | None = None) -> None:
    """List the rows of tables: the preset that runs each, and the thesis's mean IoU in percent.

    Args:
        tables: Which tables. Default: all.
    """
    rows = load_presets().values()
    sys.stdout.write(list_presets(row for row in rows if tables is None or row.table in tables))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    call(presets, "presets", arguments)
