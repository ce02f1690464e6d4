"""Optional packages of segmenters, imported where they are used."""

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, requirement: str) -> Any:
    """Import a module of a package that no extra installs.

    Args:
        module: Its name, such as ``"sam2.build_sam"``.
        requirement: What pip installs it by.

    Raises:
        ModuleNotFoundError: The package is not installed; the message names the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"this segmenter needs {package}: pip install '{requirement}'", name=package
        ) from error
    return importlib.import_module(module)
