"""The check of a release finds each thing that is wrong, and says what is still to be set here."""

import re
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

import correspondence_losses

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "docs" / "check_release.py"
pytestmark = pytest.mark.skipif(not CHECK.exists(), reason="the documentation is not in this distribution")


@pytest.fixture(scope="module")
def check() -> Any:
    return load_script(CHECK)


GOOD = {
    "correspondence_losses/__init__.py": '"""Losses."""\n\n__version__ = "0.3.0"\n',
    "CITATION.cff": "cff-version: 1.2.0\nversion: 0.3.0\n",
    "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [0.3.0] - 2027-01-02\n\n- All.\n",
    "README.md": "pip install correspondence-losses\n",
    "pyproject.toml": '[project.urls]\nRepository = "https://there"\nOther = "https://docs"\n\n[tool.x]\na = "b"\n',
}


def found(check: Any, root: Path, files: dict[str, str], tag: str = "v0.3.0") -> list[str]:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    faults: list[str] = check.faults(root, tag, lambda url: url in ("https://there", "https://docs"))
    return faults


def test_a_release_that_is_whole_has_no_faults(check: Any, tmp_path: Path) -> None:
    assert found(check, tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("correspondence_losses/__init__.py", "0.3.0", "0.2.0", "the version must be 0.3.0, that of the tag v0.3.0"),
        ("CITATION.cff", "0.3.0", "0.2.0", "the version must be 0.3.0"),
        ("CITATION.cff", "version: 0.3.0\n", "", "the version must be 0.3.0"),
        ("CHANGELOG.md", "[0.3.0] - 2027-01-02", "[0.3.0]", "has no section"),
        ("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- More.\n", "must move to the section"),
        ("README.md", "pip install correspondence-losses", "pip install .", "must say how to install"),
        ("pyproject.toml", "https://there", "https://example.invalid/x", "Repository does not answer"),
        ("pyproject.toml", "project.urls", "project.other", "names no URLs"),
    ],
)
def test_each_fault_is_named(check: Any, tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    faults = found(check, tmp_path, {**GOOD, name: GOOD[name].replace(old, new, 1)})
    assert len(faults) == 1
    assert faults[0].startswith(f"{name}: ")
    assert message in faults[0]


def test_here_the_placeholders_keep_it_from_being_released(check: Any) -> None:
    """Once the URLs are set, this test goes."""
    faults = check.faults(ROOT, f"v{correspondence_losses.__version__}", lambda url: ".invalid/" not in url)
    places = [fault for fault in faults if "does not answer" in fault]
    assert {re.findall(r": (\w+) does", fault)[0] for fault in places} == {"Repository", "Issues", "Changelog"}
    assert not [fault for fault in faults if "the version must be" in fault]
