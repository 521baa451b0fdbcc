import doctest
import json
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.errors import BadInput, NotFound
from isthmus.store import store as module
from isthmus.store.manifest import MANIFEST
from isthmus.store.rows import COLUMNS, Vectors, row_id
from isthmus.store.store import Store
from tests.store.rows import Item, fingerprint, items, vectors_of


def test_examples(tmp_path):
    given = {
        "folder": tmp_path / "s",
        "fingerprint": fingerprint(),
        "records": items(2),
        "vectors": vectors_of(items(2)),
    }
    result = doctest.testmod(module, extraglobs=given)
    assert result.attempted
    assert not result.failed


def filled(folder, rows, **options):
    store = Store.create(folder, source={"name": "test"})
    with store.writer(fingerprint(), **options) as writer:
        writer.add(rows, vectors_of(rows))
    return store


@pytest.mark.parametrize("per_part", [None, 1, 3, 7, 100])
def test_what_goes_in_comes_out(tmp_path, per_part):
    rows = [
        Item("é|1", "a", variant="fr", group="g", text="être", uri="file:a/é.txt", meta={"tags": "x, y", "n": "🙂"}),
        *items(20, text="some", variant="en"),
    ]
    filled(tmp_path / "s", rows, rows_per_part=per_part)
    store = Store.open(tmp_path / "s")
    got = store.vectors("text")
    np.testing.assert_array_equal(got.x, vectors_of(rows))
    assert got.x.dtype == np.float32
    assert got.x.flags.writeable
    assert got.x.flags.owndata
    assert got.keys.tolist() == [r.key for r in rows]
    assert got.ids.tolist() == [r.id for r in rows]
    assert got.groups.tolist() == [r.group or r.key for r in rows]
    assert got.variants.tolist() == [r.variant for r in rows]
    assert got.texts == [r.text for r in rows]
    assert got.uris == [r.uri for r in rows]
    assert got.meta == [dict(r.meta) for r in rows]
    assert got.fingerprint == store.fingerprint("text") == fingerprint()
    assert store.modalities() == ["text"]
    assert len(store.parts) == (1 if per_part in (None, 100) else -(-21 // per_part))


def test_records(tmp_path):
    store = filled(tmp_path / "s", items(5))
    image = fingerprint(3, modality="image")
    pictures = items(4, modality="image")
    with store.writer(image) as writer:
        writer.add(pictures, vectors_of(pictures, 3))
    assert store.records().column_names == list(COLUMNS)
    assert store.records().num_rows == 9
    assert store.records("image", ["key"]).to_pylist() == [{"key": f"k{i}"} for i in range(4)]
    assert store.modalities() == ["image", "text"]
    assert store.status()["rows"] == {"text": {fingerprint().column: 5}, "image": {image.column: 4}}
    json.dumps(store.status())
    with pytest.raises(NotFound, match="'colour'"):
        store.records(columns=["colour"])
    with pytest.raises(NotFound, match="did you mean 'image'"):
        store.records("imaeg")


def test_keys_choose(tmp_path):
    rows = items(30)
    store = filled(tmp_path / "s", rows, rows_per_part=4)
    got = store.vectors("text", keys={"k3", "k29", "k5", "nobody"})
    assert got.keys.tolist() == ["k3", "k5", "k29"]
    np.testing.assert_array_equal(got.x, vectors_of([rows[3], rows[5], rows[29]]))
    assert len(store.vectors("text", keys=set())) == 0


def test_empty_store(tmp_path):
    store = Store.create(tmp_path / "s", source={})
    assert store.records().num_rows == 0
    assert store.modalities() == []
    with pytest.raises(NotFound, match="no modality is known"):
        store.vectors("text")
    with store.writer(fingerprint()) as writer:
        writer.add([], np.empty((0, 4), np.float32))
    assert store.parts == []


def test_several_encoders_never_mix(tmp_path):
    rows = items(6)
    store = filled(tmp_path / "s", rows)
    wide = fingerprint(7, encoder="wide")
    with store.writer(wide) as writer:
        assert not writer.has(rows[0].id, rows[0].digest())
        writer.add(rows[::-1], vectors_of(rows[::-1], 7))
    assert store.records("text").num_rows == 6
    assert store.vectors("text", "wide").x.shape == (6, 7)
    assert store.vectors("text", "tiny").x.shape == (6, 4)
    assert store.vectors("text", wide.column).fingerprint == wide
    with pytest.raises(BadInput, match=r"2 encoders.*tiny@.*wide@"):
        store.vectors("text")
    with pytest.raises(NotFound, match="did you mean"):
        store.vectors("text", "wiide@" + wide.column[5:])
    prompted = fingerprint(prompt="query: ")
    with store.writer(prompted) as writer:
        writer.add(rows, vectors_of(rows))
    with pytest.raises(BadInput, match="name one of them"):
        store.vectors("text", "tiny")
    assert len(store.vectors("text", prompted.column)) == 6


def test_a_writer_that_adds_nothing_leaves_no_modality(tmp_path):
    store = filled(tmp_path / "s", items(2))
    with store.writer(fingerprint(encoder="idle")):
        pass
    assert store.fingerprint("text") == fingerprint()


def test_resuming_adds_only_what_is_missing(tmp_path):
    rows = items(10)
    store = filled(tmp_path / "s", rows[:6])
    with Store.open(tmp_path / "s").writer(fingerprint()) as writer:
        assert [writer.has(r.id, r.digest()) for r in rows] == [True] * 6 + [False] * 4
        writer.add(rows[6:], vectors_of(rows[6:]))
        assert writer.has(rows[9].id, rows[9].digest())
    assert len(store.vectors("text")) == 6  # the state at opening
    store.refresh()
    assert store.vectors("text").keys.tolist() == [r.key for r in rows]


@pytest.mark.parametrize("per_part", [None, 2])
def test_changed_content_takes_the_place_of_the_old(tmp_path, per_part):
    rows = items(6)
    store = filled(tmp_path / "s", rows, rows_per_part=per_part)
    changed = [replace(rows[1], content="new"), replace(rows[4], content="newer")]
    with store.writer(fingerprint(), rows_per_part=per_part) as writer:
        assert not writer.has(changed[0].id, changed[0].digest())
        writer.add(changed, vectors_of(changed))
    for each in (store, Store.open(tmp_path / "s")):
        got = each.vectors("text")
        assert got.keys.tolist() == ["k0", "k2", "k3", "k5", "k1", "k4"]
        expected = [rows[0], rows[2], rows[3], rows[5], *changed]
        np.testing.assert_array_equal(got.x, vectors_of(expected))
        assert each.records("text", ["content_hash"])["content_hash"].to_pylist() == [r.digest() for r in expected]
        assert each.status()["rows"]["text"] == {fingerprint().column: 6}
    with store.writer(fingerprint()) as writer:
        assert all(writer.has(r.id, r.digest()) for r in changed)


def test_the_block_may_end_in_an_exception(tmp_path):
    rows = items(5)
    store = Store.create(tmp_path / "s", source={})
    with pytest.raises(KeyboardInterrupt), store.writer(fingerprint()) as writer:
        writer.add(rows, vectors_of(rows))
        raise KeyboardInterrupt
    assert len(Store.open(tmp_path / "s").vectors("text")) == 5
    with store.writer(fingerprint()):
        pass


def test_time_commits_too(tmp_path):
    store = Store.create(tmp_path / "s", source={})
    rows = items(3)
    with store.writer(fingerprint(), seconds_per_part=0.0) as writer:
        for row in rows:
            time.sleep(0.001)
            writer.add([row], vectors_of([row]))
        assert len(Store.open(tmp_path / "s").vectors("text")) == 3
    assert len(store.parts) == 3


def test_rejected(tmp_path):
    rows = items(3)
    store = Store.create(tmp_path / "s", source={})
    store.set_aside({"a.xyz": "no reader for .xyz"})
    with store.writer(fingerprint()) as writer:
        writer.add(rows[:1], vectors_of(rows[:1]))
        writer.reject(replace(rows[1], uri="file:b"), "cannot be decoded")
        writer.reject(rows[2], "empty")
    store.set_aside({"c.xyz": "no reader for .xyz"})
    rejected = store.rejected().to_pylist()
    assert [(r["id"], r["uri"], r["reason"]) for r in rejected] == [
        ("k1|text|", "file:b", "cannot be decoded"),
        ("k2|text|", None, "empty"),
        ("c.xyz", None, "no reader for .xyz"),
    ]
    with store.writer(fingerprint()) as writer:  # mended since
        writer.add(rows[1:2], vectors_of(rows[1:2]))
    assert [r["id"] for r in store.rejected().to_pylist()] == ["k2|text|", "c.xyz"]
    assert store.status()["rejected"] == 2


@pytest.mark.parametrize("kind", ["float64", "float16", "list"])
def test_other_floats_become_float32(tmp_path, kind):
    rows = items(3)
    x = vectors_of(rows)
    given_ = x.tolist() if kind == "list" else x.astype(kind)
    store = Store.create(tmp_path / "s", source={})
    with store.writer(fingerprint()) as writer:
        writer.add(rows, given_)
        if kind != "list":
            given_[:] = 9  # the buffer is the writer's own
    np.testing.assert_array_equal(store.vectors("text").x, np.asarray(x, "float16" if kind == "float16" else None))


def bad_vectors():
    x = vectors_of(items(3))
    nan, inf, huge = x.copy(), x.copy(), x.astype(np.float64)
    nan[1, 2], inf[2, 0], huge[0, 0] = np.nan, np.inf, 1e300
    return {
        "nan": (nan, "1 of 3 vectors .* NaN or infinity, the first is 'k1"),
        "inf": (inf, "k2"),
        "too large for float32": (huge, "k0"),
        "narrow": (x[:, :3], r"shape \(3, 4\).*got float32 of shape \(3, 3\)"),
        "few": (x[:2], r"\(2, 4\)"),
        "flat": (x.ravel(), r"\(12,\)"),
        "whole numbers": (x.astype(int), "int64"),
        "text": (np.full((3, 4), "a"), "<U1"),
    }


@pytest.mark.parametrize("case", bad_vectors())
def test_bad_vectors_are_refused_whole(tmp_path, case):
    x, message = bad_vectors()[case]
    store = Store.create(tmp_path / "s", source={})
    with store.writer(fingerprint()) as writer:
        with pytest.raises(BadInput, match=message):
            writer.add(items(3), x)
        assert not writer.has(items(1)[0].id, items(1)[0].digest())
    assert store.parts == []


def test_bad_rows_are_refused(tmp_path):
    store = Store.create(tmp_path / "s", source={})
    one = items(1)
    with store.writer(fingerprint()) as writer:
        with pytest.raises(BadInput, match=r"'k0.text.' is added twice"):
            writer.add(one * 2, vectors_of(one * 2))
        writer.add(one, vectors_of(one))
        with pytest.raises(BadInput, match="added twice"):
            writer.add(one, vectors_of(one))
        with pytest.raises(BadInput, match="added twice"):
            writer.add([replace(one[0], content="x")], vectors_of(one))
        with pytest.raises(BadInput, match=r"modality 'image'.*modality 'text'"):
            writer.add(items(1, start=5, modality="image"), vectors_of(one))
    with pytest.raises(BadInput, match="inside its block"):
        writer.add(one, vectors_of(one))
    with pytest.raises(BadInput, match="rows_per_part=0"):
        store.writer(fingerprint(), rows_per_part=0)
    with store.writer(fingerprint()) as writer, pytest.raises(BadInput, match="added twice"):
        writer.add(one, vectors_of(one))


def test_ids():
    assert row_id("a|b", "text", "en") == "a|b|text|en"
    for bad in [("", "text", ""), ("a", "", ""), ("a", "te|xt", ""), ("a", "text", "e|n")]:
        with pytest.raises(BadInput, match="without"):
            row_id(*bad)


def test_create_and_open(tmp_path):
    store = Store.open_or_create(tmp_path / "s", source={"name": "one", "root": "/a"})
    assert Store.open_or_create(tmp_path / "s", source={"name": "one", "root": "/b"}).manifest == store.manifest
    folder = {"name": "one", "root": "/a", "by_path": True}
    assert Store.open_or_create(tmp_path / "s", source=folder).manifest == store.manifest
    with pytest.raises(BadInput, match="holds the folder /a, not /b: one store has one source"):
        Store.open_or_create(tmp_path / "s", source=folder | {"root": "/b"})
    with pytest.raises(BadInput, match="'one', not 'two'"):
        Store.open_or_create(tmp_path / "s", source={"name": "two"})
    with pytest.raises(BadInput, match="a store already"):
        Store.create(tmp_path / "s", source={})
    with pytest.raises(NotFound, match=r"not a store: it has no manifest.json"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(BadInput, match=r"not empty .thesis.tex."):
        Store.open_or_create(tmp_path / "full", source={})
    for opening in (Store.open, lambda path: Store.create(path, source={})):
        with pytest.raises((BadInput, NotFound), match="is a file"):
            opening(tmp_path / "full" / "thesis.tex")
    with pytest.raises(BadInput, match="JSON"):
        Store.create(tmp_path / "odd", source={"x": float("nan")})
    Store.create(tmp_path / "odd", source={"x": 1})  # what failed left nothing in the way


def test_parts_are_plain_parquet(tmp_path):
    """Anyone can read a part with their own tools."""
    import pyarrow.parquet as pq

    store = filled(tmp_path / "s", items(3))
    table = pq.read_table(store.path / store.parts[0]["file"])
    assert table.column_names == [*COLUMNS, fingerprint().column]
    assert table.schema.field(fingerprint().column).type == pa.list_(pa.float32(), 4)
    assert json.loads((store.path / MANIFEST).read_text())["parts"][0]["rows"] == 3


@settings(max_examples=30, deadline=None)
@given(
    history=st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=6), min_size=1, max_size=4),
    per_part=st.integers(1, 4),
)
def test_any_history_equals_a_dictionary(tmp_path_factory, history, per_part):
    """Sessions of writing, each with some contents of some keys: the store holds the last content of each."""
    store = Store.create(tmp_path_factory.mktemp("h") / "s", source={})
    expected = {}
    for session in history:
        rows = {key: Item(f"k{key}", f"content {version}") for key, version in session}
        with store.writer(fingerprint(), rows_per_part=per_part) as writer:
            for row in rows.values():
                if not writer.has(row.id, row.digest()):
                    writer.add([row], vectors_of([row]))
                    expected.pop(row.key, None)
                    expected[row.key] = row
    if expected:
        got = Store.open(store.path).vectors("text")
        assert got.keys.tolist() == list(expected)
        np.testing.assert_array_equal(got.x, vectors_of(list(expected.values())))
    assert store.records().num_rows == len(expected)


def test_take():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    all_ = Vectors.of(x, fingerprint(), keys=["a", "b", "c"], texts=["A", None, "C"], meta=[{"i": "0"}, {}, {}])
    assert all_.ids.tolist() == ["a|text|", "b|text|", "c|text|"]
    for chosen, keys in [
        ([2, 0], ["c", "a"]),
        (np.array([True, False, True]), ["a", "c"]),
        (slice(1), ["a"]),
        (np.array([], int), []),
    ]:
        part = all_.take(chosen)
        assert part.keys.tolist() == keys
        assert part.texts == [{"a": "A", "b": None, "c": "C"}[k] for k in keys]
        np.testing.assert_array_equal(part.x, [x["abc".index(k)] for k in keys] or np.empty((0, 4)))
    assert part.x.shape == (0, 4)
    with pytest.raises(IndexError):
        all_.take([True, False])
    with pytest.raises(BadInput, match=r"\(3, 4\)"):
        Vectors.of(x, fingerprint(5), keys=["a", "b", "c"])
    with pytest.raises(BadInput, match="colour"):
        Vectors.of(x, fingerprint(), keys=["a", "b", "c"], colour=["red"] * 3)
