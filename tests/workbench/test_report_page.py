import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from isthmus.space import Map, Space
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.store import Store
from isthmus.workbench.diagnose import diagnose
from isthmus.workbench.evaluate import evaluate
from isthmus.workbench.report_page import held, plots, render
from isthmus.workbench.report_page.flat import MOST, flat_map, kept, principal_axes
from isthmus.workbench.report_page.gather import page_of
from isthmus.workbench.report_page.languages import labels
from isthmus.workbench.report_page.markup import Markup, join, tag
from isthmus.workbench.report_page.thumbnails import COLUMNS, Sheet
from tests.workbench.small_world import colours, open_colour

VOID = {"meta", "link", "br", "input", "img", "hr", "col"}


class Reader(HTMLParser):
    """Checks that elements nest, and collects them with their attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.found.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def store_of(folder, dataset, modalities, dim=6, noise=0.3):
    """Vectors that share a direction an item, with some noise a record."""
    store = Store.create(folder, source=dataset.describe())
    keys = sorted({r.key for r in dataset.records})
    rng = np.random.default_rng(0)
    core = dict(zip(keys, rng.normal(size=(len(keys), dim)), strict=True))
    for modality in modalities:
        fingerprint = Fingerprint(
            encoder=f"made_{modality}",
            modality=modality,
            dim=dim,
            weights="ab" * 32,
            preprocess="none",
            pooling="none",
            normalised=False,
        )
        records = dataset.of(modality)
        with store.writer(fingerprint) as writer:
            writer.add(records, np.stack([core[r.key] + noise * rng.normal(size=dim) for r in records]).astype("f"))
    return store


def page_for(store, modalities, keys):
    maps = {m: Map(steps=[{"op": "normalise"}], tensors={}, fingerprint=store.fingerprint(m)) for m in modalities}
    space = Space(maps=maps, card={"method": "none at all", "settings": {"width": 6}, "training": {"items": 9}})
    figures, means = {}, {}
    for i, a in enumerate(modalities):
        for b in modalities[i + 1 :]:
            found = evaluate(store, space=space, pair=f"{a}:{b}", keys=keys, n_boot=20).to_json()
            for x, y in ((a, b), (b, a)):
                figures[x, y] = found["directions"][f"{x}_to_{y}"]
            means |= found["mean"]
    diagnosis = diagnose(store, space=space, modalities=modalities, keys=keys)
    facts = [("Data", [("licence", "CC0 <1>")])]
    return page_of(store, space, figures=figures, means=means, keys=keys, diagnosis=diagnosis, facts=facts)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    dataset = colours(n=60)
    store = store_of(tmp_path_factory.mktemp("page") / "store", dataset, ["text", "image"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "open_uri", open_colour)
        return page_for(store, ["text", "image"], {f"c{i:02d}" for i in range(40)})


def test_page_is_json_and_the_same_again(page):
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert render(page) == render(json.loads(json.dumps(page)))


def test_page_is_self_contained_and_well_formed(page):
    html = render(page | {"next": ["isthmus search x"], "command": "isthmus demo"})
    reader = Reader(html)
    fetched = [a[k] for _, a in reader.found for k in ("src", "href", "srcset", "data") if a.get(k)]
    assert all(url.startswith(("#", "data:")) for url in fetched)
    assert not re.search(r"https?://", html)
    assert "url(data:image/webp" in html and html.count("url(") == 1
    policy = next(a["content"] for n, a in reader.found if n == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_page_escapes_what_the_data_say(page):
    html = render(page)
    assert "<b>en</b>" not in html
    assert "&lt;b&gt;en&lt;/b&gt;" in html
    assert "CC0 &lt;1&gt;" in html


def test_page_can_be_read_without_seeing_it(page):
    reader = Reader(render(page))
    pictures = [a for n, a in reader.found if a.get("role") == "img"]
    assert pictures and all(a.get("aria-label") for a in pictures)
    assert all(a.get("scope") for n, a in reader.found if n == "th")
    ids = [a["id"] for _, a in reader.found if "id" in a]
    assert len(ids) == len(set(ids))
    assert sum(n == "h1" for n, _ in reader.found) == 1
    linked = {a["href"][1:] for n, a in reader.found if n == "a" and a["href"].startswith("#")}
    assert linked <= set(ids)
    arabic = [a for n, a in reader.found if a.get("lang") == "ar"]
    assert arabic and all(a["dir"] == "auto" for a in arabic)


def test_gallery_follows_its_rule(page):
    rows = page["gallery"]["rows"]
    assert {r["direction"] for r in rows} == {"text_to_image", "image_to_text"}
    assert {r["variant"] for r in rows} == {"en", "ar"}
    for row in rows:
        right = [i + 1 for i, hit in enumerate(row["hits"]) if hit["right"]]
        assert right == [row["rank"]] if row["rank"] <= 10 else not right
        scores = [hit["score"] for hit in row["hits"]]
        assert scores == sorted(scores, reverse=True)
    english = [r for r in rows if r["variant"] == "en" and r["direction"] == "text_to_image"]
    n, share = page["directions"][0]["rows"]["en"]["n"], page["directions"][0]["rows"]["en"]["r@1"]
    assert sum(r["rank"] == 1 for r in english) == min(5, round(n * share))
    assert sum(r["rank"] > 1 for r in english) == min(5, n - round(n * share))


def test_pictures_are_stored_once(page):
    thumbs = {h["item"]["thumb"] for r in page["gallery"]["rows"] for h in r["hits"]} - {None}
    assert thumbs <= set(range(page["thumbs"]["count"]))
    assert page["thumbs"]["count"] == 40
    assert page["thumbs"]["rows"] == 2


def test_map_shows_every_item_of_both_modalities(page):
    points = page["map"]["points"]
    assert len(points) == 80
    assert all(0 <= v <= 1 for p in points for at in p["at"] for v in at)
    assert {len(p["at"]) for p in points} == {len(page["map"]["layouts"])}
    assert {p["item"]["modality"] for p in points} == {"image", "text"}


def test_three_modalities_without_languages_or_pictures(tmp_path):
    dataset = colours(n=24, languages=("",))
    records = [r for r in dataset.records if r.modality == "text"]
    made = [
        type(r)(key=r.key, modality=m, load=r.load, digest=r.digest, uri=f"nowhere:{r.key}")
        for m in ("sound", "shape", "smell")
        for r in records
    ]
    trio = type(dataset)("trio", made, dataset.card)
    store = store_of(tmp_path / "store", trio, ["sound", "shape", "smell"])
    page = page_for(store, ["sound", "shape", "smell"], {r.key for r in records})
    assert len(page["directions"]) == 6 and len(page["similarity"]) == 3
    assert page["thumbs"]["count"] == 0
    text = " ".join(Reader(render(page)).text)
    assert "sound → shape" in text and "smell → sound" in text and "image" not in text


def test_absent_parts_give_no_section():
    reader = Reader(render({"title": "Only a title"}))
    assert not any(n == "section" for n, _ in reader.found)


def test_markup():
    assert tag("p", "a<b", Markup("<i></i>"), None, ["c", 1]) == "<p>a&lt;b<i></i>c1</p>"
    assert tag("p", title='"<') == '<p title="&quot;&lt;"></p>'
    assert tag("input", checked=True, disabled=False, name="x") == '<input checked name="x"/>'
    assert join() == ""


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.4, 1.0), (0.0, 0.034), (2.1, 900.0), (1.0, 1.0)])
def test_ticks_are_round_and_inside(low, high):
    marks = plots.ticks(low, high)
    assert marks == sorted(set(marks)) and 1 <= len(marks) <= 8
    assert all(low - 1e-9 <= m <= high + 1e-9 for m in marks)
    assert all(len(f"{m:g}") <= 5 for m in marks)


def test_sheet():
    sheet = Sheet(size=10)
    assert sheet.to_json()["count"] == 0
    for i in range(COLUMNS + 1):
        assert sheet.add(str(i), Image.new("RGB", (40, 20), (i, 0, 0))) == i
    assert sheet.add("3", Image.new("RGB", (1, 1))) == 3
    assert sheet.number("3") == 3 and sheet.number("no") is None
    assert sheet.to_json()["rows"] == 2


def test_flat_map_keeps_neighbours():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 40))
    x = (centres[np.arange(240) % 12] + 0.5 * rng.normal(size=(240, 40))).astype(np.float32)
    before = x.copy()
    flat = flat_map(x)
    assert flat.shape == (240, 2) and flat.min() == 0 and flat.max() == 1
    assert np.array_equal(x, before) and np.array_equal(flat, flat_map(x))
    assert kept(x, flat) > 0.6
    assert kept(x, flat) > 1.25 * kept(x, principal_axes(x))


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_flat_map_of_few(n):
    flat = flat_map(np.random.default_rng(0).normal(size=(n, 3)).astype("f"))
    assert flat.shape == (n, 2) and np.isfinite(flat).all()


def test_flat_map_of_one_beside_many_copies():
    """All neighbours of the one are equally far, so that its width shrinks without end: it must not overflow."""
    x = np.r_[np.repeat([[1.0, 0.0, 0.0]], 60, 0), [[0.0, 1.0, 0.0]]].astype(np.float32)
    assert np.isfinite(flat_map(x)).all()


def test_flat_map_of_equal_and_of_too_many():
    assert np.isfinite(flat_map(np.ones((20, 3), np.float32))).all()
    with pytest.raises(ValueError, match="too many"):
        flat_map(np.ones((MOST + 1, 2), np.float32))


def test_kept_of_the_vectors_themselves():
    angle = np.linspace(0, 1, 30)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert kept(x, x) == 1.0


def test_labels():
    assert labels(["fa"])["fa"] == {"label": "Persian", "lang": "fa"}
    assert labels(["all"]) == {"all": {"label": "all", "lang": ""}}
