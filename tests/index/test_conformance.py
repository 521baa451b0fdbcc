"""What every backend of an index promises: the same suite over all of them, judged by a plain table of items."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.index.backends import AUTO
from isthmus.index.index import Index
from isthmus.store.rows import Vectors
from tests.store.rows import fingerprint

from .entries import keys, made
from .test_index import WIDTHS, edit, queries, space

DIM = 4


@dataclass
class Table:
    """The items of an index as they should be, searched one by one."""

    rows: dict = field(default_factory=dict)

    def put(self, vectors, bias=None, mean=0.0):
        z = space().transform(vectors.modality, vectors.x)
        for i, name in enumerate(vectors.ids.tolist()):
            self.rows[name] = (vectors.modality, z[i], 0.0 if bias is None else bias[i] - mean, vectors.meta[i])

    def best(self, query, k, fits=lambda modality, meta: True, corrected=True):
        scored = [
            (float(query @ z) - (b if corrected else 0), name)
            for name, (modality, z, b, meta) in self.rows.items()
            if fits(modality, meta)
        ]
        return sorted(scored, reverse=True)[:k]


def check(index, table, *, seed=9, k=10, fits=lambda modality, meta: True, corrected=True, at_least=0.98, **settings):
    """Compare with the table; the scores of what is found are always right."""
    asked = queries(20, seed=seed)
    right = total = 0
    for query, hits in zip(asked, index.search(asked, k=k, corrected=corrected, **settings), strict=True):
        expected = table.best(query, k, fits, corrected)
        assert len(hits) == len(expected)
        for hit in hits:
            modality, z, b, meta = table.rows[hit.id]
            assert (hit.modality, hit.meta) == (modality, meta)
            assert hit.score == pytest.approx(float(query @ z) - (b if corrected else 0), abs=2e-5)
        assert (np.diff([hit.score for hit in hits]) <= 0).all()
        right += len({hit.id for hit in hits} & {name for _, name in expected})
        total += len(expected)
    assert total == 0 or right / total >= at_least
    return right, total


@pytest.fixture
def both(tmp_path, backend):
    table = Table()
    entries = {m: made(keys(0, 700), m) for m in ("image", "text")}
    for vectors in entries.values():
        table.put(vectors)
    return Index.build(tmp_path / "i", space=space(), entries=entries, backend=backend), table


@pytest.mark.parametrize("k", [1, 10, 300, 5000])
def test_the_best_are_found(both, k):
    index, table = both
    at_least = 0.98 if k > 1 else 0.9  # one of 20 queries
    check(index, table, k=k, at_least=at_least)
    check(Index.open(index.path), table, k=k, modality="text", fits=lambda m, _: m == "text", at_least=at_least)
    assert check(index, table, k=k, exact=True, at_least=1)[0]


FILTERS = {
    "kind == 'plants'": lambda m, meta: meta["kind"] == "plants",
    "kind == 'animals' and year > 2000": lambda m, meta: meta["kind"] == "animals" and int(meta["year"]) > 2000,
    "not (year in [1991, 1992]) or kind == 'stones'": lambda m, meta: (
        int(meta["year"]) not in (1991, 1992) or meta["kind"] == "stones"
    ),
    "modality == 'text' and text is not None": lambda m, meta: m == "text",
    "key == 'k3'": lambda m, meta: meta == {"kind": "animals", "year": "1993"},
    "kind == 'nothing'": lambda m, meta: False,
}


@pytest.mark.parametrize("where", FILTERS)
def test_filters_give_the_best_of_what_fits(both, where):
    """Exactly, whatever the backend: also where a handful of hundreds fits, far from the query."""
    index, table = both
    fits = FILTERS[where]
    if where == "key == 'k3'":
        found = index.search(queries(3), where=where)
        assert [{hit.id for hit in of} for of in found] == [{"k3|image|", "k3|text|"}] * 3
        return
    check(index, table, where=where, fits=fits, at_least=1)
    check(index, table, where=where, modality="image", fits=lambda m, f: m == "image" and fits(m, f), at_least=1)


def test_quotas(both):
    index, table = both
    for hits in index.search(queries(5), quota={"image": 5, "text": 3}):
        assert sorted(hit.modality for hit in hits) == ["image"] * 5 + ["text"] * 3
        assert (np.diff([hit.score for hit in hits]) <= 0).all()
    for asked, hits in zip(queries(5), index.search(queries(5), quota={"image": 4}, where="year < 2000"), strict=True):
        best = table.best(asked, 4, lambda m, meta: m == "image" and int(meta["year"]) < 2000)
        assert [hit.id for hit in hits] == [name for _, name in best]
    assert [len(of) for of in index.search(queries(2), quota={"image": 5, "text": 3}, k=6)] == [6, 6]
    assert [len(of) for of in index.search(queries(2), quota={"image": 5000, "text": 3})] == [703, 703]
    with pytest.raises(NotFound, match="unknown modality 'imag'"):
        index.search(queries(), quota={"imag": 3})
    for wrong in ({"image": 0}, {"image": -1}, {"image": 2.5}, {"image": True}):
        with pytest.raises(BadInput, match="the quota of image must be at least 1"):
            index.search(queries(), quota=wrong)
    with pytest.raises(BadInput, match="quota is empty"):
        index.search(queries(), quota={})
    with pytest.raises(BadInput, match="either modality or quota"):
        index.search(queries(), quota={"image": 1}, modality="text")


def test_adding_replacing_removing(both):
    """A history of changes, compared with the table after each, and opened anew."""
    index, table = both
    rng = np.random.default_rng(0)
    for step in range(12):
        modality = ("image", "text")[step % 2]
        if step % 3 == 0:
            start = 1000 + 100 * step
            new = made(keys(start, start + int(rng.integers(1, 90))), modality, seed=step)
            index.add({modality: new})
            table.put(new)
        elif step % 3 == 1:
            names = [f"k{i}" for i in rng.choice(900, 150, replace=False)]
            new = made(names, modality, seed=step)
            index.upsert({modality: new})
            table.put(new)
        else:
            gone = rng.choice(sorted(table.rows), 120, replace=False).tolist()
            assert index.remove(gone) == 120
            for name in gone:
                del table.rows[name]
        assert len(index) == len(table.rows)
        check(index, table, seed=step)
        check(index, table, seed=step, where="kind == 'plants'", fits=FILTERS["kind == 'plants'"], at_least=1)
    again = Index.open(index.path)
    assert again.verify() == {}
    check(again, table)
    of_images = {name for name, (m, *_) in table.rows.items() if m == "image"}
    assert set(again.items("image")["id"].to_pylist()) == of_images
    assert len(again.vectors("image")) == len(of_images)
    for name, z in zip(again.items("image")["id"].to_pylist(), again.vectors("image"), strict=True):
        np.testing.assert_allclose(z, table.rows[name][1], atol=1e-6)
    status = again.status()
    assert status["segments"] <= 2 * np.log2(len(table.rows))
    removed = again.remove(where="kind == 'stones' and year > 2010")
    assert removed == sum(m["kind"] == "stones" and int(m["year"]) > 2010 for *_, m in table.rows.values()) > 0
    table.rows = {
        name: row for name, row in table.rows.items() if not (row[3]["kind"] == "stones" and int(row[3]["year"]) > 2010)
    }
    check(again, table)
    assert again.status()["removed"] > 0
    again.compact()
    assert (again.status()["removed"], again.status()["segments"]) == (0, 2)
    check(again, table)
    assert again.verify() == {}
    assert {p.name for p in again.path.glob("*.npy")} | {p.name for p in again.path.glob("*.graph")} <= {
        segment[kind]["file"]
        for shelf in json.loads((again.path / "index.json").read_text())["modalities"].values()
        for segment in shelf["segments"]
        for kind in segment
        if kind != "rows"
    }


def test_a_new_modality_and_an_empty_one(both):
    index, table = both
    sounds = made(keys(0, 40), "sound/wav")
    index.add({"sound/wav": sounds})
    table.put(sounds)
    check(index, table)
    assert index.remove(sounds.ids.tolist()) == 40
    assert index.search(queries(2), modality="sound/wav") == [[], []]
    assert index.vectors("sound/wav").shape == (0, DIM) and index.items("sound/wav").num_rows == 0
    index.add({"sound/wav": sounds})
    check(index, table)


def test_corrections(tmp_path, backend):
    """A bias is one more dimension to every backend; those of new items are less the same mean."""
    bias = {"image": np.linspace(-2, 3, 600) ** 2, "text": np.sin(np.arange(600))}
    entries = {m: made(keys(0, 600), m) for m in ("image", "text")}
    table = Table()
    for m, vectors in entries.items():
        table.put(vectors, bias[m], bias[m].mean())
    index = Index.build(tmp_path / "i", space=space(), entries=entries, bias=bias, backend=backend)
    check(index, table)
    check(index, table, corrected=False)
    check(index, table, where="year > 2000", fits=lambda m, meta: int(meta["year"]) > 2000, at_least=1)
    new = made(keys(600, 900), "image", seed=5)
    with pytest.raises(BadInput, match="corrects its image items: give the bias"):
        index.add({"image": new})
    index.add({"image": new}, bias={"image": np.arange(300) / 100})
    table.put(new, np.arange(300) / 100, bias["image"].mean())
    check(index, table)
    check(index, table, corrected=False)
    index.remove(new.ids[:200].tolist())
    table.rows = {name: row for name, row in table.rows.items() if name not in set(new.ids[:200].tolist())}
    check(Index.open(index.path), table)
    index.compact()
    check(index, table)
    plain = Index.build(tmp_path / "p", space=space(), entries=entries, backend=backend)
    with pytest.raises(BadInput, match="does not correct its image items"):
        plain.add({"image": new}, bias={"image": np.zeros(300)})


@pytest.mark.parametrize("n", [1, 2, 9])
def test_few_items(tmp_path, backend, n):
    table = Table()
    entries = {m: made(keys(0, n), m) for m in ("image", "text")}
    for vectors in entries.values():
        table.put(vectors)
    index = Index.build(tmp_path / "i", space=space(), entries=entries, backend=backend)
    check(index, table, at_least=1)
    index.remove(["k0|image|"])
    assert index.search(queries(0)) == []
    assert [len(of) for of in index.search(queries(2), k=50)] == [2 * n - 1] * 2


def test_equal_items(tmp_path, backend):
    """Copies of one item, as a folder of the same picture has: all have the score, whichever are given."""
    x = np.ones((500, WIDTHS["image"]), np.float32)
    x[250:] *= 2
    vectors = Vectors.of(x, fingerprint(WIDTHS["image"], modality="image"), keys=keys(0, 500))
    index = Index.build(tmp_path / "i", space=space(), entries={"image": vectors}, backend=backend)
    (hits,) = index.search(np.ones((1, DIM)), k=20)
    assert len({hit.id for hit in hits}) == 20 and len({hit.score for hit in hits}) == 1


def test_what_cannot_be_done_changes_nothing(both):
    index, table = both
    before = {p.name: p.read_bytes() for p in index.path.iterdir() if p.is_file()}
    tries = [
        (
            lambda: index.add({"image": made(["k5", "k900"])}),
            BadInput,
            "has 1 of these image items already.*'k5.image.'",
        ),
        (lambda: index.add({"image": made(["k900", "k900"])}), BadInput, "the id 'k900.image.' occurs 2 times"),
        (lambda: index.upsert({"image": made(["k9", "k9"])}), BadInput, "occurs 2 times"),
        (lambda: index.add({"image": made(["k900"], weights="cd" * 32)}), WrongFingerprint, "weights is"),
        (lambda: index.add({"image": made(["k900"], "text")}), WrongFingerprint, "modality is"),
        (lambda: index.add({"video": made(["k900"])}), NotFound, "unknown modality 'video'"),
        (lambda: index.remove(["k1|image|", "nobody"]), NotFound, "no item with the id 'nobody'"),
        (lambda: index.remove(["k1|image|", "k1|image"]), NotFound, "an id is key|modality|variant"),
        (lambda: index.remove("k1|image|"), BadInput, "is one id"),
        (lambda: index.remove(), BadInput, "either ids or a filter"),
        (lambda: index.remove(where="yaer > 2000"), NotFound, "unknown field 'yaer'; did you mean 'year'"),
        (lambda: index.remove(where="year > 'x'"), BadInput, "compares year"),
        (lambda: index.search(queries(), where="yaer > 2000"), NotFound, "did you mean 'year'"),
        (lambda: index.search(queries(), where="year > "), BadInput, "cannot be read"),
        (lambda: index.search(queries(), k=0), BadInput, "k must be at least 1, got 0"),
        (lambda: index.search(queries(), k=2.5), BadInput, "k must be at least 1, got 2.5"),
        (lambda: index.search(queries() * np.nan), BadInput, "queries hold NaN"),
        (lambda: index.search(queries(dim=5)), BadInput, "queries of shape"),
    ]
    for do, error, message in tries:
        with pytest.raises(error, match=message.replace("|", r"\|")):
            do()
    assert {p.name: p.read_bytes() for p in index.path.iterdir() if p.is_file()} == before
    assert index.remove([]) == 0
    assert index.remove(where="kind == 'nothing'") == 0
    check(index, table)


def test_damage_is_named(both):
    """A file cut short is refused at opening; a changed byte when the file is read whole, and by verify."""
    index, _ = both
    for kind in ("*.npy", "*.parquet", "*.graph"):
        for path in sorted(index.path.glob(kind)):
            kept = path.read_bytes()
            path.write_bytes(kept[:-8])
            with pytest.raises(BadInput, match=rf"{path.name} is damaged"):
                Index.open(index.path)
            path.write_bytes(kept[: len(kept) // 2] + bytes([kept[len(kept) // 2] ^ 255]) + kept[len(kept) // 2 + 1 :])
            assert list(Index.open(index.path).verify()) == [path.name]
            if kind != "*.npy":
                with pytest.raises(BadInput, match=rf"{path.name} is damaged"):
                    Index.open(index.path).search(queries())
            path.unlink()
            with pytest.raises(BadInput, match=rf"{path.name} is missing"):
                Index.open(index.path)
            path.write_bytes(kept)
    assert Index.open(index.path).verify() == {}


def test_dead_rows_that_are_damaged(both):
    index, _ = both
    index.remove(["k1|image|", "k2|image|"])
    path = next(index.path.glob("image_dead-*.npy"), None) or next(index.path.glob("*dead*.npy"))
    for wrong in (np.array([1, 1]), np.array([1, 700]), np.array([-1, 3]), np.array([1.0, 2.0])):
        np.save(path, wrong)
        with pytest.raises(BadInput, match=rf"{path.name} is damaged"):
            Index.open(index.path).search(queries())


def test_readers_go_on(both):
    """Who has the index open sees what was there, whatever a writer does meanwhile, and the rest after refresh."""
    index, table = both
    reader = Index.open(index.path)
    index.remove(where="kind == 'plants'")
    index.compact()
    assert len(reader) == len(table.rows)
    check(reader, table)
    reader.refresh()
    assert len(reader) == len(index) < len(table.rows)


def test_older_formats_are_read_and_grow(tmp_path, backend):
    entries = {"image": made(keys(0, 50))}
    table = Table()
    table.put(entries["image"])
    index = Index.build(tmp_path / "i", space=space(), entries=entries, backend="exact")

    def older(head):
        head.update(format_version=1)
        del head["backend"]
        (segment,) = head["modalities"]["image"]["segments"]
        head["modalities"]["image"] = {
            "fingerprint": head["modalities"]["image"]["fingerprint"],
            "rows": segment["rows"],
            **{kind: {n: segment[kind][n] for n in ("file", "sha256")} for kind in ("vectors", "items")},
        }

    edit(index, older)
    old = Index.open(index.path)
    check(old, table, at_least=1)
    assert old.backend == AUTO and old.verify() == {}
    new = made(keys(50, 60))
    old.add({"image": new})
    table.put(new)
    check(Index.open(index.path), table, at_least=1)
