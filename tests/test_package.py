"""What the package as a whole promises: a light import, one direction of imports, documented names."""

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import correspondence_losses

ROOT = Path(correspondence_losses.__file__).parent
ORDER = [
    ("_checks", "_distributed", "_precision", "_reduction", "_settings", "_triton"),
    ("functional",), ("correspond",), ("losses",), ("blocks",), ("reference",),
]  # fmt: skip
"""The packages: each imports from those before it only."""
ROOMS = [
    ("files", "host_copy", "progress", "seeding", "shards"),
    ("data",), ("segments",), ("scenes",), ("streams",), ("models",), ("engine",),
    ("figures",), ("experiments",), ("runs",), ("deploy",), ("commands",), ("__main__",),
]  # fmt: skip
"""The same inside ``reference``, in the order of its own map."""


def test_the_import_pulls_in_torch_alone() -> None:
    """In a fresh interpreter: no third-party module besides what torch loads itself."""
    script = """
import sys
import torch, torch.distributed
before = set(sys.modules)
import correspondence_losses
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*(loaded - set(sys.stdlib_module_names) - {"correspondence_losses", "torch"}))
print(*(name for name in sys.modules if name.startswith("correspondence_losses.reference")))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    third_party, reference = run.stdout.split("\n")[:2]
    assert third_party == ""
    assert reference == ""


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize(("package", "order"), [("", ORDER), ("reference", ROOMS)], ids=["core", "reference"])
def test_imports_run_one_way(package: str, order: list[tuple[str, ...]]) -> None:
    """Between the rooms of a package; whatever lies in it but its own ``__init__`` has a place in the order."""
    floor = {room: number for number, rooms in enumerate(order) for room in rooms}
    folder, prefix = ROOT / package, ["correspondence_losses", *package.split()]
    rooms = {path.relative_to(folder).with_suffix("").parts[0] for path in folder.rglob("*.py")} - {"__init__"}
    assert rooms == set(floor)
    for path in sorted(folder.rglob("*.py")):
        room = path.relative_to(folder).with_suffix("").parts[0]
        for name in imported_names(path):
            parts = name.split(".")
            if room in floor and parts[: len(prefix)] == prefix and len(parts) > len(prefix):
                other = parts[len(prefix)]
                if other in floor:
                    assert other == room or floor[other] < floor[room], f"{path} imports {name}"


def test_the_version_is_the_distribution_s() -> None:
    assert importlib.metadata.version("correspondence-losses") == correspondence_losses.__version__


@pytest.mark.parametrize("package", ["functional", "correspond", "losses", "blocks"])
def test_public_names_are_documented_with_an_example(package: str) -> None:
    module = getattr(correspondence_losses, package)
    for name in module.__all__:
        thing = getattr(module, name)
        own_class = inspect.isclass(thing) and thing.__module__.startswith("correspondence_losses")
        if not (own_class or inspect.isfunction(thing)):
            continue  # the type of an argument: a string below it documents it, which test_api_pages finds
        documented = inspect.getdoc(thing)
        assert documented, name
        if not (own_class and (issubclass(thing, tuple) or getattr(thing, "_is_protocol", False))):
            assert ">>>" in documented, f"{package}.{name} has no example"
