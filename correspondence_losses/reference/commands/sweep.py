"""``sweep``: run the rows of tables, and write their results beside the thesis's."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from correspondence_losses.reference.experiments.presets import load_presets, load_tables, scale_names
from correspondence_losses.reference.files import reading
from correspondence_losses.reference.runs.command_line import refuse_aliases
from correspondence_losses.reference.runs.results_table import write_results
from correspondence_losses.reference.runs.sweep import sweep

_DESCRIPTION = """Run the rows of tables one after another, each with all seeds, in OUTPUT/PRESET/seed-N. The same
command goes on where it was stopped: finished runs are skipped, unfinished ones continued, failed ones tried again.
OUTPUT/results.md and results.json have what came out beside the thesis's figures, after each run."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    tables = load_tables()
    parser = argparse.ArgumentParser(
        prog="correspondence-losses sweep",
        usage="%(prog)s --tables TABLE ... [--presets NAME ...] [--seeds N ...] [--output DIR] [--SETTING VALUE ...]",
        description=_DESCRIPTION,
        epilog="Every setting of a run (correspondence-losses train --help) is an argument too, for all runs.",
        allow_abbrev=False,
    )
    parser.add_argument("--tables", nargs="+", required=True, choices=tables, metavar="TABLE", help=", ".join(tables))
    parser.add_argument("--presets", nargs="+", choices=load_presets(), metavar="NAME", help="run these rows only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    parser.add_argument("--scale", choices=scale_names(), default="laptop", help="default: laptop")
    parser.add_argument("--output", type=Path, default=Path("runs/sweep"), help="default: runs/sweep")
    parser.add_argument("--config", type=Path, help="a YAML file with settings of all runs")
    parser.add_argument("--collect", action="store_true", help="run nothing, write the results of what is there")
    chosen, settings = parser.parse_known_args(arguments)
    chosen_tables = {name: tables[name] for name in chosen.tables}
    if chosen.collect:
        write_results(chosen.output, chosen_tables)
        return
    failures = sweep(
        chosen_tables,
        output=chosen.output,
        seeds=chosen.seeds,
        scale=chosen.scale,
        presets=chosen.presets,
        changes=_read(chosen.config),
        args=settings,
    )
    if failures:
        raise SystemExit(1)


def _read(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    with reading(config, "YAML"):
        refuse_aliases(config)
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(  # noqa: TRY004 - it is the file that is wrong
            f"{config}: must hold settings by name, got a {type(content).__name__}"
        )
    return content
