"""The default space on small data sets: what is held out of which, what the card says, and who uses it."""

import dataclasses

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.splits import holdout
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench import spaces
from isthmus.workbench.default_space import Part, build
from isthmus.workbench.embed import embed
from isthmus.workbench.evaluate import evaluate
from isthmus.workbench.search import build_index
from tests.workbench.small_world import ByColour, colours

pytest.importorskip("torch", reason="needs the package torch: projectors train")

QUICK = {"width": 6, "steps": 30, "batch": 16}
PARTS = (
    Part("signs", "signs", ("text", "image"), {"text": ("en",)}, held=10),
    Part("more signs", "signs", ("image",)),
    Part("stamps", "stamps", ("text", "image"), held=6),
)


def read(name):
    """Colours c00 … c59 as signs, the same again as more signs, and c40 … c79 as stamps: c40 … c59 are in both."""
    if name == "stamps":
        rows = [r for r in colours(n=80).records if r.key >= "c40"]
        rows = [dataclasses.replace(r, key=f"s{r.key}", group=f"s{r.key}") for r in rows]
        kinds = [
            dataclasses.replace(r, meta={"kind": "drawing" if int(r.key[2:]) % 2 else "photograph"})
            if r.modality == "image"
            else r
            for r in rows
        ]
        return dataclasses.replace(colours(), name=name, records=kinds)
    if name not in ("signs", "more signs"):
        raise NotFound(f"no {name}")
    return dataclasses.replace(colours(), name=name)


def encoders():
    return {"text": ByColour("text", 1), "image": ByColour("image", 2)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    place = tmp_path_factory.mktemp("default") / "isthmus" / "spaces" / "default"
    build(home=place, parts=PARTS, encoders=encoders(), settings=QUICK, read=read)
    return place


def test_nothing_held_out_was_trained_on_under_any_name(home):
    parts = Space.load(home / "space").card["training"]["parts"]
    signs = [f"c{i:02d}" for i in range(60)]
    assert set(parts["signs"]["held_out"]) == holdout(signs, signs, split=0, n=10).test, "the split of its own demo"
    trained = {name: set(part["keys"]) for name, part in parts.items()}
    held = {name: set(part["held_out"]) for name, part in parts.items()}
    assert len(held["stamps"]) == 6 and not held["more signs"]
    for name in ("signs", "more signs"):
        assert not trained[name] & held["signs"]
        assert not {f"s{key}" for key in trained[name]} & held["stamps"], "the same colour is in the other data set"
    assert not {key.removeprefix("s") for key in trained["stamps"]} & held["signs"]
    assert trained["signs"] and trained["stamps"]


def test_near_duplicates_that_another_data_set_of_the_domain_knows(tmp_path):
    def regrouped(name):
        source = read(name)
        if name != "more signs":
            return source
        rows = [dataclasses.replace(r, group=f"g{int(r.key[1:]) // 4}") for r in source.records]
        return dataclasses.replace(source, records=rows)

    space = build(home=tmp_path, parts=PARTS, encoders=encoders(), settings=QUICK, read=regrouped)
    parts = space.card["training"]["parts"]
    fours = {int(key[1:]) // 4 for key in parts["signs"]["held_out"]}
    assert not fours & {int(key[1:]) // 4 for name in ("signs", "more signs") for key in parts[name]["keys"]}


def test_the_card_says_how_good_it_is(home):
    space = Space.load(home / "space")
    shown = space.card["figures"]["signs"]["text:image"]["directions"]["text_to_image"]
    assert set(shown) == {"all"} or set(shown) == {"en"}
    assert next(iter(shown.values()))["n"] == next(iter(shown.values()))["gallery"] == 10
    assert set(space.card["kinds"]) == {"stamps"} and set(space.card["kinds"]["stamps"]) <= {"drawing", "photograph"}
    again = evaluate(Store.open(home / "stores" / "signs"), space=space)
    assert (
        "held out" in again.notes[0]
        and again.to_json()["directions"] == space.card["figures"]["signs"]["text:image"]["directions"]
    ), "evaluate finds the held-out items of this data set in the card"


def test_a_store_is_told_by_its_content(home, tmp_path):
    """Another name changes nothing; the same name, or the same keys, of other pictures is another data set."""
    parts = Space.load(home / "space").card["training"]["parts"]

    def trained(name, records):
        source = dataclasses.replace(colours(), name=name, records=records)
        store = embed(
            source, encoders=encoders(), out=tmp_path / name / str(len(list(tmp_path.rglob("store*")))) / "store"
        )
        training = spaces.opened(store, home / "space")[1].card["training"]
        assert "content" not in training
        return training.get("keys")

    signs = read("signs").records
    assert trained("signs", signs) == trained("my folder", signs) == parts["signs"]["keys"]
    few = [r for r in signs if r.key in ("c03", "c41")]
    assert trained("part of it", few) == parts["signs"]["keys"]
    stamps = read("stamps").records
    assert trained("signs", stamps) == parts["stamps"]["keys"], "the name is not asked"
    others = [
        dataclasses.replace(r, load=o.load, digest=o.digest) for r, o in zip(signs, signs[3:] + signs[:3], strict=True)
    ]
    assert trained("signs", others) is None and trained("others", others) is None


def test_a_space_that_does_not_know_content_goes_by_the_name_and_the_items(home, tmp_path):
    space = Space.load(home / "space")
    parts = {
        name: {k: v for k, v in part.items() if k != "content"}
        for name, part in space.card["training"]["parts"].items()
    }
    older = Space(space.maps, {**space.card, "training": {**space.card["training"], "parts": parts}})
    store = Store.open(home / "stores" / "signs")
    assert spaces.opened(store, older)[1].card["training"]["keys"] == parts["signs"]["keys"]
    foreign = dataclasses.replace(colours(), name="signs", records=read("stamps").records)
    other = embed(foreign, encoders=encoders(), out=tmp_path / "store")
    assert "keys" not in spaces.opened(other, older)[1].card["training"]


def test_it_is_built_once(home):
    used, before = encoders(), Space.load(home / "space").digest
    settings = QUICK | {"steps": 31}
    assert build(home=home, parts=PARTS, encoders=used, settings=QUICK, read=read).digest == before
    assert used["text"].calls == used["image"].calls == 0
    assert build(home=home, parts=PARTS, encoders=used, settings=settings, read=read).digest != before
    assert build(home=home, parts=PARTS, encoders=used, settings=QUICK, read=read, fresh=True).digest == before


def test_it_is_used_where_no_space_is_named(home, monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_CACHE", str(home.parents[1]))
    store = embed(colours(), encoders=encoders(), out=tmp_path / "store")
    index = build_index(store, out=tmp_path / "index")
    assert index.space.digest == spaces.default().digest
    text = encoders()["text"].encode("text", ["1 2 3"])
    assert len(index.search(index.space.transform("text", text), k=3, modality="image")[0]) == 3
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(NotFound, match="isthmus space build default"):
        build_index(store, out=tmp_path / "index")


def test_the_own_space_of_an_encoder(tmp_path):
    class Both(ByColour):
        def __init__(self, modality):
            super().__init__(modality, 1)
            self.fingerprint = dataclasses.replace(self.fingerprint, encoder="both/one")

    used = {m: Both(m) for m in ("text", "image")}
    store = embed(colours(), encoders=used, out=tmp_path / "store")
    index = build_index(store, space="both/one", out=tmp_path / "index")
    x = used["text"].encode("text", ["1 2 3"])
    np.testing.assert_allclose(index.space.transform("text", x), x / np.linalg.norm(x), atol=1e-6)
    assert evaluate(store, space="both/one").mean["text_to_image"]["r@1"] == 1.0
    alone = embed(colours(), encoders={"text": used["text"]}, out=tmp_path / "alone")
    with pytest.raises(BadInput, match="text alone"):
        build_index(alone, space="both/one", out=tmp_path / "none")
    with pytest.raises(NotFound, match="isthmus embed SOURCE --encoder image=open_clip/ViT-B-32/openai"):
        build_index(store, space="open_clip/ViT-B-32/openai", out=tmp_path / "none")


def test_errors_before_any_work(tmp_path):
    used = encoders()
    with pytest.raises(BadInput, match="learns from nothing: no nothing"):
        build(home=tmp_path, parts=(*PARTS, Part("nothing", "n", ("image",))), encoders=used, read=read)
    assert used["image"].calls == 0
