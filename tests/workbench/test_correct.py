"""Corrections of hubs on a store and a space: banks of training items, settings chosen elsewhere, no harm."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.index.index import Index
from isthmus.metrics.hubness import k_occurrence
from isthmus.space import Map, Space
from isthmus.store.rows import Vectors
from isthmus.store.store import Store
from isthmus.workbench import correct as module
from isthmus.workbench.align import align
from isthmus.workbench.correct import Items, bank_rows, correct_scores, corrections, corrector, trained_keys
from isthmus.workbench.diagnose import diagnose
from isthmus.workbench.evaluate import compare, evaluate
from isthmus.workbench.hubs import hub_figures, hub_report
from isthmus.workbench.search import build_index, check_correction

from .test_evaluate import fill, fingerprint, record

TRAINED = [f"k{i:03d}" for i in range(100)]
TESTED = [f"k{i:03d}" for i in range(100, 160)]
PER_ITEM = ("is", "dual_is", "nnn", "csls", "dn")
GATED = ("dis", "dual_dis", "gc")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """160 pictures and names in two languages; some pictures are long vectors, which every query finds."""
    return hubs(tmp_path_factory.mktemp("world") / "store", "image")


def hubs(path, offered):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((160, 10))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    store = Store.create(path, source={"name": "a world"})
    keys = TRAINED + TESTED
    loud = np.where(np.arange(160) % 12 == 5, 1.9, 1.0)[:, None]
    fill(store, [record(k, offered) for k in keys], loud * (centres + 0.1 * rng.standard_normal((160, 10))))
    names = [record(k, "text", language) for k in keys for language in ("de", "en")]
    fill(store, names, np.repeat(centres, 2, axis=0) + 0.2 * rng.standard_normal((320, 10)))
    maps = {m: Map([], {}, fingerprint(m, 10)) for m in (offered, "text")}
    return store, Space(maps, {"training": {"keys": TRAINED, "source": {"name": "a world"}}})


# ------------------------------------------------------------------ banks


def test_align_names_the_items_it_was_trained_on(world, tmp_path):
    pytest.importorskip("torch", reason="needs the package torch: the projectors train")
    store, _ = world
    settings = {"width": 4, "steps": 1, "batch": 16}
    align(store, modalities=["image", "text"], keys=TRAINED[:30], settings=settings, out=tmp_path / "space")
    assert trained_keys(Space.load(tmp_path / "space")) == set(TRAINED[:30])


def test_banks_are_trained_on_and_no_relatives_of_what_is_measured():
    keys = np.array(list("abcdef"))
    items = Items(np.eye(6), keys, np.array(["a", "b", "b", "d", "e", "f"]))
    assert bank_rows(items, set("abde")).tolist() == [0, 1, 3, 4]
    assert bank_rows(items, set("abde"), {"c", "f"}).tolist() == [0, 3, 4]
    with pytest.raises(BadInput, match=r"1 records .* are left for a bank"):
        bank_rows(items, set("abcf"), {"c", "f"})


def test_no_test_query_is_in_a_bank(world, monkeypatch):
    store, space = world
    seen = []
    made = module._fold

    def watched(asking, offered, query_bank, gallery_bank):
        seen.append((set(query_bank.keys) | set(gallery_bank.keys), set(asking.keys) | set(offered.keys)))
        return made(asking, offered, query_bank, gallery_bank)

    monkeypatch.setattr(module, "_fold", watched)
    evaluate(store, space=space, keys=TESTED, correct="is", n_boot=10)
    evaluate(store, space=space, keys=[*TESTED, *TRAINED[:20]], correct="is", n_boot=10)
    assert seen
    for of_banks, measured in seen:
        assert of_banks <= set(TRAINED) and not of_banks & measured


# ------------------------------------------------------------------ evaluate


@pytest.mark.parametrize("name", [*PER_ITEM, *GATED])
def test_evaluate(world, name):
    store, space = world
    found = evaluate(store, space=space, keys=TESTED, correct=name, n_boot=20)
    plain = evaluate(store, space=space, keys=TESTED, n_boot=20)
    assert json.loads(json.dumps(found.to_json()))["correction"]["name"] == name
    for way, mean in found.correction["raw"].items():
        assert mean["r@1"] == pytest.approx(plain.mean[way]["r@1"])
        assert mean["mrr"] == pytest.approx(plain.mean[way]["mrr"])
        chosen = found.correction["directions"][way]["chosen"]
        assert len(chosen) == 2 and {each["name"] for each in chosen} <= {name, "none"}
    assert {v: m["n"] for v, m in found.directions["text_to_image"].items()} == {"de": 60, "en": 60}
    assert compare(found, plain)["text_to_image"].keys() == {"de", "en"}, "the same queries in the same order"
    if name in ("is", "dual_is", "nnn", "csls"):
        assert found.mean["text_to_image"]["r@1"] > plain.mean["text_to_image"]["r@1"] + 0.05
    if name == "gc":
        assert "correction" not in plain.to_json()


def test_without_keys_the_items_that_are_new_are_measured(world, tmp_path):
    store, space = world
    found = evaluate(store, space=space, correct="is", n_boot=10, out=tmp_path / "out", depth=7)
    assert found.directions["text_to_image"]["en"]["gallery"] == len(TESTED)
    assert any("60 items that the space was not trained on" in note for note in found.notes)
    lines = [line.split() for line in (tmp_path / "out" / "text_to_image.en.run").read_text().splitlines()]
    assert len(lines) == 60 * 7 and (tmp_path / "out" / "metrics.json").exists()
    first = {query: document.partition("|")[0] for query, _, document, rank, *_ in lines if rank == "1"}
    right = np.mean([query.partition("|")[0] == key for query, key in first.items()])
    assert right == pytest.approx(found.directions["text_to_image"]["en"]["r@1"])


def test_nothing_is_corrected_where_nothing_helps(world):
    store, _ = world
    x = {m: store.vectors(m) for m in ("image", "text")}
    exact = {m: Items(v.x, v.keys, v.groups) for m, v in x.items()}
    exact["image"] = Items(exact["text"].x[::2], exact["text"].keys[::2], exact["text"].groups[::2])
    one = {"image": exact["image"], "text": Items(exact["image"].x, exact["image"].keys, exact["image"].groups)}
    unit = {m: replace(i, x=i.x / np.linalg.norm(i.x, axis=1, keepdims=True)) for m, i in one.items()}
    bias, chosen = corrections("is", unit, unit, set(TRAINED))
    assert bias == {} and chosen["image"]["name"] == "none"
    assert chosen["image"]["raw"] == 1.0 and not chosen["image"]["validation_in_training"]


# ------------------------------------------------------------------ index


@pytest.mark.parametrize("name", PER_ITEM)
def test_index(world, name, tmp_path):
    store, space = world
    made = build_index(store, space=space, out=tmp_path / "i", correct=name)
    assert set(made.correction) == {"image", "text"}
    record = made.correction["image"]
    assert record["asked"] == name and record["query_bank"] == 200 and record["gallery_bank"] == 100
    assert record["validation_items"] == 60 and not record["validation_in_training"]
    check_correction(made, name)
    if name != "dn":
        assert made.bias("image") is not None
        new = store.vectors("text", keys=TESTED)
        right = {
            corrected: np.mean(
                [
                    hits[0].key == key
                    for key, hits in zip(
                        new.keys, made.search(new.x, k=1, modality="image", corrected=corrected), strict=True
                    )
                ]
            )
            for corrected in (False, True)
        }
        assert right[True] > right[False] + 0.05


def test_an_index_of_a_part_has_the_same_biases(world, tmp_path):
    store, space = world
    whole = build_index(store, space=space, out=tmp_path / "a", correct="dual_is")
    part = build_index(store, space=space, out=tmp_path / "b", correct="dual_is", modalities=["image"], keys=TESTED)
    ids = whole.items("image")["key"].to_pylist()
    rows = [ids.index(key) for key in part.items("image")["key"].to_pylist()]
    difference = whole.bias("image")[rows] - part.bias("image")
    np.testing.assert_allclose(difference, difference[0], atol=1e-6)  # each less its own mean
    assert part.modalities == ["image"] and part.correction["image"] == whole.correction["image"]


def test_what_an_index_says_of_its_correction(world, tmp_path):
    store, space = world
    plain = build_index(store, space=space, out=tmp_path / "plain")
    made = build_index(store, space=space, out=tmp_path / "is", correct="is")
    for index in (plain, made):
        check_correction(index, "none")
    with pytest.raises(BadInput, match=r"built without a correction: build it again .* --correct is"):
        check_correction(plain, "is")
    with pytest.raises(BadInput, match="was built with is"):
        check_correction(made, "nnn")
    with pytest.raises(BadInput, match=r"does not work on an index: .* best item is active.*isthmus evaluate"):
        check_correction(made, "dis")
    with pytest.raises(NotFound, match="did you mean 'dual_is'"):
        check_correction(made, "duel_is")


def test_too_few_new_items_to_choose_on(world, tmp_path):
    store, space = world
    nearly = Space(space.maps, {"training": {"keys": TRAINED + TESTED[:55]}})
    made = build_index(store, space=nearly, out=tmp_path / "i", correct="is")
    assert made.correction["image"]["validation_in_training"]
    assert made.correction["image"]["validation_items"] == 160


# ------------------------------------------------------------------ hubs


def test_hub_report(world):
    store, space = world
    report = hub_report(store, space=space, correct="dual_is", k=5, top=4)
    assert json.loads(json.dumps(report)) == report
    found = report["directions"]["text_to_image"]
    assert (report["items"], found["queries"], found["gallery"]) == (60, 120, 60)
    images, texts = (store.vectors(m, keys=TESTED) for m in ("image", "text"))
    counts = k_occurrence(texts.x, images.x, 5)
    assert found["before"]["max_count"] == counts.max()
    assert found["before"]["orphan_share"] == np.mean(counts == 0)
    assert found["after"]["hubness_skewness"] < found["before"]["hubness_skewness"] - 0.5
    assert sum(found["before"]["histogram"]) == sum(found["after"]["histogram"]) == 60
    assert found["before"]["histogram"][0] == np.sum(counts == 0) and len(found["edges"]) == len(
        found["before"]["histogram"]
    )
    assert found["before"]["evenly"] == found["after"]["evenly"] == 120 * 5 / 60
    assert len(found["top"]) == 4
    largest = images.keys[counts.argmax()]
    assert found["top"][0]["key"] == largest and found["top"][0]["before"] == counts.max()
    assert found["top"][0]["after"] < found["top"][0]["before"]
    assert {hub["evenly"] for hub in found["top"]} == {10.0}


def test_diagnose_shows_hubs_before_and_after(world):
    store, space = world
    report = diagnose(store, space=space, correct="is")
    assert report["hubs"]["image:text"] == hub_report(store, space=space, pair="image:text", correct="is")
    assert "hubs" not in diagnose(store, space=space)
    assert report["pairs"]["image:text"]["hubness"]["text_to_image"]["max_count"] > 10


# ------------------------------------------------------------------ scores alone


def test_scores(world):
    store, _ = world
    image, text = (store.vectors(m) for m in ("image", "text"))
    new = {m: v.take(np.isin(v.keys, TESTED)) for m, v in (("image", image), ("text", text))}
    old = {m: v.take(np.isin(v.keys, TRAINED)) for m, v in (("image", image), ("text", text))}
    gallery = new["image"].x.T
    tables = new["text"].x @ gallery, old["text"].x @ gallery, old["image"].x @ gallery
    found, said = correct_scores(
        *tables, settings={"beta_query": "5"}, query_keys=new["text"].keys, gallery_keys=new["image"].keys
    )
    _, cls = corrector("dual_is")
    expected = cls(beta_query=5.0).fit(old["text"].x, old["image"].x).score(new["text"].x, new["image"].x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert said["settings"] == {"beta_query": 5.0, "beta_gallery": 20.0}
    assert said["hubs"]["before"] == hub_figures(tables[0])
    assert said["figures"]["after"]["r@1"] > said["figures"]["before"]["r@1"]
    alone, _ = correct_scores(tables[0], tables[1], name="is")
    assert alone.shape == tables[0].shape


# ------------------------------------------------------------------ errors


def test_errors(world, tmp_path):
    store, space = world
    with pytest.raises(NotFound, match="correction 'soft'"):
        evaluate(store, space=space, keys=TESTED, correct="soft")
    with pytest.raises(NotFound, match="unknown correction"):
        build_index(store, space=space, out=tmp_path / "i", correct="soft")
    silent = Space(space.maps, {"training": {"items": 9}})
    for verb in (
        lambda: evaluate(store, space=silent, correct="is"),
        lambda: build_index(store, space=silent, out=tmp_path / "i", correct="is"),
        lambda: hub_report(store, space=silent),
    ):
        with pytest.raises(BadInput, match=r"does not name the items it was trained on.*isthmus align"):
            verb()
    for name in GATED:
        with pytest.raises(BadInput, match=f"--correct {name} cannot be put into an index.*isthmus evaluate"):
            build_index(store, space=space, out=tmp_path / "i", correct=name)
    assert not (tmp_path / "i").exists(), "refused before any work"
    with pytest.raises(BadInput, match="are left for a bank"):
        evaluate(store, space=space, keys=TRAINED + TESTED, correct="is")
    whole = Space(space.maps, {"training": {"keys": TRAINED + TESTED}})
    with pytest.raises(BadInput, match="trained on all but 0 items"):
        evaluate(store, space=whole, correct="is")
    with pytest.raises(BadInput, match="0 items are left to measure"):
        hub_report(store, space=whole)
    with pytest.raises(BadInput, match="two different modalities"):
        hub_report(store, space=space, pair="text")
    with pytest.raises(BadInput, match="the only modality"):
        one = {"image": Items(np.eye(3), np.array(list("abc")), np.array(list("abc")))}
        corrections("is", one, one, {"a", "b"})
    with pytest.raises(NotFound, match="beta_query"):
        correct_scores(np.eye(3), np.eye(3), np.eye(3), settings={"beta_quer": 1})
    with pytest.raises(BadInput, match="bank draws entries of a bank of vectors"):
        correct_scores(np.eye(3), np.eye(3), np.eye(3), settings={"bank": 1})
    with pytest.raises(BadInput, match="one by one"):
        evaluate(world[0], space=world[1], correct="dual_softmax")
    with pytest.raises(BadInput, match="isthmus correct"):
        build_index(world[0], space=world[1], out=tmp_path / "j", correct="dual_softmax")


def test_a_version_that_is_newer_is_refused(world, tmp_path):
    made = build_index(world[0], space=world[1], out=tmp_path / "i", correct="is")
    head = json.loads((made.path / "index.json").read_text())
    (made.path / "index.json").write_text(json.dumps(head | {"format_version": head["format_version"] + 1}))
    with pytest.raises(BadInput, match="update isthmus"):
        Index.open(made.path)


def test_vectors_are_left_alone(world):
    store, _ = world
    of = fingerprint("image", 3)
    vectors = Vectors.of(np.eye(3), of, keys=list("abc"))
    items = Items.of((vectors, vectors.x), (vectors, 2 * vectors.x))
    assert items.x.shape == (6, 3) and items.take(np.array([5, 0])).keys.tolist() == ["c", "a"]
    assert store.vectors("image").x.shape == (160, 10)


def test_the_example(world, tmp_path, capsys):
    store, space = world
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "correct_hubs.py"))
    found = example["main"](str(store.path), str(space.save(tmp_path / "space")))
    assert found["dual_is"]["text_to_image"] > found["none"]["text_to_image"]
    assert len(capsys.readouterr().out.splitlines()) == len(example["NAMES"])


def test_the_example_between_other_modalities(tmp_path):
    store, space = hubs(tmp_path / "store", "speech")
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "correct_hubs.py"))
    found = example["main"](str(store.path), str(space.save(tmp_path / "space")), "text:speech")
    assert found["dual_is"]["text_to_speech"] > found["none"]["text_to_speech"]
