"""The rows of the thesis's tables and the sizes of a job, as YAML files that can be read and changed.

A preset names its table, its row, the thesis's figure, a family, and the settings that make the row; a scale holds
settings for all families (``all``) and for each. What neither names is as in the family's settings, whose defaults are
the thesis's.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Preset", "load_presets", "load_scale", "load_tables", "scale_names"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A row of a table.

    Args:
        name: How it is chosen on the command line.
        table: The thesis's table or figure, such as ``"4.4"``.
        row: The row's own words.
        thesis: The thesis's mean IoU in percent, or ``None`` where it gives none.
        family: Whose settings these are.
        settings: Settings that differ from the family's defaults.
        note: What the thesis leaves open, and what was chosen.
        baseline: The preset that this one adds something to: the difference is taken seed by seed.
    """

    name: str
    table: str
    row: str
    thesis: float | None
    family: str
    settings: dict[str, Any]
    note: str = ""
    baseline: str | None = None


@cache
def load_presets() -> dict[str, Preset]:
    """Return all presets by name, in the order of the tables and of their rows."""
    presets = [
        Preset(name=path.stem.split("-", 1)[1], **yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(_FOLDER.glob("*/[0-9]*-*.yaml"))
    ]
    presets.sort(key=lambda preset: _place(preset.table))
    return {preset.name: preset for preset in presets}


@cache
def load_tables() -> dict[str, list[Preset]]:
    """Return the rows of each table by its name.

    Those of a comparison (``table_4_5.yaml``) are rows of other tables, under words of their own.
    """
    presets = load_presets()
    tables: dict[str, list[Preset]] = {}
    for preset in presets.values():
        tables.setdefault(preset.table, []).append(preset)
    for path in sorted(_FOLDER.glob("table_*.yaml")):
        comparison = yaml.safe_load(path.read_text(encoding="utf-8"))
        tables[comparison["table"]] = [
            replace(presets[name], table=comparison["table"], row=row) for name, row in comparison["rows"].items()
        ]
    return dict(sorted(tables.items(), key=lambda table: _place(table[0])))


def _place(table: str) -> str:
    """Where a table stands in the thesis, among its figures."""
    return table.removeprefix("fig. ")


def scale_names() -> list[str]:
    """Return the names of the scales."""
    return sorted(path.stem for path in (_FOLDER / "scales").glob("*.yaml"))


def load_scale(name: str, family: str) -> dict[str, Any]:
    """Return what a scale sets for a family."""
    path = _FOLDER / "scales" / f"{name}.yaml"
    scale: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {**scale.get("all", {}), **scale.get(family, {})}
