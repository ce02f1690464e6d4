"""Check that everything is as a release of a tag needs it: ``python docs/check_release.py v0.2.0``."""

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def faults(root: Path, tag: str, answers: Callable[[str], bool]) -> list[str]:
    """Return a line for each thing that is wrong.

    Args:
        root: The repository.
        tag: Such as ``v0.2.0``.
        answers: Whether there is a page at a URL.
    """
    text = {
        name: (root / name).read_text(encoding="utf-8")
        for name in ("correspondence_losses/__init__.py", "CITATION.cff", "CHANGELOG.md", "README.md", "pyproject.toml")
    }
    found = []
    for name, pattern in (
        ("correspondence_losses/__init__.py", r'^__version__ = "(.*)"$'),
        ("CITATION.cff", r"^version: (.*)$"),
    ):
        versions = re.findall(pattern, text[name], re.MULTILINE)
        if versions != [tag.removeprefix("v")]:
            found.append(f"{name}: the version must be {tag.removeprefix('v')}, that of the tag {tag}, is {versions}")
    if not re.search(rf"^## \[{re.escape(tag.removeprefix('v'))}\] - \d{{4}}-\d\d-\d\d$", text["CHANGELOG.md"], re.M):
        found.append(f"CHANGELOG.md: has no section '## [{tag.removeprefix('v')}] - YEAR-MONTH-DAY'")
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text["CHANGELOG.md"], re.M | re.S)
    if unreleased and unreleased[1].strip():
        found.append("CHANGELOG.md: what is under [Unreleased] must move to the section of the release")
    if "pip install correspondence-losses" not in text["README.md"]:
        found.append("README.md: must say how to install from the index, pip install correspondence-losses")
    table = re.search(r"^\[project\.urls\]\n((?:.+\n)*)", text["pyproject.toml"], re.M)
    urls = re.findall(r'^(.+?) = "(.*)"$', table[1] if table else "", re.M)
    if not urls:
        found.append("pyproject.toml: names no URLs")
    found += [f"pyproject.toml: {name} does not answer: {url}" for name, url in urls if not answers(url)]
    return found


def _answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "check_release"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - the URLs are the project's own
            return True
    except (urllib.error.URLError, ValueError):
        return False


if __name__ == "__main__":
    found = faults(ROOT, sys.argv[1], _answers)
    print(*found or [f"{sys.argv[1]} can be released"], sep="\n")
    sys.exit(1 if found else 0)
