"""A page that holds all that it shows: one HTML file that opens in any browser, without a network."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from correspondence_losses.reference.figures.colors import PALETTE

__all__ = ["comparison", "curves", "page", "picture", "swatch", "table"]

_HERE = Path(__file__).parent
_KINDS = {".png": "image/png", ".jpg": "image/jpeg"}


def page(title: str, body: str) -> str:
    """Return the page of a title and what is below it."""
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of cells that are HTML.

    Args:
        head: Of each column.
        rows: Of cells.
        numbers: The columns that hold numbers.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    top = f"<thead><tr>{line(head, 'th')}</tr></thead>"
    return f'<div class="wide"><table>\n{top}\n<tbody>\n{body}\n</tbody></table></div>'


def swatch(index: int, name: str) -> str:
    """Return the name of a class behind its colour."""
    red, green, blue = PALETTE[index].tolist()
    color = f"rgb({red} {green} {blue})"
    return f'<span class="name"><span class="swatch" style="background: {color}"></span>{escape(name)}</span>'


def picture(file: Path, text: str) -> str:
    """Return an image that the page holds, with the text for those who do not see it."""
    content = base64.b64encode(file.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:{_KINDS[file.suffix]};base64,{content}">'


def comparison(layers: Mapping[str, Path], caption: str, first: int = 0) -> str:
    """Return pictures of one scene on top of each other, with a slider that fades from one to the next.

    Args:
        layers: The file of each by its name, from below.
        caption: Written underneath.
        first: The layer that is seen first.
    """
    names = [escape(name) for name in layers]
    pictures = "".join(picture(file, name) for name, file in layers.items())
    buttons = "".join(f'<button type="button">{name}</button>' for name in names)
    return (
        f'<figure class="compare"><div class="layers">{pictures}</div>'
        f'<input type="range" min="0" max="{len(layers) - 1}" step="0.01" value="{first}" '
        f'aria-label="{escape(caption)}: {", ".join(names)}"><div class="names">{buttons}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, *, x: str, log: bool = False
) -> str:
    """Return curves as a picture of lines, whose text stays text.

    Args:
        lines: For each curve by its name, its places and its values.
        title: Written above.
        x: What the places are.
        log: Let the values' axis be logarithmic.
    """
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, (places, values) in lines.items():
        axes.plot(places, values, marker="." if len(places) < 30 else "", label=name)
    axes.set(title=title, xlabel=x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return f'<div class="curve">{stream.getvalue()[stream.getvalue().index("<svg") :]}</div>'
