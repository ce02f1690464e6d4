"""The names of a data set's own classes, from a YAML file."""

from pathlib import Path

import yaml

from correspondence_losses.reference.data.errors import DataError
from correspondence_losses.reference.files import reading

__all__ = ["CLASSES_FILE", "read_class_names"]

CLASSES_FILE = "classes.yaml"
"""The file of a data set that names its classes."""

_MOST = 256  # what a label of 8 bits tells apart


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read the names of classes by their label, the background first.

    The file is a list of names, or has one under ``names``, as a list or as a mapping from label to name::

        names:
          0: background
          1: mug
          2: screwdriver

    Raises:
        DataError: The file is missing or damaged, or holds something else: fewer than two names, more than 256, one
            twice, or labels with a gap.
    """
    with reading(path, "YAML", DataError):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = content.get("names") if isinstance(content, dict) else content
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{path}: names must be of the labels 0 to {len(names) - 1}, got another set of labels")
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{path}: must hold a list of names of classes, or one under names")
    if not 2 <= len(names) <= _MOST:
        raise DataError(f"{path}: must name the background and 1 to {_MOST - 1} classes, got {len(names)} names")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: names a class twice")
    return tuple(names)
