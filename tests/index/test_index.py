import doctest
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from isthmus import encoders
from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.index import exact_search, writing
from isthmus.index import index as module
from isthmus.index.index import Hit, Index
from isthmus.space import Map, Space
from isthmus.store.rows import Vectors
from tests.stopping import stopped
from tests.store.rows import fingerprint
from tests.test_space import Lengths

WIDTHS = {"text": 6, "image": 8, "sound/wav": 5}


def space(seed=0, dim=4, **changes):
    rng = np.random.default_rng(seed)
    maps = {}
    for modality, d in WIDTHS.items():
        steps = [{"op": "linear", "weight": "w"}, {"op": "normalise"}]
        weight = rng.standard_normal((dim, d))
        maps[modality] = Map(steps, {"w": weight}, fingerprint(d, modality=modality, **changes))
    return Space(maps, {"name": f"space {seed}"})


def entries(n=30, seed=0, modalities=("text", "image")):
    rng = np.random.default_rng(seed)
    made = {}
    for modality in modalities:
        of = fingerprint(WIDTHS[modality], modality=modality)
        keys = [f"k{i}" for i in range(n)]
        extra = (
            {"texts": [f"a thing {i}" for i in range(n)]}
            if modality == "text"
            else {"uris": [f"file:{k}.png" for k in keys]}
        )
        made[modality] = Vectors.of(
            rng.standard_normal((n, of.dim)),
            of,
            keys=keys,
            meta=[{"i": str(i), "name": "é"} for i in range(n)],
            **extra,
        )
    return made


def queries(n=5, dim=4, seed=9):
    x = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def index(tmp_path):
    return Index.build(tmp_path / "index", space=space(), entries=entries())


def test_examples(tmp_path):
    maps = {m: Map([], {}, fingerprint(3, modality=m)) for m in ("image", "text")}
    pictures = Vectors.of(np.eye(3), maps["image"].fingerprint, keys=["dog", "cat", "tree"])
    Index.build(tmp_path / "i", space=Space(maps), entries={"image": pictures})
    result = doctest.testmod(module, extraglobs={"folder": tmp_path / "i", "queries": np.array([[0.5, 0.8, 0.1]])})
    assert result.attempted
    assert not result.failed


def by_sorting(given, made, asked, k):
    """All items of all modalities as records, scored one by one."""
    found = []
    for q in asked.astype(np.float64):
        hits = []
        for order, (modality, vectors) in enumerate(sorted(given.items())):
            z = made.transform(modality, vectors.x)
            hits += [(-float(np.float32(q @ z[i].astype(np.float64))), order, i, modality) for i in range(len(z))]
        found.append([(m, f"k{i}", -s) for s, _, i, m in sorted(hits)[:k]])
    return found


@pytest.mark.parametrize("k", [1, 7, 1000])
@pytest.mark.parametrize("modality", [None, "image", "text", ("image", "text"), ["text"]])
def test_oracle(index, k, modality):
    chosen = {"image", "text"} if modality is None else {modality} if isinstance(modality, str) else set(modality)
    given = {m: v for m, v in entries().items() if m in chosen}
    hits = Index.open(index.path).search(queries(), k=k, modality=modality)
    expected = by_sorting(given, space(), queries(), k)
    assert [[(h.modality, h.key) for h in of] for of in hits] == [[e[:2] for e in of] for of in expected]
    np.testing.assert_allclose(
        [[h.score for h in of] for of in hits], [[e[2] for e in of] for of in expected], rtol=1e-6
    )


def test_hits_are_records(index):
    hit = index.search(queries(1), k=1, modality="text")[0][0]
    i = hit.meta["i"]
    assert hit == Hit(
        id=f"k{i}|text|",
        key=f"k{i}",
        modality="text",
        variant="",
        score=hit.score,
        text=f"a thing {i}",
        meta={"i": i, "name": "é"},
    )
    assert json.loads(json.dumps(hit.to_json()))["meta"] == {"i": i, "name": "é"}
    assert index.search(queries(1), k=1, modality="image")[0][0].uri.endswith(".png")
    assert isinstance(hit.score, float)


def test_relations(index):
    """One modality is exact search over its vectors; more queries are the queries one by one."""
    scores, ids = exact_search(queries(), index.vectors("image"), k=4)
    hits = index.search(queries(), k=4, modality="image")
    assert [[h.key for h in of] for of in hits] == [[f"k{i}" for i in of] for of in ids]
    assert [[h.score for h in of] for of in hits] == scores.tolist()
    assert [index.search(q[None], k=4)[0] for q in queries()] == index.search(queries(), k=4)


def test_ties_come_in_a_fixed_order(tmp_path):
    given = entries(12)
    same = {m: replace(v, x=np.ones_like(v.x)) for m, v in given.items()}
    maps = {
        m: Map([{"op": "linear", "weight": "w"}], {"w": np.ones((4, d))}, fingerprint(d, modality=m))
        for m, d in (("text", 6), ("image", 6))
    }
    same["image"] = Vectors.of(np.ones((12, 6)), maps["image"].fingerprint, keys=[f"k{i}" for i in range(12)])
    index = Index.build(tmp_path / "i", space=Space(maps), entries=same)
    found = [(h.modality, h.key) for h in index.search(np.ones((1, 4)), k=20)[0]]
    assert found == [("image", f"k{i}") for i in range(12)] + [("text", f"k{i}") for i in range(8)]


def test_round_trip(index):
    opened = Index.open(index.path)
    assert opened.modalities == ["image", "text"]
    assert len(opened) == 60
    status = json.loads(json.dumps(opened.status()))
    assert status["rows"] == {"image": 30, "text": 30}
    assert status["space"] == space().digest
    assert opened.space.card["name"] == "space 0"
    for modality, vectors in entries().items():
        z = opened.vectors(modality)
        assert isinstance(z, np.memmap)
        assert z.dtype == np.float32
        np.testing.assert_allclose(z, space().transform(modality, vectors.x), atol=1e-6)
        assert opened.items(modality)["key"].to_pylist() == vectors.keys.tolist()
        with pytest.raises(ValueError, match="read-only"):
            z[0] = 0
    assert opened.verify() == {}
    assert opened.search(queries(), k=3) == index.search(queries(), k=3)


def test_the_same_input_makes_the_same_files(index, tmp_path):
    Index.build(tmp_path / "again", space=space(), entries=dict(reversed(entries().items())))
    content = [
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (index.path, tmp_path / "again")
    ]
    assert content[0] == content[1]


@pytest.mark.parametrize("n", [0, 1])
def test_few_items(tmp_path, n):
    index = Index.build(tmp_path / "i", space=space(), entries=entries(n))
    opened = Index.open(index.path)
    hits = opened.search(queries(3), k=10)
    assert [len(of) for of in hits] == [2 * n] * 3
    assert opened.search(queries(0), k=3) == []
    assert len(opened) == 2 * n
    mixed = Index.build(tmp_path / "i", space=space(), entries={**entries(n), "image": entries(4)["image"]})
    assert [len(of) for of in mixed.search(queries(3), k=10)] == [4 + n] * 3


def test_modalities_with_odd_names(tmp_path):
    index = Index.build(tmp_path / "i", space=space(), entries=entries(5, modalities=("sound/wav", "text")))
    assert {h.modality for h in Index.open(index.path).search(queries(1), k=10)[0]} == {"sound/wav", "text"}
    assert not list((tmp_path / "i").glob("sound"))


def test_large_builds_go_block_by_block(tmp_path, monkeypatch):
    whole = Index.build(tmp_path / "a", space=space(), entries=entries()).vectors("text")
    monkeypatch.setattr(writing, "BLOCK", 7)
    np.testing.assert_allclose(
        Index.build(tmp_path / "b", space=space(), entries=entries()).vectors("text"), whole, atol=1e-6
    )


def test_search_errors(index):
    with pytest.raises(NotFound, match=r"unknown modality 'imag'.*did you mean 'image'"):
        index.search(queries(), modality="imag")
    for wrong in (queries(dim=5), queries()[0], queries()[None]):
        with pytest.raises(BadInput, match=r"queries of shape \(q, 4\) are expected"):
            index.search(wrong)
    with pytest.raises(BadInput, match="k must be at least 1"):
        index.search(queries(), k=0)
    with pytest.raises(BadInput, match="queries hold NaN"):
        index.search(queries() * np.nan)
    with pytest.raises(NotFound, match="unknown modality 'video'"):
        index.search_items("video", ["x"])


def test_build_errors(tmp_path):
    path = tmp_path / "i"
    with pytest.raises(BadInput, match="at least one modality"):
        Index.build(path, space=space(), entries={})
    given = entries()
    with pytest.raises(WrongFingerprint, match=r"weights is 'cd.*' here and 'ab.*' there"):
        Index.build(path, space=space(weights="cd" * 32), entries=given)
    with pytest.raises(WrongFingerprint, match="modality is 'image' here and 'text' there"):
        Index.build(path, space=space(), entries={"image": given["text"]})
    with pytest.raises(NotFound, match="video"):
        Index.build(path, space=space(), entries={"video": given["text"]})
    with pytest.raises(BadInput, match=r"the id 'k3.text.' occurs 2 times"):
        Index.build(path, space=space(), entries={"text": given["text"].take([1, 3, 3])})
    spoiled = replace(given["text"], x=np.where(np.arange(30)[:, None] == 4, np.nan, given["text"].x))
    with pytest.raises(BadInput, match=r"NaN or infinity in 1 of 30 rows, the first are \[4\]"):
        Index.build(path, space=space(), entries={"text": spoiled})
    with pytest.raises(NotFound, match="not an index"):
        Index.open(path)  # what failed is none
    Index.build(path, space=space(), entries=given)
    (tmp_path / "full").mkdir()
    np.save(tmp_path / "full" / "mine.npy", np.ones(3))
    with pytest.raises(BadInput, match=r"not an index, and not empty .mine.npy"):
        Index.build(tmp_path / "full", space=space(), entries=given)


def test_wrong_fingerprints_are_refused_at_opening(index):
    Index.open(index.path, fingerprints={"text": fingerprint(6)})
    with pytest.raises(WrongFingerprint, match="prompt is '' here and 'query: ' there"):
        Index.open(index.path, fingerprints={"text": fingerprint(6, prompt="query: ")})


def edit(index, change):
    path = index.path / "index.json"
    head = json.loads(path.read_text())
    change(head)
    path.write_text(json.dumps(head))


def test_the_space_of_another_index(index, tmp_path):
    """Vectors of one space beside the maps of another would be searched without an error, and wrongly."""
    space(seed=1).save(index.path / "space-00000000")
    edit(index, lambda head: head["space"].update(folder="space-00000000"))
    with pytest.raises(BadInput, match=r"index.json is damaged: its vectors are not of the space"):
        Index.open(index.path)
    edit(index, lambda head: head["modalities"]["text"]["fingerprint"].update(prompt="query: "))
    edit(index, lambda head: head["space"].update(folder=f"space-{space().digest[:8]}"))
    with pytest.raises(WrongFingerprint, match="prompt"):
        Index.open(index.path)


def first(head):
    return head["modalities"]["text"]["segments"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: first(h).update(dead={"file": "x.npy", "sha256": "", "rows": "3"}), "'3' rows were removed"),
        (lambda h: first(h).update(graph={"file": "x.graph", "sha256": "", "backend": "exact"}), "graph of 'exact'"),
        (lambda h: first(h)["items"].update(bytes=7), r"text-.*parquet is damaged: it has \d+ bytes, 7 were written"),
        (lambda h: h.update(backend="hnsw"), "its backend is 'hnsw'"),
        (lambda h: h.update(format_version=4, modalities=None), "format 4.*update isthmus"),
        (lambda h: h.pop("space"), "damaged"),
        (lambda h: h.update(dim=5), "damaged"),
        (lambda h: h.update(modalities=[]), "damaged"),
        (lambda h: first(h).update(rows="30"), "damaged"),
        (lambda h: first(h).update(rows=29), r"text-.*npy is damaged.*expected float32 of \(29, 4\)"),
        (lambda h: first(h)["items"].update(sha256=None), "no checksum"),
        (lambda h: first(h)["vectors"].update(file="../../x.npy"), "plain name"),
        (lambda h: first(h)["items"].update(file="/etc/x.parquet"), "plain name"),
        (lambda h: h["space"].update(folder=".."), "plain name"),
        (lambda h: h["space"].update(folder="a/b"), "plain name"),
        (lambda h: h["modalities"]["text"].update(corrected=True), r"expected float32 of \(30, 5\)"),
        (lambda h: h["modalities"]["text"].update(corrected="yes"), "text is corrected 'yes'"),
        (lambda h: h.update(correction=[]), "its correction is"),
    ],
)
def test_a_head_that_does_not_hold_together(index, change, message):
    edit(index, change)
    with pytest.raises(BadInput, match=message):
        Index.open(index.path)


def test_files_that_are_damaged(index):
    vectors, items = next(index.path.glob("text-*.npy")), next(index.path.glob("text-*.parquet"))
    kept = vectors.read_bytes()
    for wrong in (b"", kept[:40], kept[:-4], b"PK" + kept):
        vectors.write_bytes(wrong)
        with pytest.raises(BadInput, match=rf"{vectors.name} is damaged.*build the index again"):
            Index.open(index.path)
    np.save(vectors, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match=rf"{vectors.name} is damaged"):
        Index.open(index.path)
    vectors.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert list(Index.open(index.path).verify()) == [vectors.name]
    vectors.unlink()
    with pytest.raises(BadInput, match=rf"{vectors.name} is missing"):
        Index.open(index.path)
    vectors.write_bytes(kept)
    items.write_bytes(items.read_bytes()[:-1] + b"X")
    opened = Index.open(index.path)
    with pytest.raises(BadInput, match=rf"{items.name} is damaged"):
        opened.search(queries(), modality="text")
    assert opened.search(queries(), modality="image")
    items.unlink()
    assert "missing" in opened.verify()[items.name]


def test_building_replaces_at_once(tmp_path, monkeypatch):
    """Stop at every step of replacing an index by another: the folder holds the one or the other, whole."""
    old, new = space(0), space(1)
    seen = []
    for stop in range(200):
        path = tmp_path / f"{stop}"
        Index.build(path, space=old, entries=entries(3))
        killed = stopped(monkeypatch, stop, Index.build, path, space=new, entries=entries(4, seed=1))
        opened = Index.open(path)
        assert opened.verify() == {}
        assert len(opened) == {old.digest: 6, new.digest: 8}[opened.space.digest]
        seen.append(opened.space.digest)
        Index.build(path, space=new, entries=entries(4, seed=1))
        assert len([p for p in path.iterdir() if p.name.startswith("space")]) == 1
        assert len(list(path.glob("*.npy"))) == 2
        assert not list(path.glob(".*"))
        if not killed:
            break
    assert seen == sorted(seen, key=[old.digest, new.digest].index)
    assert set(seen) == {old.digest, new.digest}


def test_an_open_index_outlives_its_replacement(index):
    before = index.search(queries(), k=5)
    Index.build(index.path, space=space(1), entries=entries(3))
    assert index.search(queries(), k=5) == before


def test_refreshing_reads_only_what_is_new(index):
    """A second reader keeps its segments, with what they have read, and its space, with the encoders it has loaded."""
    reader = Index.open(index.path)
    before = reader.search(queries(), k=5)
    kept = {m: list(reader._segments[m]) for m in reader.modalities}
    index.add({"text": replace_keys(entries(4, seed=3, modalities=("text",))["text"])})
    fresh = reader.refreshed()
    assert fresh.space is reader.space and len(fresh) == len(reader) + 4
    assert fresh._segments["image"][0] is kept["image"][0] and fresh._segments["text"][0] is kept["text"][0]
    assert reader.search(queries(), k=5) == before, "who has it open goes on seeing what was there"
    assert fresh.search(queries(), k=5) == Index.open(index.path).search(queries(), k=5)
    reader.refresh()
    assert len(reader) == len(fresh)


def replace_keys(vectors):
    return Vectors.of(vectors.x, vectors.fingerprint, keys=[f"new-{key}" for key in vectors.keys.tolist()])


def test_search_items(index, monkeypatch):
    monkeypatch.setattr(encoders, "load", lambda name, modality, device="cpu": Lengths())
    encoded = index.space.encode("text", ["a", "four"])
    expected = index.search(encoded, k=3, modality="image")
    assert index.search_items("text", ["a", "four"], k=3, modality="image") == expected
    with pytest.raises(WrongFingerprint, match="prompt"):
        index.search_items("text", ["a"], encoder=Lengths(prompt="query: "))


def test_searching_needs_no_torch(index):
    code = (
        "import sys, numpy as np; from isthmus.index.index import Index;"
        "hits = Index.open(sys.argv[1]).search(np.ones((1, 4)));"
        "print(len(hits[0]), 'torch' in sys.modules, 'isthmus.encoders' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, index.path], capture_output=True, text=True, check=True)
    assert done.stdout == "10 False False\n"
