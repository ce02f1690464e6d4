"""Sphinx configuration."""

import warnings

from docutils import nodes
from latex2mathml.converter import convert

import correspondence_losses

project = "correspondence-losses"
author = copyright = "The correspondence-losses authors"
version = release = correspondence_losses.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "performance/results.md",  # included by performance.md
    "results/*.md",  # included by results.md
    "recipes/*.ipynb",
    "recipes/*.py",
    "recipes/*.md5",
    "recipes/*.zip",
    "sg_execution_times.rst",
    "recipes/sg_execution_times.rst",  # whose table loads scripts from the network
]

html_math_renderer = "mathml"  # which browsers draw by themselves, without a script or a network

html_theme = "furo"
html_title = "correspondence-losses"
html_static_path = ["static"]
html_extra_path = ["../llms.txt"]
html_css_files = ["style.css"]

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Each reference must resolve: to a page of these, or to one of the inventories, which are kept here so that a build
# needs no network.
nitpicky = True
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "torch": ("https://docs.pytorch.org/docs/stable", "inventories/torch.txt"),
}
nitpick_ignore_regex = [
    (r"py:class", r"[a-z]|\.\.\."),  # shapes of fields, such as (..., s, d)
    (
        r"py:.*",
        r"(numpy|np|pathlib|collections|correspondence_losses\.reference)\..*|NDArray|Path|Segmenter|FrameSource|DataError|SAMCheckpointError",
    ),
]

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Shape", "params_style"), "Source"]
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples/recipes",
    "gallery_dirs": "recipes",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"pictures\.py",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
    "reference_url": {"correspondence_losses": None},
    "within_subsection_order": "ExampleTitleSortKey",
}
warnings.filterwarnings("ignore", category=UserWarning, message="FigureCanvasAgg is non-interactive")


def _clear(app, what, name, obj, options, lines):
    """Leave out what says nothing: a package's docstring under its page's title, a field's number in its tuple."""
    if what == "module" or (lines and lines[0].startswith("Alias for field number")):
        lines.clear()


def _inline(writer, node):
    writer.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _block(writer, node):
    writer.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _clear)
