"""Write ``examples/photograph.ipynb``, for Jupyter and Colab: ``python docs/notebook.py``, from anywhere.

It is the recipe for timm with what it takes from ``pictures.py``, on a photograph of the reader's own. The tests write
it again, compare, and run it.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "examples" / "recipes"
NOTEBOOK = ROOT / "examples" / "photograph.ipynb"

INTRODUCTION = """\
# Pooling on your own photograph

From the installation to a picture of pooled features in ten minutes, on a CPU too: no labels, random weights, one
image.
The method is explained in the documentation, *The idea*; this notebook is its recipe for timm."""
INSTALL = """\
# Where the package is not installed yet, such as in Colab. It is on no package index yet, so this takes the repository.
import importlib.util

if importlib.util.find_spec("correspondence_losses") is None:
    %pip install --quiet timm scikit-image matplotlib "git+{repository}"
"""
PHOTOGRAPH = """\
# The path of a photograph of yours. In Colab, upload it by the symbol of a folder at the left. Empty: a cup of coffee.
PHOTOGRAPH = ""

if PHOTOGRAPH:
    pixels = np.array(Image.open(PHOTOGRAPH).convert("RGB"))
    images = torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
    images = torch.nn.functional.interpolate(images, (144, 192), mode="area")
else:
    images = photographs("coffee", size=(144, 192))
"""
END = """\
## What comes next

The projection shows what pooling does by itself. In training it stands beside a supervised loss on labelled images,
with a weight of 0.05: `examples/train_minimal.py` is that on one page, and `examples/recipes` has it for the models of
torchvision, transformers and segmentation_models.pytorch, in Lightning and in a plain loop."""


def notebook() -> str:
    """Return the notebook as JSON."""
    repository = re.findall(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[0]
    first, *rest = _recipe((RECIPES / "plot_timm.py").read_text(encoding="utf-8"))
    imports, _, begin = first.partition("torch.manual_seed(0)\n")
    imports = "".join(line + "\n" for line in imports.splitlines() if line and not line.startswith("from pictures"))
    begin = re.sub(r"^images = .*\n", "", begin, count=1, flags=re.M)
    cells = [
        ("markdown", INTRODUCTION),
        ("code", INSTALL.format(repository=repository)),
        (
            "markdown",
            "What the recipe imports, and what it takes from `pictures.py`: photographs, segments and panels.",
        ),
        ("code", imports + _helpers("photographs", "segment", "show")),
        ("code", PHOTOGRAPH),
        ("code", "torch.manual_seed(0)\n" + begin),
        *(cell for text, code in rest for cell in (("markdown", text), ("code", code))),
        ("markdown", END),
    ]
    content = {
        "cells": [_cell(kind, source.strip()) for kind, source in cells],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def _recipe(source: str) -> list[Any]:
    """Return the code of the first block, and (text in Markdown, code) of those after it."""
    first, *blocks = source.split("# %%\n")
    body = first.split('"""', 2)[2].lstrip()
    rest = []
    for block in blocks:
        text, _, code = block.partition("\n\n")
        rest.append((_markdown(" ".join(line.removeprefix("# ") for line in text.splitlines())), code))
    # A figure that ends a cell would be shown twice.
    return [body, *((text, f"{code.strip()};" if code.startswith("show(") else code) for text, code in rest)]


def _markdown(text: str) -> str:
    text = re.sub(r":doc:`plot_(\w+)`", r"`plot_\1.py`", text)
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text)
    return re.sub(r"`([^`<]+) <([^>]+)>`_", r"[\1](\2)", text).replace("``", "`")


def _helpers(*names: str) -> str:
    source = (RECIPES / "pictures.py").read_text(encoding="utf-8")
    wanted = {
        node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body if hasattr(node, "name")
    }
    imports = (
        "import matplotlib.pyplot as plt\nimport numpy as np\nfrom matplotlib.figure import Figure\n"
        "from PIL import Image\nfrom skimage import data\nfrom skimage.segmentation import felzenszwalb\n"
        "from torch import Tensor\n"
    )
    return imports + "".join(f"\n\n{wanted[name]}\n" for name in names)


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(), encoding="utf-8")
