"""The documentation builds, and a broken link in it is a failure."""

import shutil
from pathlib import Path

import pytest

from isthmus import data
from isthmus.cli import GROUPS
from isthmus.core import catalog

DOCS = Path(__file__).parents[2] / "docs"
pytest.importorskip("sphinx")


def build(source, out):
    from sphinx.cmd.build import build_main

    return build_main(
        ["-W", "--keep-going", "-q", "-b", "html", "-d", str(out / "trees"), str(source), str(out / "html")]
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources, so that pages that are made lie elsewhere."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("_site", "verbs*", "methods*", "data*"))
    shutil.copy(DOCS.parent / "CONTRIBUTING.md", folder)
    return folder / "docs"


@pytest.mark.filterwarnings("default")
def test_every_verb_method_and_data_set_has_a_page(source, tmp_path):
    assert build(source, tmp_path) == 0
    site = tmp_path / "html"
    verbs = [name for commands in GROUPS.values() for name in commands]
    pages = [f"verbs/{name}" for name in verbs] + [f"methods/{entry.name}" for entry in catalog.walk()]
    pages += [f"data/{name}" for name in data.cards()] + [
        "index",
        "tour",
        "chooser",
        "verbs",
        "methods",
        "data",
        "adding-a-method",
        "design",
    ]
    for page in pages:
        assert (site / f"{page}.html").stat().st_size > 2000, page
    assert "isthmus align" in (site / "verbs/align.html").read_text()
    for entry in catalog.walk():
        text = (site / f"methods/{entry.name}.html").read_text()
        assert entry.card.link in text and "hold" in text
    assert (site / "_images/map.png").is_file()


@pytest.mark.filterwarnings("default")
def test_a_broken_link_stops_the_build(source, tmp_path):
    shutil.copytree(source, tmp_path / "docs")
    shutil.copy(source.parent / "CONTRIBUTING.md", tmp_path)
    tour = tmp_path / "docs" / "tour.md"
    tour.write_text(tour.read_text() + "\n[gone](verbs/nothing.md)\n")
    assert build(tmp_path / "docs", tmp_path / "out") != 0
