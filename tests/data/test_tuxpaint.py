import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data import fetch, tuxpaint
from isthmus.data.languages import tag
from isthmus.data.tuxpaint import groups
from tests import require

FETCHED = fetch.folder("tuxpaint")  # the user's; the tests themselves run with a cache of their own
BADGER, BANANA = "animals/mammals/badger", "food/fruit/cartoon/banana"


@pytest.fixture(scope="module")
def stamps():
    require.module("resvg_py", "image")
    return tuxpaint.load(folder=require.path(FETCHED, "isthmus data fetch tuxpaint"))


@pytest.fixture(scope="module")
def pictures(stamps):
    return {r.key: r for r in stamps.of("image")}


def test_counts_are_those_of_the_card(stamps, pictures):
    kinds = Counter(r.meta["kind"] for r in pictures.values())
    texts, speech = stamps.of("text"), stamps.of("speech")
    says = Counter(r.meta["says"] for r in speech)
    sizes = Counter(r.group for r in pictures.values())
    several = [n for n in sizes.values() if n > 1]
    assert stamps.card.counts == (
        f"{len(pictures):,} pictures ({kinds['photograph']} photographs, {kinds['drawing']} drawings), "
        f"{len(texts):,} captions in {len({r.variant for r in texts})} languages, {len(speech):,} recordings of speech "
        f"in {len({r.variant for r in speech})} languages ({says['caption']:,} captions, {says['name']} names of "
        f"digits and letters), {len(stamps.of('sound'))} sounds; {len(sizes):,} near-duplicate groups, "
        f"{len(several)} of them of several pictures ({sum(several)} pictures)"
    )
    assert stamps.modalities == ["image", "sound", "speech", "text"]
    assert Counter(r.variant for r in speech)["fr"] == len(pictures) - 25


def test_one_stamp(stamps):
    records = {r.id: r for r in stamps.records if r.key == BADGER}
    picture = records[f"{BADGER}|image|"]
    assert picture.meta == {"name": "A badger.", "category": "animals/mammals", "kind": "photograph"}
    assert records[f"{BADGER}|text|en"].load() == "A badger."
    assert records[f"{BADGER}|text|de"].text == "Ein Dachs."
    assert records[f"{BADGER}|text|zh-Hant"].text == "獾"
    assert records[f"{BADGER}|speech|fr"].text == "Un blaireau."
    assert f"{BADGER}|sound|" in records
    assert {r.group for r in records.values()} == {BADGER}
    assert all(len(r.digest()) == 64 for r in records.values())


def test_pictures_are_drawn(pictures):
    for key in (BADGER, BANANA, "symbols/math/7", "household/arttools/pencil2"):
        picture = pictures[key].load()
        assert picture.mode == "RGB"
        assert max(picture.size) <= 224
        assert np.asarray(picture).std() > 10, f"something is drawn of {key}"
    assert max(pictures[BANANA].load().size) == 224, "a drawing scales"


def test_recordings(stamps):
    require.module("soundfile", "audio")
    for modality, variant, key in (
        ("speech", "fr", BADGER),
        ("speech", "en-GB", "symbols/math/7"),
        ("sound", "", BADGER),
    ):
        record = next(r for r in stamps.of(modality) if (r.key, r.variant) == (key, variant))
        sound = record.load()
        assert sound["array"].dtype == np.float32
        assert sound["array"].ndim == 1
        assert 0.2 < len(sound["array"]) / sound["sampling_rate"] < 20
        assert 0.01 < np.abs(sound["array"]).max() <= 1.5


def test_no_recording_in_two_groups(stamps):
    bearers = defaultdict(set)
    for record in stamps.of("speech"):
        if record.variant == "fr":
            bearers[record.digest()].add(record.group)
    assert max(map(len, bearers.values())) == 1


def test_what_is_a_photograph(pictures):
    def kind(key):
        return pictures[key].meta["kind"]

    for key in ("food/fruit/apple_red", "symbols/money/japanese/yen100", "space/planets/1_mercury", "seasonal/candle"):
        assert kind(key) == "photograph", key
    for key in (BANANA, "clothes/button", "seasonal/easter/bunny", "symbols/alphabets/asl/asl_a", "symbols/faces/sad"):
        assert kind(key) == "drawing", key


def flat(path):
    """The share of neighbouring opaque pixels of one colour: small in photographs, where light and sensor differ."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(np.int32)
    opaque = pixels[..., 3] >= 250
    colour = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    both = opaque[:, 1:] & opaque[:, :-1]
    return (both & (colour[:, 1:] == colour[:, :-1])).sum() / max(1, both.sum())


def test_photographs_are_not_flat(stamps, pictures):
    """The kinds were told by eye; a measure that knows nothing of that agrees with most."""
    share = defaultdict(list)
    for key, picture in list(pictures.items())[::3]:
        if (path := stamps.root / f"{key}.png").exists() and not (stamps.root / f"{key}.svg").exists():
            share[picture.meta["kind"]].append(flat(path))
    assert np.mean(np.array(share["photograph"]) < 0.4) > 0.95
    assert np.mean(np.array(share["drawing"]) > 0.4) > 0.8


@pytest.mark.parametrize(
    ("captions", "together"),
    [
        ({"a/k_filled": "The letter k.", "b/K_outline": "The letter K."}, True),
        ({"a/rocket1": "A rocket.", "a/rocket5": "A big one."}, True),
        ({"a/cow": "A cow.", "a/cow_white": "A white one."}, True),
        ({"a/pear": "A pear.", "a/cartoon/pear": "A yellow pear."}, True),
        ({"a/p_filled": "The letter p.", "a/q_filled": "The letter q."}, True),
        ({"a/7": "Seven.", "a/6": "Six."}, False),
        ({"a/pear": "A pear.", "b/pear": "A prickly pear."}, False),
        ({"a/asl_a": "The sign a.", "a/asl_b": "The sign b."}, False),
    ],
)
def test_groups(captions, together):
    assert (len(set(groups(captions).values())) == 1) is together


def test_open_uri(stamps, pictures):
    opened = np.asarray(pictures[BADGER].load())
    for name in (BADGER, f"{BADGER}_desc_fr.ogg", f"{BADGER}.ogg"):
        assert np.array_equal(np.asarray(data.open_uri(f"tuxpaint:{name}", stamps.root)), opened)
    for name in ("../../../../etc/passwd", "animals/none", "animals"):
        with pytest.raises(NotFound, match="has no stamp"):
            data.open_uri(f"tuxpaint:{name}", stamps.root)


def test_open_sound_uri(stamps):
    require.module("soundfile", "audio")
    record = next(r for r in stamps.of("speech") if r.key == BADGER)
    assert np.array_equal(data.open_sound_uri(record.uri, stamps.root)["array"], record.load()["array"])
    for name in ("animals/none_desc_fr.ogg", "../../../../etc/passwd", "animals/mammals/badger.svg"):
        with pytest.raises(NotFound, match="has no recording"):
            data.open_sound_uri(f"tuxpaint:{name}", stamps.root)


def test_not_fetched_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match="has not been fetched yet: isthmus data fetch tuxpaint"):
        data.load("tuxpaint")
    with pytest.raises(BadInput, match="at least 1 pixel"):
        tuxpaint.load(size=0)


def test_files_that_do_not_fit_are_set_aside(tmp_path):
    root = tmp_path / tuxpaint.PACKAGE / "animals"
    root.mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(root / "red.png")
    (root / "red.txt").write_text("Red.\nfr.utf8=Rouge.\nde.utf8=\nnonsense\npt_BR.utf8=Vermelho.\n")
    (root / "lost.txt").write_text("Lost.\n")
    for name in ("red_desc.ogg", "Red_desc_fr.wav", "red_desc_fr.ogg", "red.ogg", "blue_desc_fr.ogg"):
        (root / name).write_bytes(hashlib.sha256(name.encode()).digest())
    found = tuxpaint.load(folder=tmp_path)
    assert {(r.modality, r.variant) for r in found.records} == {
        *(("image", ""), ("text", "en"), ("text", "fr"), ("text", "pt-BR")),
        *(("speech", "en"), ("speech", "fr"), ("sound", "")),
    }
    assert found.set_aside == {
        "animals/lost.txt": "a caption without a picture",
        "animals/blue_desc_fr.ogg": "a recording without a stamp",
        "animals/red_desc_fr.ogg": "a second recording; the first is animals/Red_desc_fr.wav",
    }
    require.module("soundfile", "audio")
    with pytest.raises(BadInput, match="recording cannot be read"):
        found.of("sound")[0].load()


def test_language_tags():
    wanted = {"en": "en", "pt_BR": "pt-BR", "ca@valencia": "ca-valencia", "sr@latin": "sr-Latn", "zh_CN": "zh"}
    wanted |= {"zh_tw": "zh-Hant", "zh-Hant": "zh-Hant", "en_GB": "en-GB", "uz_Cyrl": "uz-Cyrl", "kab": "kab"}
    assert {code: tag(code) for code in wanted} == wanted
