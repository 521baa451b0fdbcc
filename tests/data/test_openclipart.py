from collections import Counter

import numpy as np
import pytest

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data import fetch, openclipart
from isthmus.data.openclipart import Words, groups, titles
from tests import require

FETCHED = fetch.folder("openclipart")  # the user's; the tests themselves run with a cache of their own
BAT, OBOE = "animals/birds/contour_bat", "recreation/music/oboe_ganson"

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="150pt" height="75pt" viewBox="0 0 20 10">
 <metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns="http://web.resource.org/cc/"><Work><dc:title>{title}</dc:title><dc:description>{description}</dc:description>
  <dc:creator><Agent><dc:title>Ann Artist</dc:title></Agent></dc:creator>
  <dc:subject><rdf:Bag><rdf:li>red_thing</rdf:li><rdf:li>hash</rdf:li><rdf:li/><rdf:li>0x1f</rdf:li></rdf:Bag></dc:subject>
 </Work></rdf:RDF></metadata>
 <image xlink:href="/etc/hostname.png" width="9" height="9"/>
 <path d="{path}" fill="{fill}" stroke-width="1mm"/></svg>"""
BOX = "M 1 1 H 18 V 8 H 1 Z"
ZIGZAG = "M " + " L ".join(f"{x} {x % 7}" for x in range(20))


@pytest.fixture(scope="module")
def clipart():
    require.module("resvg_py", "image")
    return openclipart.load(folder=require.path(FETCHED, "isthmus data fetch openclipart"))


@pytest.fixture
def made(tmp_path):
    """Write drawings into a make-believe package, and load it."""

    def make(**drawings):
        folder = tmp_path / openclipart.PACKAGE / "food"
        folder.mkdir(parents=True, exist_ok=True)
        for name, said in drawings.items():
            values = {"title": "", "description": "", "path": BOX, "fill": "red"} | said
            (folder / f"{name}.svg").write_text(SVG.format(**values))
        return openclipart.load(folder=tmp_path)

    return make


def test_counts_are_those_of_the_card(clipart):
    pictures = clipart.of("image")
    texts = Counter(r.variant for r in clipart.of("text"))
    sizes = Counter(r.group for r in pictures)
    several = [n for n in sizes.values() if n > 1]
    assert clipart.card.counts == (
        f"{len(pictures):,} drawings with {texts['title']:,} titles, {texts['keywords']:,} lists of keywords and "
        f"{texts['description']} descriptions; {len(sizes):,} near-duplicate groups, {len(several)} of them of several "
        f"drawings ({sum(several):,} drawings, {max(several):,} of them stars)"
    )
    assert Counter(clipart.set_aside.values()) == {"shows nothing": 126}


def test_one_drawing(clipart):
    records = {r.id: r for r in clipart.records if r.key == OBOE}
    picture = records[f"{OBOE}|image|"]
    assert picture.meta["name"] == "Oboe"
    assert picture.meta["category"] == "recreation/music"
    assert records[f"{OBOE}|text|title"].load() == "Oboe"
    assert records[f"{OBOE}|text|keywords"].load() == "oboe, music, equipment"
    assert len(picture.digest()) == 64


def test_titles_of_collections_give_way_to_file_names(clipart):
    pictures = {r.key: r for r in clipart.of("image")}
    for key, name, collection in (
        ("computer/icons/lemon-theme/apps/gtk", "gtk", "Lemon SVG theme"),
        ("shapes/stars/star_61pt23step", "star pt step", "gramastar"),
        (BAT, "contour bat", "Clipart by Nicu Buculei - contour_chipmunk"),
    ):
        assert (pictures[key].text, pictures[key].meta["collection"]) == (name, collection)


def test_drawings_are_drawn(clipart):
    pictures = {r.key: r for r in clipart.of("image")}
    for key in (OBOE, BAT, "animals/birds/cormorant-md", "recreation/sports/football_pitch__andy_bur_01"):
        picture = pictures[key].load()
        assert (picture.mode, max(picture.size)) == ("RGB", 224)
        assert np.asarray(picture).std() > 10, key


def test_open_uri(clipart):
    opened = data.open_uri(f"openclipart:{OBOE}", clipart.root)
    assert max(opened.size) == 224
    for key in ("../../passwd", "food", "food/none"):
        with pytest.raises(NotFound, match="has no drawing"):
            data.open_uri(f"openclipart:{key}", clipart.root)


def test_words_of_a_file(made):
    found = made(
        apple_01={"title": "An  Apple", "description": "a red\napple"},
        pear_ann_a_02={"title": "Clipart by Ann - apple"},
        broken_03={"title": "<", "fill": "blue"},
    )
    records = {r.id: r.text for r in found.records}
    assert records["food/apple_01|text|title"] == "An Apple"
    assert records["food/apple_01|text|description"] == "a red apple"
    assert records["food/apple_01|text|keywords"] == "red thing"
    assert records["food/pear_ann_a_02|text|title"] == "pear"
    assert "food/pear_ann_a_02|text|description" not in records
    assert records["food/broken_03|text|title"] == "broken", "what cannot be read says nothing"
    assert found.of("image")[0].meta["artist"] == "Ann Artist"


def test_points_and_links(made):
    require.module("resvg_py", "image")
    picture = made(box={"title": "Box"}).of("image")[0].load()
    pixels = np.asarray(picture)
    assert picture.size == (224, 112), "a size in points counts"
    assert pixels[50, 100].tolist() == [255, 0, 0]
    assert pixels[0, 0].tolist() == [255, 255, 255]
    white = np.asarray(made(box={"title": "Box", "fill": "white"}).of("image")[0].load())
    assert (white[50, 100].tolist(), white[0, 0].tolist()) == ([255, 255, 255], [0, 0, 0]), "white shows on black"
    nothing = made(box={"title": "Box", "fill": "none"}).of("image")[0]
    with pytest.raises(BadInput, match=r"box\.svg: the drawing shows nothing"):
        nothing.load()


def test_same_shapes_in_other_colours(made):
    found = made(
        a={"title": "One", "path": ZIGZAG},
        b={"title": "Two", "path": ZIGZAG.replace(" ", "\n"), "fill": "blue"},
        c={"title": "Three", "path": BOX},
        d={"title": "Four", "path": BOX},
    )
    group = {r.key[-1]: r.group for r in found.of("image")}
    assert group["a"] == group["b"]
    assert len({group["c"], group["d"], group["a"]}) == 3, "a box says too little"


@pytest.mark.parametrize(
    ("names", "together"),
    [
        ({"a/x1": "Apple", "b/y2": "apple 2"}, True),
        ({"a/home_01": "A house", "b/home_02": "The cabin"}, True),
        ({"a/arrow_left": "arrow left", "a/arrow_right": "arrow right"}, True),
        ({"a/x": "Left", "a/y": "Right"}, False),
        ({"a/x": "Orange", "a/y": "Lemon"}, False),
        ({"a/1": "1", "a/2": "2"}, False),
        (
            {"signs_and_symbols/flags/asia/jordan": "jordan", "signs_and_symbols/flags/asia/palestine": "palestine"},
            True,
        ),
    ],
)
def test_groups(names, together):
    assert (len(set(groups(names, {}).values())) == 1) is together


def test_a_title_that_many_bear():
    said = {f"a/thing{chr(97 + n)}x_{n}": Words(title="The Set") for n in range(openclipart.SHARED)}
    assert titles(said)["a/thingbx_1"] == "thingbx"
    del said["a/thingax_0"]
    assert titles(said)["a/thingbx_1"] == "The Set"


def test_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="has not been fetched yet: isthmus data fetch openclipart"):
        data.load("openclipart")
    with pytest.raises(BadInput, match="at least 1 pixel"):
        openclipart.load(size=0)
