"""Sphinx configuration."""

import correspondence_losses

project = "correspondence-losses"
author = copyright = "The correspondence-losses authors"
version = release = correspondence_losses.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = "correspondence-losses"
exclude_patterns = ["_build", "performance/results.md"]  # included by performance.md
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_custom_sections = [("Shape", "params_style"), "Source"]
napoleon_use_ivar = True
