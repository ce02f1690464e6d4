"""Modules that know their settings by name."""

import inspect
from typing import Any, ClassVar

from torch import nn


class ModuleWithSettings(nn.Module):
    """A module that keeps each argument of its constructor under the argument's name, and shows them all in its repr.

    So a module and its function share their settings: ``function(*inputs, **module.settings())``.
    """

    _setting_names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._setting_names = tuple(inspect.signature(cls).parameters)

    def settings(self) -> dict[str, Any]:
        """Return the settings as keyword arguments."""
        return {name: getattr(self, name) for name in self._setting_names}

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
