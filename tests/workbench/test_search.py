"""An index of a store: what goes in, what is left out, and how it is brought up to date."""

import doctest

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.records import Record, text_record
from isthmus.space import Map, Space
from isthmus.store.store import Store
from isthmus.workbench import search
from isthmus.workbench.search import build_index, left_out, place, update_index
from isthmus.workbench.status import status
from tests.store.rows import fingerprint

DIM = 4


def fill(store, modality, keys, seed=0, words="a thing", **changes):
    of = fingerprint(DIM, modality=modality, **changes)
    rows = [
        _record(key, modality, f"{words} {key}", {"kind": "odd" if i % 2 else "even", "n": str(i)})
        for i, key in enumerate(keys)
    ]
    x = np.array([np.random.default_rng([seed, *key.encode()]).standard_normal(DIM) for key in keys])
    with store.writer(of) as writer:
        writer.add(rows, x)
    return of


def _record(key, modality, text, meta):
    record = text_record(key, text, uri=f"file:{key}", meta=meta)
    return (
        record
        if modality == "text"
        else Record(key=key, modality=modality, load=record.load, digest=record.digest, uri=record.uri, meta=meta)
    )


def keys(*numbers):
    return [f"k{i}" for i in numbers]


@pytest.fixture
def world(tmp_path):
    store = Store.create(tmp_path / "store", source={"name": "things"})
    maps = {m: Map([{"op": "normalise"}], {}, fill(store, m, keys(*range(20)))) for m in ("text", "image")}
    return store, Space(maps, {"name": "own"})


def test_examples():
    result = doctest.testmod(search)
    assert result.attempted and not result.failed


def test_what_the_space_does_not_map_is_left_out(world, tmp_path):
    store, space = world
    fill(store, "smell", keys(1, 2))
    index = build_index(store, space=space, out=tmp_path / "i")
    assert index.modalities == ["image", "text"]
    assert left_out(store, space) == {
        "smell": "the space maps image, text; `isthmus align` makes one that maps smell too"
    }
    with pytest.raises(BadInput, match=r"nothing to index for \['smell'\]"):
        build_index(store, space=space, out=tmp_path / "i", modalities=["smell"])


def test_of_two_encoders_the_accepted_one(world, tmp_path):
    store, space = world
    fill(store, "image", keys(*range(20)), seed=7, weights="cd" * 32)
    index = build_index(store, space=space, out=tmp_path / "i")
    x = store.vectors("image", space.maps["image"].fingerprint.column).x
    np.testing.assert_allclose(index.vectors("image"), space.transform("image", x), atol=1e-6)


@pytest.mark.parametrize("backend", ["exact", "auto"])
def test_backends_by_name(world, tmp_path, backend):
    store, space = world
    index = build_index(store, space=space, out=tmp_path / "i", backend=backend)
    assert index.backend == backend and index.status()["graphs"] == {}, "twenty items need no graph"
    with pytest.raises(NotFound, match="unknown backend 'exat'; did you mean 'exact'"):
        build_index(store, space=space, out=tmp_path / "i", backend="exat")


def test_update(world, tmp_path):
    """New, changed and deleted items of the store arrive; a build from nothing gives the same answers."""
    store, space = world
    index = build_index(store, space=space, out=tmp_path / "i")
    assert update_index(store, index)[1] == {"added": 0, "replaced": 0, "removed": 0}
    fill(store, "image", keys(50, 51))
    fill(store, "text", keys(3), words="another thing")
    store.remove(["k1|image|", "k2|image|", "k2|text|"])
    store = Store.open(store.path)
    updated, changes = update_index(store.path, index.path)
    assert changes == {"added": 2, "replaced": 1, "removed": 3}
    anew = build_index(store, space=space, out=tmp_path / "anew")
    asked = np.random.default_rng(0).standard_normal((9, DIM)).astype(np.float32)
    found = [[[(h.id, h.text, h.meta) for h in of] for of in i.search(asked, k=7)] for i in (updated, anew)]
    assert found[0] == found[1]
    assert update_index(store, updated)[1] == {"added": 0, "replaced": 0, "removed": 0}


def test_update_of_a_corrected_index(world, tmp_path):
    store, space = world
    space = Space(space.maps, {"name": "own", "training": {"keys": keys(*range(20))}})
    index = build_index(store, space=space, out=tmp_path / "i", correct="is")
    assert update_index(store, index)[1] == {"added": 0, "replaced": 0, "removed": 0}
    fill(store, "image", keys(30, 31))
    updated, changes = update_index(Store.open(store.path), index.path)
    assert changes == {"added": 2, "replaced": 0, "removed": 0}
    anew = build_index(Store.open(store.path), space=space, out=tmp_path / "anew", correct="is")
    assert updated.correction == anew.correction and updated.correction["image"]["asked"] == "is"
    for m in anew.modalities:
        np.testing.assert_array_equal(updated.vectors(m), anew.vectors(m))
        np.testing.assert_array_equal(updated.bias(m), anew.bias(m))


def test_places():
    assert place("file:talk.mp4#t=5") == ("file:talk.mp4", "0:05")
    assert place("file:talk.mp4#t=3725.25") == ("file:talk.mp4", "62:05.25")
    assert place("file:a#b.png") == ("file:a#b.png", "")
    assert place("c#=1.png") == ("c#=1.png", "")


def test_status(world, tmp_path):
    store, space = world
    index = build_index(store, space=space, out=tmp_path / "i")
    index.remove(["k1|image|"])
    held, made = status(store.path), status(index.path, verify=True)
    assert (held["kind"], held["parts"], held["rejected"]) == ("store", 2, 0) and "damage" not in held
    assert {(c["modality"], c["rows"]) for c in held["columns"]} == {("image", 20), ("text", 20)}
    assert {f["modality"] for f in held["fingerprints"].values()} == {"image", "text"}
    assert held["bytes"] == sum(p.stat().st_size for p in store.path.glob("part-*"))
    assert (made["kind"], made["damage"], made["removed"]) == ("index", {}, 1)
    assert made["rows"] == {"image": 19, "text": 20}
    (file,) = index.path.glob("text-*.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    assert list(status(index.path, verify=True)["damage"]) == [file.name]
    (part,) = list(store.path.glob("part-00000*"))
    part.write_bytes(part.read_bytes()[:-1] + b"X")
    assert list(status(store.path, verify=True)["damage"]) == [part.name]
    with pytest.raises(NotFound, match="neither a store nor an index"):
        status(tmp_path)
