"""Tables, what `datasets` saves, and tar shards."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus import data, encoders
from isthmus.core.errors import BadInput, NotFound
from isthmus.store.store import Store
from isthmus.workbench.embed import embed
from tests import require

from . import made

ROWS = [
    {"sku": "a1", "photo": "pics/red.png", "title": "a red thing", "year": "2001", "note": ""},
    {"sku": "b2", "photo": "pics/blue.png", "title": "ein blaues Ding, schön", "year": "2002", "note": "x"},
    {"sku": "c3", "photo": "", "title": "no picture", "year": "2003", "note": ""},
]
MAP = {"key": "sku", "image": "photo", "text": "title"}


@pytest.fixture
def folder(tmp_path):
    made.picture(tmp_path / "pics" / "red.png")
    made.picture(tmp_path / "pics" / "blue.png", (0, 0, 200))
    return tmp_path


def write(path, rows=ROWS):
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


def by_id(dataset):
    return {r.id: r for r in dataset.records}


def reasons(dataset):
    told = {}
    for record in dataset.records:
        try:
            record.load()
        except BadInput as error:
            told[record.id] = str(error)
    return told


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_says_the_same(folder, ending):
    dataset = data.load(write(folder / f"products.{ending}"), map=MAP)
    found = by_id(dataset)
    assert set(found) == {"a1|image|", "a1|text|", "b2|image|", "b2|text|", "c3|text|"}
    assert found["b2|text|"].text == found["b2|text|"].load() == "ein blaues Ding, schön"
    assert found["b2|image|"].meta == {"year": "2002", "note": "x"} and found["c3|text|"].meta == {"year": "2003"}
    assert found["a1|image|"].load().getpixel((3, 3)) == (200, 30, 30)
    assert data.open_uri(found["a1|image|"].uri, dataset.root).size == (40, 30)
    assert not reasons(dataset) and not dataset.set_aside
    assert len({r.digest() for r in dataset.records}) == 5


def test_contents_in_the_table(folder):
    red, blue = ((folder / "pics" / f"{c}.png").read_bytes() for c in ("red", "blue"))
    made.recording(folder / "beep.wav")
    rows = [
        {"img": {"bytes": red, "path": "red.png"}, "voice": (folder / "beep.wav").read_bytes(), "cap": "red"},
        {"img": {"bytes": None, "path": "pics/blue.png"}, "voice": None, "cap": "blue"},
        {"img": {"bytes": blue[:60], "path": None}, "voice": b"no sound", "cap": "cut"},
    ]
    dataset = data.load(write(folder / "t.parquet", rows), map={"image": "img", "speech": "voice", "text": "cap"})
    found = by_id(dataset)
    assert found["t.parquet#1|image|"].load().getpixel((3, 3)) == (200, 30, 30)
    assert found["t.parquet#2|image|"].load().getpixel((3, 3)) == (0, 0, 200)
    assert found["t.parquet#1|speech|"].load()["sampling_rate"] == made.RATE
    told = reasons(dataset)
    assert set(told) == {"t.parquet#3|image|", "t.parquet#2|speech|", "t.parquet#3|speech|"}
    assert "t.parquet, row 3" in told["t.parquet#3|image|"] and "voice is empty" in told["t.parquet#2|speech|"]
    assert found["t.parquet#1|text|"].uri == "row:1"
    with pytest.raises(BadInput, match="inside a table"):
        data.open_uri("row:1", folder)


def test_what_datasets_saves(folder):
    require.module("datasets", "test")
    import datasets

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = datasets.Dataset.from_dict({"image": [str(folder / "pics/red.png")] * 2, "caption": ["one", "two"]})
        saved.cast_column("image", datasets.Image()).save_to_disk(folder / "saved", num_shards=2)
        plain = datasets.Dataset.from_dict({"caption": ["a", "b", "c"], "n": [1, 2, 3]})
        plain.save_to_disk(folder / "plain")
    dataset = data.load(folder / "saved", map={"text": "caption"})
    assert [r.text for r in dataset.of("text")] == ["one", "two"]
    found = by_id(data.load(folder / "plain", map={"text": "caption"}))
    assert found["plain#3|text|"].meta == {"n": "3"}
    embedded = datasets.load_from_disk(str(folder / "saved")).map(lambda row: row)
    assert len(embedded) == 2
    (folder / "plain" / "state.json").write_text("{")
    with pytest.raises(BadInput, match="saved data set"):
        data.load(folder / "plain", map={"text": "caption"})


def test_several_captions_of_one_key(folder):
    rows = [{"k": "a", "t": text, "lang": lang} for text, lang in (("one", "en"), ("two", "en"), ("eins", "de"))]
    dataset = data.load(write(folder / "t.csv", rows), map={"key": "k", "text": "t", "variant": "lang"})
    assert {r.id: r.text for r in dataset.records} == {"a|text|en": "one", "a|text|en#2": "two", "a|text|de": "eins"}


def test_bad_cells(folder):
    (folder.parent / "secret.png").write_bytes(b"x")
    rows = [
        {"photo": "../secret.png", "title": "out"},
        {"photo": "/etc/passwd", "title": "absolute"},
        {"photo": "http://example.org/a.png", "title": "address"},
        {"photo": "pics/none.png", "title": "x" * 1_000_001},
    ]
    told = reasons(data.load(write(folder / "t.csv", rows), map={"image": "photo", "text": "title"}))
    assert "row 1: '../secret.png' leads out" in told["t.csv#1|image|"]
    assert "leads out" in told["t.csv#2|image|"]
    assert "nothing is fetched" in told["t.csv#3|image|"]
    assert "row 4: 'pics/none.png' is no file" in told["t.csv#4|image|"]
    assert "1,000,001 characters" in told["t.csv#4|text|"]
    mixed = folder / "m.jsonl"
    mixed.write_text('{"t": "fine"}\n{"t": 7}\nnot json\n[1]\n{"t": ["x"]}\n')
    dataset = data.load(mixed, map={"text": "t"})
    assert reasons(dataset).keys() == {"m.jsonl#2|text|", "m.jsonl#5|text|"}
    assert "t holds int, a text is expected: '7'" in reasons(dataset)["m.jsonl#2|text|"]
    assert set(dataset.set_aside) == {"m.jsonl#3", "m.jsonl#4"}
    ragged = folder / "r.csv"
    ragged.write_text("a,b\n1,2\n1\n3,4\n")
    dataset = data.load(ragged, map={"text": "a"})
    assert [r.text for r in dataset.records] == ["1", "3"]
    assert "row 2: 1 cells, 2 columns" in dataset.set_aside["r.csv#2"]


@pytest.mark.parametrize(
    ("content", "name", "map", "error", "says"),
    [
        (b"a,b\n1,2\n", "t.csv", None, BadInput, "columns a, b: say which holds what"),
        (b"a,b\n1,2\n", "t.csv", {"text": "c"}, NotFound, "column 'c'"),
        (b"a,b\n1,2\n", "t.csv", {"smell": "a"}, NotFound, "modality 'smell'"),
        (b"a,a\n1,2\n", "t.csv", {"text": "a"}, BadInput, "each once"),
        (b"", "t.csv", {"text": "a"}, BadInput, "names the columns"),
        (b"a,b\n", "t.csv", {"text": "a"}, BadInput, "0 rows, and no value in a"),
        (b"a,b\n1,caf\xe9\n", "t.csv", {"text": "a"}, BadInput, "t.csv, row 1.*utf-8"),
        (b'{"a": "\xff"}\n', "t.jsonl", {"text": "a"}, BadInput, "t.jsonl, row 1: not UTF-8"),
        (b"nothing\n", "t.jsonl", {"text": "a"}, BadInput, "no line of it is a JSON object"),
        (b"PAR1xx", "t.parquet", {"text": "a"}, BadInput, "cannot be read as Parquet"),
        (b"no tar", "t.tar", None, BadInput, "plain tar archive"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, name, map, error, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=says):
        data.load(tmp_path / name, **({} if map is None else {"map": map}))


def test_only_what_changed_is_encoded_again(folder):
    seen = []

    def letters(texts):
        seen.extend(texts)
        return np.array([[len(t), t.count("e"), 1.0] for t in texts])

    def run():
        seen.clear()
        given = {"text": encoders.wrap(letters, modality="text", dim=3, revision="1")}
        return embed(data.load(table, map={"key": "sku", "text": "title"}), encoders=given, out=folder / "store")

    table = write(folder / "t.csv")
    run()
    assert len(seen) == 3
    write(table, [ROWS[0], {**ROWS[1], "title": "changed"}, {**ROWS[2], "sku": "d4"}])
    store = run()
    assert seen == ["changed", "no picture"]
    assert sorted(store.vectors("text").keys) == ["a1", "b2", "d4"]


# ------------------------------------------------------------------ shards


def add(archive, name, content, **more):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in more.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


def shard(path, first, n):
    with tarfile.open(path, "w") as archive:
        for i in range(first, first + n):
            buffer = io.BytesIO()
            made.Image.new("RGB", (8, 8), (i % 256, 9, 9)).save(buffer, "PNG")
            add(archive, f"{i:06d}.png", buffer.getvalue())
            add(archive, f"{i:06d}.txt", f"number {i}".encode())
            add(archive, f"{i:06d}.json", json.dumps({"n": i, "nested": {"x": 1}}).encode())


def test_shards(tmp_path):
    shard(tmp_path / "a-0.tar", 0, 3)
    shard(tmp_path / "a-1.tar", 3, 2)
    (tmp_path / "sizes.json").write_text("{}")
    dataset = data.load(tmp_path)
    assert len(dataset.of("image")) == len(dataset.of("text")) == 5
    found = by_id(dataset)
    assert found["000003|image|"].load().getpixel((0, 0)) == (3, 9, 9) and found["000003|image|"].text == "number 3"
    assert found["000004|text|"].load() == "number 4" and found["000004|text|"].meta == {"n": "4"}
    assert data.open_uri(found["000002|image|"].uri, tmp_path).getpixel((0, 0)) == (2, 9, 9)
    assert len(data.load(tmp_path / "a-0.tar", map={"text": "txt"}).records) == 3
    with pytest.raises(NotFound, match="modality 'smell'"):
        data.load(tmp_path, map={"smell": "txt"})


def test_members_that_lead_elsewhere(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        add(archive, "/etc/evil.txt", b"x")
        add(archive, "../up.txt", b"x")
        add(archive, "link.txt", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "good.txt", b"fine")
        add(archive, "empty.txt", b"")
        add(archive, "broken.png", b"\x89PNG\r\n\x1a\n")
    dataset = data.load(tmp_path / "bad.tar")
    assert {r.key for r in dataset.records} == {"good", "empty", "broken"}
    assert sum("leads out of the archive" in r for r in dataset.set_aside.values()) == 2
    assert any("is a link or a device" in r for r in dataset.set_aside.values())
    assert reasons(dataset).keys() == {"empty|text|", "broken|image|"}
    whole = (tmp_path / "bad.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(whole[:700])
    with pytest.raises(BadInput, match=r"bad\.tar"):
        for record in data.load(tmp_path / "bad.tar").records:
            record.load()


def test_shards_after_a_kill(tmp_path):
    """Killed in the middle and started again, the store is the one of an undisturbed run, each item once."""
    for i in range(3):
        shard(tmp_path / f"s-{i}.tar", 40 * i, 40)
    script = textwrap.dedent(
        """
        import sys, time
        import numpy as np
        from isthmus import encoders
        from isthmus.workbench.embed import embed
        def pixels(items):
            time.sleep(float(sys.argv[3]))
            print(len(items), flush=True)
            return np.array([[*np.asarray(x, float)[0, 0], 1.0] for x in items])
        given = {"image": encoders.wrap(pixels, modality="image", dim=4, revision="1")}
        import isthmus.store.writer as writer
        embed(sys.argv[1], encoders=given, out=sys.argv[2], batch_size=10)
        """
    )

    def command(out, pause):
        return [sys.executable, "-c", script, str(tmp_path), str(tmp_path / out), str(pause)]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command("../whole", 0), check=True, env=environment, capture_output=True)
    with subprocess.Popen(command("../killed", 0.2), stdout=subprocess.PIPE, env=environment) as process:
        for _ in range(4):
            process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run(command("../killed", 0), check=True, env=environment, capture_output=True, text=True)
    first, second = (Store.open(tmp_path.parent / name).vectors("image") for name in ("whole", "killed"))
    assert sum(map(int, done.stdout.split())) <= 120
    assert len(second) == 120
    order = [np.argsort(v.ids) for v in (first, second)]
    np.testing.assert_array_equal(first.x[order[0]], second.x[order[1]])
    assert first.ids[order[0]].tolist() == second.ids[order[1]].tolist()
    assert Path(tmp_path.parent / "killed").is_dir()
