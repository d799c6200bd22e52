"""How the pages are built: `make docs`; a warning is an error and nothing is fetched."""

import sys
from pathlib import Path

import isometry

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "isometry"
author = "The isometry developers"
version = release = isometry.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "rooms",
    "tutorials",
    "llms",
]
exclude_patterns = ["generated/*.md", "**.html"]

html_theme = "furo"
# Lines of 100 characters, and the numbers of equations at their ends, fit without scrolling.
html_theme_options = {"light_css_variables": {"code-font-size": "0.74rem"}}
html_title = f"isometry {release}"
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_heading_anchors = 3
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
