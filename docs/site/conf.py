"""The documentation as a site: `make docs`. The pages are those in docs/, and those that `pages.py` writes from the code."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402 - in this folder

from sparsecode import __version__  # noqa: E402

project, author, release = "sparsecode", "sparsecode developers", __version__
copyright = "sparsecode developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_title = f"sparsecode {__version__}"
html_static_path = [str(HERE / "site.css")]
html_css_files = ["site.css"]
nitpicky = True


def gathered(app: Any, _config: Any) -> None:
    """Copy the pages, and write those that are made from the code, into the source folder of this build."""
    pages.write(HERE.parent, Path(app.srcdir))


def setup(app: Any) -> None:
    """Sphinx calls this before it reads the source folder."""
    source = Path(app.srcdir)
    for page in source.rglob("*.md"):
        page.unlink()
    shutil.rmtree(source / "pictures", ignore_errors=True)
    app.connect("config-inited", gathered)
