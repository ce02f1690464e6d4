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
ORDER = {"functional": 0, "correspond": 1, "losses": 2, "blocks": 3, "reference": 4}


def test_the_import_pulls_in_torch_and_einops_alone() -> None:
    """In a fresh interpreter: no third-party module besides what torch and einops load themselves, and fast."""
    script = """
import sys, time
import torch, torch.distributed, einops
before, start = set(sys.modules), time.perf_counter()
import correspondence_losses
print(time.perf_counter() - start)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*(loaded - set(sys.stdlib_module_names) - {"correspondence_losses", "torch", "einops"}))
print(*(name for name in sys.modules if name.startswith("correspondence_losses.reference")))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, third_party, reference = run.stdout.split("\n")[:3]
    assert float(seconds) < 1
    assert third_party == ""
    assert reference == ""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    if room not in ORDER:
        return
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    for name in imported:
        parts = name.split(".")
        if parts[0] == "correspondence_losses" and parts[1] in ORDER:
            assert parts[1] == room or ORDER[parts[1]] < ORDER[room], f"{room} imports {name}"


def test_the_version_is_the_distribution_s() -> None:
    assert importlib.metadata.version("correspondence-losses") == correspondence_losses.__version__


@pytest.mark.parametrize("package", ["functional", "correspond", "losses", "blocks"])
def test_public_names_are_documented_with_an_example(package: str) -> None:
    module = getattr(correspondence_losses, package)
    for name in module.__all__:
        thing = getattr(module, name)
        documented = inspect.getdoc(thing)
        assert documented, name
        if not (inspect.isclass(thing) and issubclass(thing, tuple)):
            assert ">>>" in documented, f"{package}.{name} has no example"
