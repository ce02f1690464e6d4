"""Optional packages of the scene generator, imported where they are used."""

import importlib
from typing import Any

__all__ = ["require"]


def require(package: str) -> Any:
    """Import a package of the ``scenes`` extra.

    Args:
        package: Name of the module, such as ``"mujoco"``.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: It is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"making scenes needs {package}: pip install 'correspondence-losses[scenes]'", name=package
        ) from error
