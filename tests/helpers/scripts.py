"""Scripts that stand outside of any package, as modules."""

import importlib.util
from pathlib import Path
from typing import Any


def load_script(path: Path) -> Any:
    """Run a script, but for what it does as a program, and return it as a module."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
