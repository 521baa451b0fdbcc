"""The page's section on hubs before and after a correction."""

import json

import numpy as np
import pytest

from isthmus.space import Map, Space
from isthmus.workbench.hubs import hub_report
from isthmus.workbench.report_page import held, hub_section, render
from isthmus.workbench.report_page.held import Shelf, sides_of
from isthmus.workbench.report_page.plots import grouped

from .small_world import colours, open_colour
from .test_report_page import Reader, store_of

KEYS = {f"c{i:02d}" for i in range(40)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = store_of(tmp_path_factory.mktemp("page") / "store", colours(n=90), ["text", "image"])
    maps = {m: Map([{"op": "normalise"}], {}, store.fingerprint(m)) for m in ("text", "image")}
    trained = sorted(set(store.records("image", ["key"])["key"].to_pylist()) - KEYS)
    space = Space(maps, {"training": {"keys": trained}})
    report = hub_report(store, space=space, keys=KEYS, correct="is")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "open_uri", open_colour)
        sides = sides_of(store, space, ["text", "image"], KEYS)
        shelf = Shelf(sides, {}, None)
        parts = hub_section.hub_parts(report, sides, shelf)
        return report, {"title": "x", "correction": parts, "thumbs": shelf.sheet.to_json()}


def test_parts_say_what_the_report_says(made):
    report, page = made
    assert json.loads(json.dumps(page["correction"])) == page["correction"]
    for part, (name, found) in zip(page["correction"], report["directions"].items(), strict=True):
        assert part["label"].startswith(name.replace("_to_", " → "))
        assert part["before"] == found["before"]["histogram"] and len(part["names"]) == len(part["before"])
        assert f"{found['before']['hubness_skewness']:.2f}" in part["says"]
        assert [t["before"] for t in part["top"]] == [round(t["before"]) for t in found["top"][:8]]
    assert page["correction"][0]["names"][:4] == ["0", "1", "2–4", "5–9"]


def test_page(made):
    _, page = made
    html = render(page)
    reader = Reader(html)
    assert "Hubs, taken out" in html and html.count("Found most often, before → after:") == 2
    pictures = [a for n, a in reader.found if n == "span" and "found" in a.get("class", "") and a.get("role") == "img"]
    assert len(pictures) == 8, "the pictures of the direction whose hits are pictures"
    described = [a["aria-label"] for n, a in reader.found if n == "svg" and a.get("role") == "img"]
    assert sum("Skewness" in text for text in described) == 2
    assert "<b>" not in html, "no text of the data becomes markup"
    assert "Hubs, taken out" not in render({"title": "x", "correction": []})


def test_grouped_bars():
    svg = Reader(str(grouped(["0", "1"], {"before": [4, 0], "after": [2, 2]}, describe="said", label="times")))
    bars = [a for n, a in svg.found if n == "rect" and "bar" in a["class"]]
    heights = [float(a["height"]) for a in bars]
    assert heights[0] == 2 * heights[1] == 2 * heights[3] and heights[2] == 0
    assert {"before", "after", "times", "0", "1"} <= set(svg.text)
    assert np.all(np.diff([float(a["x"]) for a in bars]) > 0)
