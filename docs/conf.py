"""Settings of the documentation: `make docs` builds it, and a warning (such as a broken link) stops the build."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pages

project = "Isthmus"
author = "The Isthmus authors"
version = release = metadata.version("isthmus")
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_site"]
html_theme = "furo"
html_title = "Isthmus"
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Write the pages that are made from cards, commands and stored results before Sphinx looks for files."""
    app.connect("config-inited", lambda app, config: pages.write(Path(app.srcdir)))
