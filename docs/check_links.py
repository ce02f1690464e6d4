"""Check that each link inside the built pages leads to a file and an anchor, and that no page needs a network."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the anchors that others may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag refers to, what it is called, and what it loads."""
        if tag in ("script", "img", "iframe") or (tag == "link" and ("rel", "stylesheet") in attrs):
            self.loaded += [value for name, value in attrs if value and name in ("href", "src")]
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)


def broken_links(root: Path) -> list[str]:
    """Return a line for each link of the pages under ``root`` that leads nowhere."""
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path.resolve()
            anchor = unquote(target.fragment)
            if not file.exists() or (anchor and file in pages and anchor not in pages[file].anchors):
                broken.append(f"{path.relative_to(root)}: {link}")
        loaded = [link for link in page.loaded if urlsplit(link).netloc]
        broken += [f"{path.relative_to(root)}: loads {link} from the network" for link in loaded]
    if not pages:
        broken.append(f"{root}: holds no pages")
    return broken


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "every link inside leads somewhere")
    sys.exit(bool(found))
