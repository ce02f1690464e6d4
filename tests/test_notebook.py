"""The notebook is what the recipe makes of it, and runs in Jupyter from its first cell to its last."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

SCRIPT = Path(__file__).parents[1] / "docs" / "notebook.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the documentation is not in this distribution")


@pytest.fixture(scope="module")
def made() -> Any:
    return load_script(SCRIPT)


def test_it_is_up_to_date(made: Any) -> None:
    assert made.NOTEBOOK.read_text(encoding="utf-8") == made.notebook(), "run python docs/notebook.py"


def test_it_reads_well(made: Any) -> None:
    cells = json.loads(made.notebook())["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert ":class:" not in prose
    assert ":doc:" not in prose
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "%pip install" in code[0]
    assert not [text for text in code if "pictures" in text]


def test_it_runs(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # so that figures are shown in the notebook
    nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra test")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel is in the extra test")
    pytest.importorskip("skimage", reason="scikit-image is in the extra reference")
    content = nbformat.reads(made.notebook(), as_version=4)
    nbclient.NotebookClient(content, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output for cell in content.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in printed)
    before, after = (float(word) for word in text.split() if word[0].isdigit())
    assert after < 0.8 * before
    assert [output for output in printed if "image/png" in output.get("data", {})]
