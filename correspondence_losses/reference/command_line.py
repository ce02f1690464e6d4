"""Settings from a scale, a preset, a YAML file and the command line, in this order."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from correspondence_losses.reference.checkpoint import CheckpointError
from correspondence_losses.reference.data.files import read_json
from correspondence_losses.reference.families import FAMILIES
from correspondence_losses.reference.presets import Preset, load_presets, load_scale, scale_names
from correspondence_losses.reference.settings import RunSettings

__all__ = ["list_presets", "load_settings", "preset_settings", "settings_from_command_line"]

_OWN = ("config", "preset", "scale", "list", "dry_run")


def settings_from_command_line(
    *,
    tables: Iterable[str] | None = None,
    preset: str,
    description: str | None,
    scale: str = "laptop",
    args: Sequence[str] | None = None,
) -> RunSettings:
    """Read settings from the command line.

    ``--preset`` names a row of a table and ``--scale`` the size of the job, both of which set defaults; ``--config``
    gives a YAML file of one's own; every setting of the preset's family is an argument, nested ones with a dot.
    ``--list`` prints the presets and ``--dry_run`` the settings; both end the process.

    Args:
        tables: Tables whose rows can be chosen. Default: all.
        preset: Default of ``--preset``.
        description: First lines of the help.
        scale: Default of ``--scale``.
        args: Arguments. Default: the command line's.
    """
    wanted = None if tables is None else set(tables)
    presets = {name: row for name, row in load_presets().items() if wanted is None or row.table in wanted}
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_own_arguments(first, presets, preset, scale)
    chosen, rest = first.parse_known_args(args)
    if chosen.list:
        sys.stdout.write(list_presets(presets.values()))
        first.exit()
    row = presets[chosen.preset]
    parser = _parser(row.family, description)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with settings")
    _add_own_arguments(parser, presets, row.name, chosen.scale)
    parser.set_defaults(load_scale(chosen.scale, row.family))
    parser.set_defaults(row.settings)
    parsed = parser.parse_args(rest)
    if chosen.dry_run:
        sys.stdout.write(f"# {row.name}: {row.row} (table {row.table}, family {row.family}), at scale {chosen.scale}\n")
        sys.stdout.write(str(parser.dump(_without_own(parsed), skip_validation=True)))
        first.exit()
    return _instantiate(parser, parsed, row.family)


def preset_settings(name: str, *, scale: str = "laptop", changes: Mapping[str, Any] | None = None) -> RunSettings:
    """Return the settings of a preset at a scale.

    Args:
        name: Of the preset.
        scale: Of the job.
        changes: Further settings by name, nested ones as mappings, in the form that YAML has.

    Raises:
        ValueError: There is no such preset or scale, or a setting does not fit.
    """
    presets = load_presets()
    if name not in presets:
        raise ValueError(f"preset must be one of {', '.join(presets)}, got {name!r}")
    if scale not in scale_names():
        raise ValueError(f"scale must be one of {', '.join(scale_names())}, got {scale!r}")
    family = presets[name].family
    parser = _parser(family, None)
    parser.set_defaults(load_scale(scale, family))
    parser.set_defaults(presets[name].settings)
    return _instantiate(parser, parser.parse_object(dict(changes or {})), family)


def load_settings(run: Path) -> RunSettings:
    """Return the settings that a run's folder was made with, but for what made its segments.

    Raises:
        CheckpointError: The folder holds no run, or one of an unknown family.
    """
    path = run / "settings.json"
    if not path.is_file():
        raise CheckpointError(f"{run}: holds no run, there is no settings.json")
    content = read_json(path)
    family = content.pop("family", None) if isinstance(content, dict) else None
    if family not in FAMILIES:
        raise CheckpointError(f"{path}: family must be one of {', '.join(FAMILIES)}, got {family!r}")
    content.pop("segmenter", None)
    parser = _parser(family, None)
    try:
        return _instantiate(parser, parser.parse_object(content), family)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: does not hold settings of {family}: {error}") from error


def list_presets(presets: Iterable[Preset]) -> str:
    """Return a table of presets as text."""
    rows = [("preset", "table", "thesis", "row")]
    rows += [
        (preset.name, preset.table, "" if preset.thesis is None else f"{preset.thesis:.2f}", preset.row)
        for preset in presets
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}\n" for a, b, c, d in rows)


def _parser(family: str, description: str | None) -> ArgumentParser:
    parser = ArgumentParser(description=description, exit_on_error=description is not None)
    parser.add_class_arguments(FAMILIES[family], None)
    return parser


def _add_own_arguments(parser: argparse.ArgumentParser, presets: Mapping[str, Preset], preset: str, scale: str) -> None:
    parser.add_argument("--preset", choices=list(presets), default=preset, help="row of a table")
    parser.add_argument("--scale", choices=scale_names(), default=scale, help="size of the job")
    parser.add_argument("--list", action="store_true", help="print the presets, and end")
    parser.add_argument("--dry_run", action="store_true", help="print the settings, and end")


def _instantiate(parser: ArgumentParser, parsed: Namespace, family: str) -> RunSettings:
    return FAMILIES[family](**_without_own(parser.instantiate(parsed)).as_dict())


def _without_own(parsed: Namespace) -> Namespace:
    clone = parsed.clone()
    for name in _OWN:
        clone.pop(name, None)
    return clone
