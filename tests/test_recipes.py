"""Each recipe of the gallery runs, in a process of its own, where the packages that it shows are there."""

import ast
import importlib.util
from pathlib import Path

import pytest
from processes import run_script

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
    run_script(recipe, [], tmp_path)


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 8
