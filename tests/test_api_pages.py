"""The pages that list every public name say what is so: each row of the table is found again by running it."""

from pathlib import Path

import api_pages
import pytest
from public_calls import PUBLIC

from correspondence_losses import blocks

TABLE = Path(__file__).parents[1] / "docs" / "api" / "table.md"
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the documentation is not in this distribution")

ROWS = [entry for entries in api_pages.sections().values() for entry in entries]


@pytest.mark.parametrize("path", api_pages.PAGES, ids=lambda path: path.name)
def test_lists_of_names_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == api_pages.PAGES[path](), "run python tests/api_pages.py"


def test_the_table_has_these_rows_and_no_others() -> None:
    written = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    page = api_pages.table(lambda function, module: f"| {function or '-'} / {module or '-'} |")
    planned = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(written) == len(planned)


@pytest.mark.slow
@pytest.mark.parametrize(("function", "module"), ROWS, ids=[function or module for function, module in ROWS])
def test_each_row_is_so(function: str, module: str) -> None:
    assert api_pages.row(function, module) in TABLE.read_text(encoding="utf-8"), "run python tests/api_pages.py"


def test_every_callable_name_has_a_row() -> None:
    listed = {name.split(".")[0] for row in ROWS for name in row if name}
    callables = {name for name, thing in PUBLIC.items() if name.endswith(("_loss", "Loss", "_matches", "_masks"))}
    callables |= {name for name in blocks.__all__ if api_pages.issubclass_of_module(PUBLIC[name])}
    assert callables <= listed
