import dataclasses
import importlib

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data import world
from tests.cli.conftest import isthmus, refused


def test_records():
    found = data.load("world", n=20, size=48, paraphrases=2, pictures=("picture", "sketch", "depth"))
    assert found.modalities == ["image", "sound", "text"]
    assert len(found) == 20 * (3 + 1 + 6)
    one = [r for r in found.records if r.key == "0-3"]
    assert {r.variant for r in one if r.modality == "text"} == {"en", "fr", "de", "en-1", "fr-1", "de-1"}
    scene = world.sample(0, 3)
    picture = next(r for r in one if r.variant == "picture").load()
    assert picture.mode == "RGB" and (np.asarray(picture) == world.render("picture", scene, size=48)).all()
    assert next(r for r in one if r.variant == "de").load() == world.render("caption", scene, language="de")
    assert next(r for r in one if r.modality == "sound").load()["sampling_rate"] == 16_000
    assert all(r.load().size == (48, 48) for r in found.of("image"))


def test_digests_follow_the_content():
    def digests(**options):
        return [r.digest() for r in data.load("world", n=3, **options).of("image")]

    plain = digests()
    assert digests() == plain and len(set(plain)) == 3
    for options in ({"size": 64}, {"seed": 1}, {"domain_shift": 0.5}, {"pictures": ("night",)}):
        assert not set(digests(**options)) & set(plain), options


def test_uris_open_the_same_picture():
    for options in ({}, {"domain_shift": 0.5, "max_objects": 3}):
        for record in data.load("world", n=4, pictures=("picture", "edges"), **options).of("image"):
            assert (np.asarray(data.open_uri(record.uri)) == np.asarray(record.load())).all()
    for wrong in ("world:1", "world:0/x/picture", "world:0/1/picur", "world:0/1/sound", "world:0/1/picture?x=1"):
        with pytest.raises(NotFound):
            data.open_uri(wrong)
    with pytest.raises(BadInput, match="knob max_objects = 'three' is not a number"):
        data.open_uri("world:0/1/picture?max_objects=three")


def test_near_duplicates_share_a_group():
    found = data.load("world", n=400, min_objects=1, max_objects=1, person=0.0, languages=("en",))
    kinds = {}
    for record in found.of("text"):
        kinds.setdefault(record.load(), set()).add(record.group)
    assert all(len(groups) == 1 for groups in kinds.values()) and len(kinds) < 400


def test_knobs_reach_the_records():
    found = data.load("world", n=200, unpaired=0.5, caption_noise=0.5, languages=("en",))
    per_key = [sum(r.key == k for r in found.records) for k in {r.key for r in found.records}]
    assert set(per_key) == {1, 3}
    faults = {r.meta["fault"] for r in found.of("text")}
    assert "" in faults and len(faults) > 3
    with pytest.raises(NotFound, match="unknown knob 'objects'"):
        data.load("world", objects=3)
    with pytest.raises(BadInput, match="n = 0"):
        data.load("world", n=0)
    with pytest.raises(BadInput, match="sound is not a picture"):
        data.load("world", n=1, pictures=("sound",))
    with pytest.raises(NotFound, match="unknown language"):
        data.load("world", n=1, languages=("en", "es"))


def test_pictures_of_nobody():
    found = data.load("world", n=30, pictures=("skeleton",), person=0.5)
    alone = next(r for r in found.of("image") if r.meta["person"] == "no")
    with pytest.raises(BadInput, match="has no skeleton: no person in this scene"):
        alone.load()


def test_sheet(tmp_path):
    picture = world.sheet(1)
    assert picture.size[0] > 1000 and picture.size[1] > 1000
    assert np.array_equal(np.asarray(picture), np.asarray(world.sheet(1)))
    assert not np.array_equal(
        np.asarray(picture.crop((0, 60, 400, 400))), np.asarray(world.sheet(2).crop((0, 60, 400, 400)))
    )
    path = tmp_path / "sheet.png"
    done = isthmus("data", "show", "world", "--out", path, "--seed", 1)
    assert done.code == 0 and np.array_equal(np.asarray(Image.open(path)), np.asarray(picture))


def test_sheet_without_a_font_that_has_accents(monkeypatch):
    module = importlib.import_module("isthmus.data.world.sheet")
    assert module._plain("Würfel, groß, à gauche d'un cône") == "Wuerfel, gross, a gauche d'un cone"
    monkeypatch.setattr(module, "FONTS", ())
    assert module.sheet(1).size[0] > 1000


def test_open(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("webbrowser.open", lambda uri: seen.append(uri) or True)
    monkeypatch.chdir(tmp_path)
    done = isthmus("data", "show", "world", "--open", "--json")
    assert done.json == {"sheet": "isthmus-world.png"} and (tmp_path / "isthmus-world.png").exists()
    assert seen == [(tmp_path / "isthmus-world.png").as_uri()]
    assert "openmoji has no contact sheet; the world has one" in refused(isthmus("data", "show", "openmoji", "--open"))
    assert "is written as .png" in refused(isthmus("data", "show", "world", "--out", "sheet.txt"))
    assert "there is no folder" in refused(isthmus("data", "show", "world", "--out", "nowhere/sheet.png"))


def test_the_card_is_complete():
    card = data.card("world")
    assert set(dataclasses.asdict(card)["modalities"]) == set(data.load("world", n=1).modalities)
    with pytest.raises(NotFound):
        data.sheet("wrld")
