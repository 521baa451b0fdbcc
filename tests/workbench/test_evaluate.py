import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import pytrec_eval

from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.data.records import Record
from isthmus.metrics.bootstrap import bootstrap_ci, paired_test
from isthmus.space import Map, Space
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.store import Store
from isthmus.workbench.evaluate import FIGURES, Evaluation, compare, evaluate
from tests.oracles import retrieval as oracle

LANGUAGES = ("de", "en", "ja")


def fingerprint(modality, dim, encoder="made up"):
    return Fingerprint(
        encoder=encoder, modality=modality, dim=dim, weights="0" * 64, preprocess="", pooling="", normalised=False
    )


def record(key, modality, variant=""):
    load = f"{key} {modality} {variant}".strip
    return Record(
        key=key,
        modality=modality,
        variant=variant,
        text=load() if modality == "text" else None,
        load=load,
        digest=lambda: hashlib.sha256(load().encode()).hexdigest(),
    )


def fill(store, rows, x, encoder="made up"):
    with store.writer(fingerprint(rows[0].modality, x.shape[1], encoder)) as writer:
        writer.add(rows, x)


def identity(modality, dim, **more):
    return Map([{"op": "normalise"}], {}, fingerprint(modality, dim, **more))


@pytest.fixture
def world(tmp_path):
    """30 pictures and their names in three languages (5 without Japanese), close to the picture's vector."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((30, 8))
    store = Store.create(tmp_path / "store", source={"name": "a world"})
    pictures = [record(f"k{i:02d}", "image") for i in range(30)]
    names = [record(f"k{i:02d}", "text", lang) for i in range(30) for lang in LANGUAGES if lang != "ja" or i >= 5]
    noise = {"de": 0.8, "en": 0.4, "ja": 1.2}
    fill(store, pictures, centres + 0.1 * rng.standard_normal((30, 8)))
    x = np.stack([centres[int(n.key[1:])] + noise[n.variant] * rng.standard_normal(8) for n in names])
    fill(store, names, x)
    return store, Space({m: identity(m, 8) for m in ("image", "text")})


def relation(store, space, language, direction):
    """Return scores and relevance of a direction, straight from the store."""
    text, image = store.vectors("text"), store.vectors("image")
    text = text.take(text.variants == language)
    a, b = (text, image) if direction == "text_to_image" else (image, text)
    a = a.take(np.isin(a.keys, b.keys))
    unit = [v.x / np.linalg.norm(v.x, axis=1, keepdims=True) for v in (a, b)]
    return (unit[0] @ unit[1].T).tolist(), [[int(k == q) for k in b.keys] for q in a.keys], a


# ------------------------------------------------------------------ what it measures


def test_oracle(world):
    store, space = world
    evaluation = evaluate(store, space=space)
    assert isinstance(evaluation, Evaluation)
    for direction in ("text_to_image", "image_to_text"):
        assert list(evaluation.directions[direction]) == list(LANGUAGES)
        for language, found in evaluation.directions[direction].items():
            scores, relevant, _ = relation(store, space, language, direction)
            pairs = list(zip(scores, relevant, strict=True))
            assert found["n"] == len(pairs)
            for k in (1, 5, 10):
                assert found[f"r@{k}"] == np.mean([oracle.recall_at_k(*p, k) for p in pairs])
            assert found["mrr"] == pytest.approx(np.mean([oracle.reciprocal_rank(*p) for p in pairs]))
            assert found["map"] == pytest.approx(np.mean([oracle.average_precision(*p) for p in pairs]))
            assert found["ndcg@10"] == pytest.approx(np.mean([oracle.ndcg_at_k(*p, 10) for p in pairs]))
        for figure in FIGURES:
            values = [v[figure] for v in evaluation.directions[direction].values()]
            assert evaluation.mean[direction][figure] == pytest.approx(np.mean(values))


def test_oracle_intervals(world):
    """Those of the plain bootstrap where every item is measured; the mean's is narrower than each."""
    store, space = world
    keys = [f"k{i:02d}" for i in range(5, 30)]
    evaluation = evaluate(store, space=space, keys=keys, seed=4)
    for direction, variants in evaluation.queries.items():
        for language, measured in variants.items():
            order = np.argsort(measured.keys)
            for figure in FIGURES:
                expected = bootstrap_ci(measured.figures[figure][order], seed=4)
                assert evaluation.directions[direction][language]["intervals"][figure] == pytest.approx(expected)
        low, high = evaluation.mean[direction]["intervals"]["mrr"]
        assert low < evaluation.mean[direction]["mrr"] < high
        whole = np.mean([v.figures["mrr"][np.argsort(v.keys)] for v in variants.values()], axis=0)
        assert (low, high) == pytest.approx(bootstrap_ci(whole, seed=4))


def test_candidates_and_queries(world):
    """Pictures without a Japanese name are not asked about in Japanese, and stay candidates for Japanese names."""
    store, space = world
    found = evaluate(store, space=space).directions
    there, back = found["text_to_image"], found["image_to_text"]
    assert {v: (m["n"], m["gallery"], m["unmatched"]) for v, m in there.items()} == {
        "de": (30, 30, 0),
        "en": (30, 30, 0),
        "ja": (25, 30, 0),
    }
    assert {v: (m["n"], m["gallery"], m["unmatched"]) for v, m in back.items()} == {
        "de": (30, 30, 0),
        "en": (30, 30, 0),
        "ja": (25, 25, 5),
    }


def test_keys_bound_queries_and_candidates(world):
    store, space = world
    found = evaluate(store, space=space, keys={"k07", "k08", "k09", "nowhere"}).directions["text_to_image"]["en"]
    assert (found["n"], found["gallery"]) == (3, 3)


def test_many_positives(tmp_path):
    """Names without variants, drawings in two styles: the styles are measured apart."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((12, 6))
    store = Store.create(tmp_path / "store", source={"name": "styles"})
    pictures = [record(f"k{i}", "image", style) for i in range(12) for style in ("ink", "oil")]
    fill(store, pictures, np.repeat(centres, 2, axis=0) + 0.2 * rng.standard_normal((24, 6)))
    fill(store, [record(f"k{i}", "text") for i in range(12)], centres)
    evaluation = evaluate(store, space=Space({m: identity(m, 6) for m in ("image", "text")}))
    assert set(evaluation.directions["text_to_image"]) == {"ink", "oil"}
    # the same world with one style: every name has two right pictures
    other = Store.create(tmp_path / "other", source={"name": "languages"})
    fill(other, pictures, np.repeat(centres, 2, axis=0))
    fill(other, [record(f"k{i}", "text", v) for i in range(12) for v in "abc"], np.repeat(centres, 3, axis=0))
    evaluation = evaluate(other, space=Space({m: identity(m, 6) for m in ("image", "text")}))
    assert set(evaluation.directions["text_to_image"]) == {"a", "b", "c"}
    assert evaluation.directions["text_to_image"]["a"]["map"] == 1.0
    assert evaluation.directions["text_to_image"]["a"]["gallery"] == 24


def test_no_variants_are_called_all(tmp_path):
    store = Store.create(tmp_path / "store", source={"name": "plain"})
    for modality in ("image", "text"):
        fill(store, [record(f"k{i}", modality) for i in range(4)], np.eye(4))
    evaluation = evaluate(store, space=Space({m: identity(m, 4) for m in ("image", "text")}), pair="image:text")
    assert list(evaluation.directions) == ["image_to_text", "text_to_image"]
    assert evaluation.directions["image_to_text"]["all"]["r@1"] == 1.0


def test_a_collapsed_space_scores_nothing(world):
    store, _ = world
    flat = {
        m: Map(
            [{"op": "linear", "weight": "w", "bias": "b"}],
            {"w": np.zeros((4, 8), np.float32), "b": np.ones(4, np.float32)},
            fingerprint(m, 8),
        )
        for m in ("image", "text")
    }
    evaluation = evaluate(store, space=Space(flat))
    assert all(m["r@10"] == 0 for m in evaluation.mean.values())


def test_a_variant_of_one_item_is_skipped(world):
    store, space = world
    keys = ["k00", "k01", "k05"]  # one Japanese name
    evaluation = evaluate(store, space=space, keys=keys)
    assert set(evaluation.directions["text_to_image"]) == {"de", "en"}
    assert evaluation.skipped == {"ja": "1 items have both modalities, at least 2 are needed"}


def test_the_encoder_that_the_space_accepts_is_taken(world):
    store, space = world
    images = store.vectors("image")
    fill(store, [record(k, "image") for k in images.keys], np.ones((30, 3)), encoder="another")
    before = evaluate(store, space=space)
    assert before.directions["text_to_image"]["en"]["gallery"] == 30


# ------------------------------------------------------------------ what it gives back


def test_json(world):
    store, space = world
    found = evaluate(store, space=space, seed=3).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["directions"]["image_to_text"]["en"]["intervals"]["r@5"][0] <= 1
    assert set(found["mean"]) == {"text_to_image", "image_to_text"}
    assert found["space"] == space.digest
    assert found["seed"] == 3


def test_the_same_seed_gives_the_same_figures(world):
    store, space = world
    assert evaluate(store, space=space).to_json() == evaluate(store, space=space).to_json()
    assert evaluate(store, space=space).mean != evaluate(store, space=space, seed=1).mean


def test_paths_are_opened(world, tmp_path):
    store, space = world
    space.save(tmp_path / "space")
    assert evaluate(store.path, space=tmp_path / "space").to_json() == evaluate(store, space=space).to_json()


def test_progress(world):
    store, space = world
    seen = []
    evaluate(store, space=space, progress=lambda *step: seen.append(step))
    assert seen == [("evaluate", i, 6) for i in range(1, 7)]


def test_without_keys_what_was_trained_on_is_left_out(world):
    store, space = world
    source = {"source": {"name": "a world"}}
    unnamed = Space(space.maps, {"training": source})
    assert evaluate(store, space=space).notes == ()
    assert evaluate(store, space=unnamed, keys=["k01", "k02"]).notes == ()
    assert "trained on 'a world' too" in evaluate(store, space=unnamed).notes[0]
    named = {**source, "keys": [f"k{i:02d}" for i in range(20)]}
    found = evaluate(store, space=Space(space.maps, {"training": named}))
    assert found.directions["text_to_image"]["en"]["n"] == 10 and "10 items that were not trained on" in found.notes[0]
    found = evaluate(store, space=Space(space.maps, {"training": {**named, "held_out": ["k27", "k28", "k29"]}}))
    assert found.directions["text_to_image"]["en"]["n"] == 3 and "3 items that were held out" in found.notes[0]
    assert found.directions == evaluate(store, space=space, keys=["k27", "k28", "k29"]).directions


def test_a_strangers_file_is_left_alone(world, tmp_path):
    store, space = world
    (tmp_path / "metrics.json").write_text('{"mine": 1}')
    with pytest.raises(BadInput, match="not one of `isthmus evaluate`"):
        evaluate(store, space=space, out=tmp_path)
    assert (tmp_path / "metrics.json").read_text() == '{"mine": 1}'


def test_files_agree_with_trec_eval(world, tmp_path):
    store, space = world
    out = tmp_path / "out"
    evaluation = evaluate(store, space=space, out=out)
    assert json.loads((out / "metrics.json").read_text()) == evaluation.to_json()
    names = {"recip_rank", "map", "success.1,5,10", "ndcg_cut.10"}
    for direction, variants in evaluation.directions.items():
        for variant, found in variants.items():
            stem = f"{direction}.{variant}"
            with (out / f"{stem}.run").open() as run, (out / f"{stem}.qrels").open() as qrels:
                judge = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), names)
                theirs = judge.evaluate(pytrec_eval.parse_run(run)).values()
            assert len(theirs) == found["n"]
            for ours, name in (("mrr", "recip_rank"), ("map", "map"), ("r@5", "success_5"), ("ndcg@10", "ndcg_cut_10")):
                assert found[ours] == pytest.approx(np.mean([t[name] for t in theirs]))


def test_files_are_trec(tmp_path):
    """Six and four columns whatever the key holds, best first, cut at the depth, every positive judged."""
    store = Store.create(tmp_path / "store", source={"name": "odd names"})
    keys = ["a cat.png", "100%", "tab\there", "plain"]
    for modality in ("image", "text"):
        fill(store, [record(k, modality) for k in keys], np.eye(4) + 0.1)
    space = Space({m: identity(m, 4) for m in ("image", "text")})
    evaluate(store, space=space, out=tmp_path / "out", depth=3)
    run = [line.split() for line in (tmp_path / "out" / "text_to_image.all.run").read_text().splitlines()]
    qrels = [line.split() for line in (tmp_path / "out" / "text_to_image.all.qrels").read_text().splitlines()]
    assert {len(row) for row in run} == {6}
    assert len(run) == 12
    assert [row[3] for row in run] == ["1", "2", "3"] * 4
    assert [row[2] for row in run[::3]] == ["a%20cat.png|image|", "100%25|image|", "tab%09here|image|", "plain|image|"]
    assert all(float(run[i][4]) >= float(run[i + 1][4]) for i in range(12) if i % 3 < 2)
    assert [row[0] for row in qrels] == [row[0] for row in run[::3]]
    assert {(row[1], row[3], len(row)) for row in qrels} == {("0", "1", 4)}


# ------------------------------------------------------------------ compare


def test_compare(world):
    store, space = world
    rng = np.random.default_rng(0)
    spoilt = {
        m: Map(
            [{"op": "linear", "weight": "w"}],
            {"w": np.eye(8, dtype=np.float32) + (m == "text") * rng.standard_normal((8, 8)).astype(np.float32)},
            fingerprint(m, 8),
        )
        for m in ("image", "text")
    }
    good, bad = evaluate(store, space=space), evaluate(store, space=Space(spoilt))
    found = compare(good, bad, figure="mrr")
    english = found["text_to_image"]["en"]
    assert english.difference > 0
    assert english.p < 0.01
    a, b = (e.queries["text_to_image"]["en"] for e in (good, bad))
    assert english == paired_test(a.figures["mrr"], b.figures["mrr"], clusters=a.keys)
    assert compare(good, good)["image_to_text"]["ja"].p == 1
    with pytest.raises(NotFound, match="figure 'r@2'"):
        compare(good, bad, figure="r@2")
    with pytest.raises(BadInput, match="different queries"):
        compare(good, evaluate(store, space=space, keys=["k07", "k08"]))


def test_compare_takes_queries_of_one_key_together(tmp_path):
    """Two equal drawings of each item are no more evidence than one."""
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((10, 4))
    found = []
    for name, styles in (("single", [""]), ("double", ["ink", "oil"])):
        store = Store.create(tmp_path / name, source={"name": name})
        pictures = [record(f"k{i}", "image", style) for i in range(10) for style in styles]
        fill(store, pictures, np.repeat(centres, len(styles), axis=0))
        names = [record(f"k{i}", "text", v) for i in range(10) for v in ("a", "b", "c")]
        fill(store, names, np.repeat(centres, 3, axis=0) + 0.5 * np.random.default_rng(3).standard_normal((30, 4)))
        good = Space({m: identity(m, 4) for m in ("image", "text")})
        weight = {"w": np.diag([1, 1, 0.1, 0.1]).astype(np.float32)}
        bad = Space({m: Map([{"op": "linear", "weight": "w"}], weight, fingerprint(m, 4)) for m in ("image", "text")})
        both = compare(*(evaluate(store, space=s) for s in (good, bad)), figure="mrr")
        found.append(both["image_to_text"]["a"])
    assert found[1].p == found[0].p < 1
    assert found[1] == pytest.approx(found[0])


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("pair", ["text", "text:", "text:text", "text:image:sound", ""])
def test_errors_of_the_pair(world, pair):
    store, space = world
    with pytest.raises(BadInput, match="two different modalities, such as text:image"):
        evaluate(store, space=space, pair=pair)


def test_errors_of_modalities(world):
    store, space = world
    with pytest.raises(NotFound, match=r"modality 'txet'; did you mean 'text'\?.*store"):
        evaluate(store, space=space, pair="txet:image")
    with pytest.raises(NotFound, match=r"modality 'text'.*in this space"):
        evaluate(store, space=Space({"image": identity("image", 8)}))
    with pytest.raises(NotFound):
        evaluate(store.path / "nothing", space=space)


def test_errors_of_fingerprints(world):
    store, space = world
    foreign = Space({**space.maps, "text": identity("text", 8, encoder="another")})
    with pytest.raises(WrongFingerprint, match=r"encoder is 'another' here and 'made up' there"):
        evaluate(store, space=foreign)


def test_errors_of_items(world, tmp_path):
    store, space = world
    with pytest.raises(BadInput, match="1 items have both a text and a image"):
        evaluate(store, space=space, keys=["k03"])
    with pytest.raises(BadInput, match="no text record of the 1 keys"):
        evaluate(store, space=space, keys=["nowhere"])
    apart = Store.create(tmp_path / "apart", source={"name": "apart"})
    fill(apart, [record(f"a{i}", "image") for i in range(3)], np.eye(3))
    fill(apart, [record(f"b{i}", "text") for i in range(3)], np.eye(3))
    with pytest.raises(BadInput, match="0 items have both a text and a image"):
        evaluate(apart, space=Space({m: identity(m, 3) for m in ("image", "text")}))
    few = Store.create(tmp_path / "few", source={"name": "one item a variant"})
    fill(few, [record(k, "image") for k in "ab"], np.eye(2))
    fill(few, [record("a", "text", "en"), record("b", "text", "de")], np.eye(2))
    with pytest.raises(BadInput, match="no variant can be measured"):
        evaluate(few, space=Space({m: identity(m, 2) for m in ("image", "text")}))


def test_errors_write_nothing(world, tmp_path):
    store, space = world
    with pytest.raises(BadInput):
        evaluate(store, space=space, keys=["k03"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_torch():
    code = """
import sys, isthmus.workbench.evaluate, isthmus.workbench.diagnose, isthmus.tasks.retrieval
import isthmus.metrics.similarity
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
