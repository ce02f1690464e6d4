"""The documentation names what the library has, and its checker of links can fail."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import correspondence_losses

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not in this distribution")


@pytest.mark.parametrize("package", ["functional", "correspond", "losses", "blocks"])
def test_api_pages_list_every_public_name(package: str) -> None:
    module = getattr(correspondence_losses, package)
    page = (DOCS / "api" / f"{package}.md").read_text(encoding="utf-8")
    listed = {line.strip() for line in page.splitlines() if line.startswith("   ")}
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isfunction(thing) or (inspect.isclass(thing) and ">>>" in (thing.__doc__ or "")):
            assert name in listed, f"docs/api/{package}.md does not list {name}"


@pytest.mark.parametrize(
    ("link", "status"), [("b.html#there", 0), ("b.html#nowhere", 1), ("c.html", 1), ("https://example.org", 0)]
)
def test_link_checker(tmp_path: Path, link: str, status: int) -> None:
    (tmp_path / "a.html").write_text(f'<a href="{link}">x</a>', encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="there">x</p>', encoding="utf-8")
    run = subprocess.run([sys.executable, str(DOCS / "check_links.py"), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == status
    assert (link in run.stdout) == bool(status)


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        ('<script src="https://example.org/x.js"></script>', 1),
        ('<link rel="stylesheet" href="//example.org/x.css">', 1),
        ('<img src="https://example.org/x.png">', 1),
        ('<img src="data:image/png;base64,AAAA">', 0),
        ('<link rel="canonical" href="https://example.org">', 0),
    ],
)
def test_pages_that_need_a_network_are_found(tmp_path: Path, tag: str, status: int) -> None:
    (tmp_path / "a.html").write_text(tag, encoding="utf-8")
    run = subprocess.run([sys.executable, str(DOCS / "check_links.py"), str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == status
    assert ("from the network" in run.stdout) == bool(status)
