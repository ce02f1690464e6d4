"""Rows of tables, one run after another, for several seeds."""

import dataclasses
import hashlib
import json
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from tqdm import tqdm

from correspondence_losses.reference.experiments import FAMILIES, FamilySettings
from correspondence_losses.reference.experiments.presets import Preset
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.files import write_text
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.errors import REPORTED, one_line
from correspondence_losses.reference.runs.results_table import FAILURE, run_folder, write_results
from correspondence_losses.reference.runs.run import PLACE, check_same_settings, launch, run

__all__ = ["MANAGED", "sweep"]

MANAGED = ("output", "overwrite", "seed")
"""Settings that a sweep gives to each run itself."""


def sweep(
    tables: Mapping[str, Sequence[Preset]],
    *,
    output: Path,
    seeds: Sequence[int],
    scale: str,
    presets: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    args: Sequence[str] = (),
) -> list[str]:
    """Run the rows of tables, each with all seeds, and write ``results.md`` and ``results.json`` after each run.

    The run of a row is in ``OUTPUT/PRESET/seed-N``. A finished one is skipped, an unfinished one continued, and one
    that fails does not keep the others from being run. All of them share their segments (``OUTPUT/masks``), and those
    of equal backbones, trained apart from the head, share these (``OUTPUT/backbones``).

    Args:
        tables: Rows by the table's name; all of them are in the results.
        output: The sweep's folder.
        seeds: Of the runs. Each seed's rows are run before the next one's.
        scale: Of the runs.
        presets: Run the rows of these only. Default: all.
        changes: Settings of all runs by name, nested ones as mappings. One that a row's family does not have is left
            out there.
        args: The same as arguments of the command line, which come after ``changes``.

    Returns:
        Those that failed, each with its reason.

    Raises:
        ValueError: A setting is one that the sweep gives itself, or no row has it; or a preset is of no row.
        Interrupted: The sweep was asked to stop; the same call goes on from there.
    """
    rows = {row.name: row for table in tables.values() for row in table}
    if presets is not None:
        if not set(presets) <= set(rows):
            raise ValueError(f"presets must be of the rows of the tables, {', '.join(rows)}, got {', '.join(presets)}")
        rows = {name: row for name, row in rows.items() if name in presets}
    options = _options(args)
    _check_names([*(changes or {}), *(name for name, _ in options)], rows.values())
    failures: list[str] = []
    fabric: Fabric | None = None
    total = len(rows) * len(seeds)
    for number, (seed, row) in enumerate(((seed, row) for seed in seeds for row in rows.values()), start=1):
        folder = run_folder(output, row.name, seed)
        try:
            settings = _settings(row, seed, output, scale, changes or {}, options)
            fabric = fabric or launch(settings)
            check_same_settings(settings.stages()[-1])
            if (folder / "results.json").exists():
                continue
            if fabric.global_rank == 0:
                tqdm.write(f"[{number}/{total}] {row.name}, seed {seed}")
            run(settings, fabric=fabric)
            reason = None
        except Exception as error:
            reason = one_line(error) if isinstance(error, REPORTED) else f"{type(error).__name__}: {one_line(error)}"
            failures.append(f"{row.name}, seed {seed}: {reason}")
            if not isinstance(error, REPORTED):
                traceback.print_exc(file=sys.stderr)
        if fabric is None or fabric.global_rank == 0:
            _record_failure(folder, reason)
            write_results(output, tables)
    if fabric is None or fabric.global_rank == 0:
        write_results(output, tables)
        tqdm.write(f"see {output / 'results.md'}")
        if failures:
            tqdm.write("\n".join(["failed:", *failures]), file=sys.stderr)
    return failures


def _settings(
    row: Preset,
    seed: int,
    output: Path,
    scale: str,
    changes: Mapping[str, Any],
    options: Sequence[tuple[str, list[str]]],
) -> FamilySettings:
    known = _names(row)
    own = {name: value for name, value in changes.items() if name in known}
    folder = run_folder(output, row.name, seed)
    shared = {"masks": str(output / "masks")} if "masks" in known else {}
    settings = preset_settings(
        row.name,
        scale=scale,
        changes={**shared, **own, "output": str(folder), "seed": seed},
        args=[token for name, tokens in options if name in known for token in tokens],
    )
    first, *later = settings.stages()
    if not later or getattr(settings, "backbone_run", None) is not None:
        return settings
    content = {name: value for name, value in plain(first).items() if name not in PLACE}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    shared_backbone: dict[str, Any] = {"backbone_run": output / "backbones" / digest}
    return dataclasses.replace(settings, **shared_backbone)


def _record_failure(folder: Path, reason: str | None) -> None:
    if reason is None:
        (folder / FAILURE).unlink(missing_ok=True)
    elif not (folder / "results.json").exists():  # of a run with other settings, which stays as it is
        write_text(folder / FAILURE, f"{reason}\n")


def _options(args: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return ``--NAME VALUE`` and ``--NAME=VALUE`` with the name of the setting that each is, or is a part of."""
    options: list[tuple[str, list[str]]] = []
    for token in args:
        if token.startswith("--"):
            options.append((token[2:].partition("=")[0].partition(".")[0], [token]))
        elif options:
            options[-1][1].append(token)
        else:
            raise ValueError(f"settings must be given as --NAME VALUE, got {token!r}")
    return options


def _check_names(names: Sequence[str], rows: Iterable[Preset]) -> None:
    known = {name for row in rows for name in _names(row)}
    for name in names:
        if name in MANAGED:
            raise ValueError(f"{name} is given to each run by the sweep")
        if name not in known:
            raise ValueError(f"{name} is a setting of none of the rows")


def _names(row: Preset) -> set[str]:
    return {field.name for field in dataclasses.fields(FAMILIES[row.family])}
