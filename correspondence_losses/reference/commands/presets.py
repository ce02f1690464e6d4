"""``presets``: list the rows of all tables."""

import argparse
import sys
from collections.abc import Sequence

from correspondence_losses.reference.experiments.presets import load_tables
from correspondence_losses.reference.runs.command_line import list_presets


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="correspondence-losses presets",
        description="List the rows of tables: the preset that runs each, and the thesis's mean IoU in percent.",
        allow_abbrev=False,
    )
    tables = load_tables()
    parser.add_argument("--tables", nargs="+", choices=tables, default=list(tables), metavar="TABLE")
    chosen = parser.parse_args(arguments)
    sys.stdout.write(list_presets(row for table in chosen.tables for row in tables[table]))
