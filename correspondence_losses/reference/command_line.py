"""Settings from presets, a YAML file and the command line, in this order."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from correspondence_losses.reference.settings import SegmentationSettings

__all__ = ["segmentation_settings"]


def segmentation_settings(
    presets: Path, *, preset: str, scale: str, description: str, args: Sequence[str] | None = None
) -> SegmentationSettings:
    """Read settings from the command line.

    ``--preset`` and ``--scale`` name YAML files in folders of these names below ``presets``, which set defaults;
    ``--config`` gives a YAML file of one's own; every setting is an argument, nested ones with a dot.

    Args:
        presets: The folder.
        preset: Default of ``--preset``.
        scale: Default of ``--scale``.
        description: First lines of the help.
        args: Arguments. Default: the command line's.
    """
    choices = {kind: sorted(path.stem for path in (presets / kind).glob("*.yaml")) for kind in ("preset", "scale")}
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--preset", choices=choices["preset"], default=preset)
    first.add_argument("--scale", choices=choices["scale"], default=scale)
    chosen, rest = first.parse_known_args(args)

    parser = ArgumentParser(description=description)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with settings")
    parser.add_argument("--preset", choices=choices["preset"], default=chosen.preset, help="row of the table")
    parser.add_argument("--scale", choices=choices["scale"], default=chosen.scale, help="size of the job")
    parser.add_class_arguments(SegmentationSettings, None)
    for kind in ("scale", "preset"):
        path = presets / kind / f"{getattr(chosen, kind)}.yaml"
        parser.set_defaults(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    parsed = parser.instantiate(parser.parse_args(rest))
    for name in ("config", "preset", "scale"):
        parsed.pop(name, None)
    return SegmentationSettings(**parsed.as_dict())
