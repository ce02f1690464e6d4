"""Each recipe of the gallery runs, in a process of its own, where the packages that it shows are there."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[1] / "examples" / "recipes").glob("plot_*.py"))


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


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 8
