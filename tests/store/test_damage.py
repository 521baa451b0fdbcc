"""Whatever happens to the files of a store, an error names the file; wrong vectors never come out."""

import json

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.store.manifest import FORMAT_VERSION, MANIFEST
from isthmus.store.store import Store
from tests.store.rows import fingerprint, items, vectors_of

ROWS = items(40, text="some words", uri="file:x")


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "s", source={"name": "test"})
    with store.writer(fingerprint(), rows_per_part=20) as writer:
        writer.add(ROWS, vectors_of(ROWS))
    return store


def edit(store, change):
    path = store.path / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def second(store):
    return store.path / store.parts[1]["file"]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_part_cut_short(store, kept):
    content = second(store).read_bytes()
    second(store).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BadInput, match=r"part-00001.parquet is damaged: it has \d+ bytes"):
        Store.open(store.path).vectors("text")
    assert list(store.verify()) == ["part-00001.parquet"]


def test_a_part_gone(store):
    second(store).unlink()
    with pytest.raises(BadInput, match=r"part-00001.parquet is missing.*repair"):
        Store.open(store.path).vectors("text")
    assert list(store.verify()) == ["part-00001.parquet"]


def test_any_byte(store):
    """Change one byte anywhere: reading gives the vectors that were written, or an error that names the part."""
    content = bytearray(second(store).read_bytes())
    noticed = 0
    for at in range(0, len(content), max(1, len(content) // 400)):
        wrong = bytearray(content)
        wrong[at] ^= 0x55
        second(store).write_bytes(wrong)
        try:
            got = Store.open(store.path).vectors("text")
        except BadInput as error:
            assert "part-00001.parquet" in str(error)
            noticed += 1
        else:
            np.testing.assert_array_equal(got.x, vectors_of(ROWS))
            assert got.keys.tolist() == [r.key for r in ROWS]
            assert got.texts == [r.text for r in ROWS]
        assert list(store.verify()) == ["part-00001.parquet"]
    assert noticed > 200


def test_repair(store):
    second(store).write_bytes(b"PAR1 not really PAR1")
    opened = Store.open(store.path)
    assert list(opened.repair()) == ["part-00001.parquet"]
    assert len(opened.vectors("text")) == 20
    with opened.writer(fingerprint()) as writer:
        missing = [r for r in ROWS if not writer.has(r.id, r.digest())]
        writer.add(missing, vectors_of(missing))
    assert not second(opened).exists() or opened.verify() == {}
    np.testing.assert_array_equal(Store.open(store.path).vectors("text").x, vectors_of(ROWS))
    assert opened.repair() == {}


def test_a_part_of_another_store(store, tmp_path):
    """A part in the right place, of the right size, made by another encoder."""
    other = fingerprint(weights="cd" * 32)
    foreign = Store.create(tmp_path / "foreign", source={})
    with foreign.writer(other) as writer:
        writer.add(ROWS, vectors_of(ROWS))
    content = (foreign.path / foreign.parts[0]["file"]).read_bytes()
    second(store).write_bytes(content)
    edit(store, lambda m: m["parts"][1].update(bytes=len(content)))
    with pytest.raises(WrongFingerprint, match=r"part-00001.parquet .*weights is 'abab.*' here and 'cdcd"):
        Store.open(store.path).vectors("text")


def test_a_newer_format(store):
    edit(store, lambda m: m.update(format_version=FORMAT_VERSION + 1, parts="all different"))
    with pytest.raises(BadInput, match=f"format {FORMAT_VERSION + 1}.*update isthmus"):
        Store.open(store.path)


@pytest.mark.parametrize(
    "name",
    [
        "../part-00001.parquet",
        "/etc/part-00001.parquet",
        "a/part-00001.parquet",
        "..\\part-00001.parquet",
        "C:part-00001.parquet",
        ".part-00001.parquet",
        "part-00001.parquet\0",
        "rejected.parquet",
        "part-00001.npy",
        "",
        None,
        7,
    ],
)
def test_names_that_lead_elsewhere(store, name):
    edit(store, lambda m: m["parts"][1].update(file=name))
    with pytest.raises(BadInput, match=r"manifest.json names the"):
        Store.open(store.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("parts"),
        lambda m: m.update(parts={}),
        lambda m: m.update(fingerprints=[]),
        lambda m: m.update(source="x"),
        lambda m: m.update(format_version="1"),
        lambda m: m.update(format_version=True),
        lambda m: m["parts"].append(3),
        lambda m: m["parts"].append(m["parts"][0]),
        lambda m: m["parts"][0].update(rows=0),
        lambda m: m["parts"][0].update(rows="20"),
        lambda m: m["parts"][0].update(supersedes=-1),
        lambda m: m["parts"][0].pop("sha256"),
        lambda m: m["parts"][0].update(column="another@00000000"),
        lambda m: m["parts"][0].update(modality="image"),
        lambda m: m["fingerprints"][fingerprint().column].update(dim=5),
        lambda m: m["fingerprints"][fingerprint().column].pop("dim"),
        lambda m: m["fingerprints"].update(x=None),
    ],
)
def test_a_manifest_that_does_not_hold_together(store, change):
    edit(store, change)
    with pytest.raises(BadInput, match=r"manifest.json is damaged"):
        Store.open(store.path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_not_one(store, content):
    (store.path / MANIFEST).write_bytes(content)
    with pytest.raises(BadInput, match=r"manifest.json is damaged"):
        Store.open(store.path)


def test_wrong_number_of_rows(store):
    edit(store, lambda m: m["parts"][0].update(rows=19))
    with pytest.raises(BadInput, match=r"part-00000.parquet is damaged: 20 rows.* expected 19"):
        Store.open(store.path).vectors("text")


def test_a_damaged_list_of_rejected_rows(store):
    (store.path / "rejected.parquet").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=r"rejected.parquet is damaged.*remove it"):
        store.rejected()


def test_leftovers_are_ignored_and_cleaned(store):
    (store.path / "part-00002.parquet").write_bytes(b"never committed")
    (store.path / ".part-00003.parquet.123.tmp").write_bytes(b"half")
    mine = store.path / "notes.txt"
    mine.write_text("keep me")
    np.testing.assert_array_equal(Store.open(store.path).vectors("text").x, vectors_of(ROWS))
    more = items(1, start=100)
    with store.writer(fingerprint()) as writer:
        assert not (store.path / "part-00002.parquet").exists()
        assert not (store.path / ".part-00003.parquet.123.tmp").exists()
        writer.add(more, vectors_of(more))
    assert mine.exists()
    assert Store.open(store.path).vectors("text").keys.tolist() == [r.key for r in [*ROWS, *more]]


def test_not_a_store(tmp_path):
    with pytest.raises(NotFound, match="not a store"):
        Store.open(tmp_path)
