"""Each recipe of the gallery runs, in a process of its own, where the packages that it shows are there."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[1] / "examples" / "recipes").glob("plot_*.py"))
MAX_LINES = 30


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs(recipe: Path, tmp_path: Path) -> None:
    tree = ast.parse(recipe.read_text(encoding="utf-8"))
    imports = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imports += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    packages = {name.partition(".")[0] for name in imports} - {"pictures"} | {"matplotlib", "skimage"}
    missing = sorted(name for name in packages if importlib.util.find_spec(name) is None)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: they are in the extra recipes")
    environment = os.environ | {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, str(recipe)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_short(recipe: Path) -> None:
    """Statements that do something: neither imports nor prose, and each counted once."""
    tree = ast.parse(recipe.read_text(encoding="utf-8"))
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    prose = (ast.Import, ast.ImportFrom)
    docstrings = [node for node in statements if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert 0 < len([node for node in statements if not isinstance(node, prose)]) - len(docstrings) <= MAX_LINES


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 8
