"""Settings from a scale, a preset, a YAML file and the command line, in this order."""

import argparse
import dataclasses
import json
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.experiments import FAMILIES, FamilySettings
from correspondence_losses.reference.experiments.presets import Preset, load_presets, load_scale, scale_names
from correspondence_losses.reference.files import read_json
from correspondence_losses.reference.segments import Segmenter

__all__ = [
    "list_presets",
    "load_settings",
    "preset_settings",
    "refuse_aliases",
    "settings_from_command_line",
    "settings_of",
]

_OWN = ("config", "preset", "scale", "list", "dry_run")
_USAGE = "%(prog)s [--preset NAME] [--scale NAME] [--config FILE] [--SETTING VALUE ...] [--list | --dry_run | --help]"


class _ConfigFile(ActionConfigFile):
    """A YAML file without aliases."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        try:
            if isinstance(values, str) and os.path.isfile(values):  # noqa: PTH113 - the text of a file is no path
                refuse_aliases(Path(values))
            super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            message = f"{reprlib.repr(values)} cannot be read as YAML settings: {' '.join(str(error).split())}"
            raise argparse.ArgumentError(self, message) from error


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, which may hold commands."""


def settings_from_command_line(
    *,
    tables: Iterable[str] | None = None,
    preset: str,
    description: str | None,
    args: Sequence[str] | None = None,
    prog: str | None = None,
) -> FamilySettings:
    """Read settings from the command line.

    ``--preset`` names a row of a table and ``--scale`` the size of the job, both of which set defaults; ``--config``
    gives a YAML file of one's own; every setting of the preset's family is an argument, nested ones with a dot.
    ``--list`` prints the presets and ``--dry_run`` the settings; both end the process.

    Args:
        tables: Tables whose rows can be chosen. Default: all.
        preset: Default of ``--preset``.
        description: First lines of the help.
        args: Arguments. Default: the command line's.
        prog: What the help calls the program. Default: the script.
    """
    wanted = None if tables is None else set(tables)
    presets = {name: row for name, row in load_presets().items() if wanted is None or row.table in wanted}
    first = argparse.ArgumentParser(prog=prog, usage=_USAGE, add_help=False, allow_abbrev=False)
    _add_own_arguments(first, presets, preset, "laptop")
    chosen, rest = first.parse_known_args(args)
    if chosen.list:
        sys.stdout.write(list_presets(presets.values()))
        first.exit()
    row = presets[chosen.preset]
    parser = _parser(row.family, prog=prog, usage=_USAGE, description=description)
    _set_defaults(parser, row, chosen.scale)
    _add_own_arguments(parser, presets, row.name, chosen.scale)
    parsed = parser.parse_args(rest)
    if (parsed.preset, parsed.scale, parsed.list, parsed.dry_run) != (row.name, chosen.scale, False, False):
        parser.error("preset, scale, list and dry_run are no settings: a --config file must not hold them")
    if chosen.dry_run:
        sys.stdout.write(f"# {row.name}: {row.row} (table {row.table}, family {row.family}), at scale {chosen.scale}\n")
        sys.stdout.write(str(parser.dump(_without_own(parsed), skip_validation=True, skip_unset=False)))
        first.exit()
    return _instantiate(parser, parsed, row.family)


def preset_settings(
    name: str, *, scale: str = "laptop", changes: Mapping[str, Any] | None = None, args: Sequence[str] = ()
) -> FamilySettings:
    """Return the settings of a preset at a scale.

    Args:
        name: Of the preset.
        scale: Of the job.
        changes: Further settings by name, nested ones as mappings, in the form that YAML has.
        args: Further settings as arguments of the command line, which come after ``changes``.

    Raises:
        ValueError: There is no such preset or scale, or a setting does not fit.
    """
    presets = load_presets()
    if name not in presets:
        raise ValueError(f"preset must be one of {', '.join(presets)}, got {name!r}")
    if scale not in scale_names():
        raise ValueError(f"scale must be one of {', '.join(scale_names())}, got {scale!r}")
    family = presets[name].family
    parser = _parser(family, exit_on_error=False)
    _set_defaults(parser, presets[name], scale)
    with _as_value_errors():
        # JSON is YAML, and an argument may hold the text of a file.
        return _instantiate(parser, parser.parse_args(["--config", json.dumps(dict(changes or {})), *args]), family)


def load_settings(run: Path) -> FamilySettings:
    """Return the settings that a run's folder was made with, but for what made its segments.

    Raises:
        CheckpointError: The folder holds no run, or one of an unknown family.
    """
    path = run / "settings.json"
    if not path.is_file():
        raise CheckpointError(f"{run}: holds no run, there is no settings.json")
    return settings_of(read_json(path), str(path))


def settings_of(content: Any, source: str) -> FamilySettings:
    """Return settings from what ``settings.json`` holds of them, but for what made the run's segments.

    Args:
        content: The settings by name, with their ``family``.
        source: Where they are from, for an error.

    Raises:
        CheckpointError: They are of an unknown family, or do not fit it.
    """
    content = dict(content) if isinstance(content, dict) else {}
    family = content.pop("family", None)
    if not isinstance(family, str) or family not in FAMILIES:
        raise CheckpointError(f"{source}: family must be one of {', '.join(FAMILIES)}, got {reprlib.repr(family)}")
    content.pop("segmenter", None)
    parser = _parser(family, exit_on_error=False)
    try:
        with _as_value_errors():
            return _instantiate(parser, parser.parse_object(content), family)
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{source}: does not hold settings of {family}: {error}") from error


def list_presets(presets: Iterable[Preset]) -> str:
    """Return a table of presets as text."""
    rows = [("preset", "table", "thesis", "row")]
    rows += [
        (preset.name, preset.table, "" if preset.thesis is None else f"{preset.thesis:.2f}", preset.row)
        for preset in presets
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}\n" for a, b, c, d in rows)


def _parser(family: str, **options: Any) -> ArgumentParser:
    parser = ArgumentParser(allow_abbrev=False, formatter_class=_HelpFormatter, **options)
    parser.add_class_arguments(FAMILIES[family], None)
    for field in dataclasses.fields(FAMILIES[family]):
        default: Any = field.default_factory
        if isinstance(default, type) and issubclass(default, Segmenter):  # by name, so that it can be written down
            parser.set_defaults({field.name: {"class_path": f"{default.__module__}.{default.__qualname__}"}})
    parser.add_argument("--config", action=_ConfigFile, help="YAML file with settings")
    return parser


def _set_defaults(parser: ArgumentParser, row: Preset, scale: str) -> None:
    parser.set_defaults(load_scale(scale, row.family))
    parser.set_defaults(row.settings)


def _add_own_arguments(parser: argparse.ArgumentParser, presets: Mapping[str, Preset], preset: str, scale: str) -> None:
    parser.add_argument(
        "--preset", choices=list(presets), default=preset, metavar="NAME", help="row of a table (--list names them)"
    )
    parser.add_argument("--scale", choices=scale_names(), default=scale, help="size of the job")
    parser.add_argument("--list", action="store_true", help="print the presets, and end")
    parser.add_argument("--dry_run", action="store_true", help="print the settings, and end")


def _instantiate(parser: ArgumentParser, parsed: Namespace, family: str) -> FamilySettings:
    try:
        return FAMILIES[family](**_without_own(parser.instantiate(parsed)).as_dict())
    except TypeError as error:  # a null, which the parser lets through everywhere
        raise ValueError(f"a setting must not be empty, or of another type than it takes: {error}") from error


def _without_own(parsed: Namespace) -> Namespace:
    clone = parsed.clone()
    for name in _OWN:
        clone.pop(name, None)
    return clone


def refuse_aliases(path: Path) -> None:
    """Raise ``ValueError`` where a YAML file has aliases, by which a few lines stand for more than memory holds."""
    # The parser in Python takes the square of the depth of nesting.
    parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as file:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(file, parser)):
            raise ValueError("aliases (*name) are not read")


@contextmanager
def _as_value_errors() -> Iterator[None]:
    try:
        yield
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
