"""Sphinx configuration. Build with ``sphinx-build -W -b html docs docs/_build/html``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import riemflow  # noqa: E402

project = "riemflow"
author = "riemflow developers"
copyright = "2026, riemflow developers"
version = release = riemflow.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"riemflow {version}"

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Members are listed by the class template; numpydoc would list them once more.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "show_signature": False,
    "show_memory": False,
    "download_all_examples": False,
    "copyfile_regex": r".*\.csv",
}


def _escape_bars(app, what, name, obj, options, lines):
    """Keep |x| in docstrings from being read as a reST substitution."""
    for k, line in enumerate(lines):
        parts = line.split("``")
        # Odd parts stand between double backquotes and are literal already.
        lines[k] = "``".join(p if odd % 2 else p.replace("|", r"\|") for odd, p in enumerate(parts))


def setup(app):
    """Register the docstring filter; numpydoc has run by the time it is called."""
    app.connect("autodoc-process-docstring", _escape_bars, priority=900)
