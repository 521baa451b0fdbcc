"""Every verb twice: as a person reads it, and with --json, where standard output is JSON and nothing else."""

import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from isthmus.cli import GROUPS
from isthmus.workbench import scaffold

from .conftest import ENCODERS, isthmus


@pytest.fixture
def methods(tmp_path):
    scaffold.new("spaces/sample_map", methods=tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def scores(tmp_path):
    """Files of scores: queries, a query bank and a gallery bank against nine items."""
    files = {name: tmp_path / f"{name}.npy" for name in "sqg"}
    for rows, path in zip((6, 20, 15), files.values(), strict=True):
        np.save(path, np.random.default_rng(rows).standard_normal((rows, 9)).astype(np.float32))
    return files


@pytest.fixture
def calls(made, methods, scores, tmp_path):
    """{verb: (arguments, what a person must find, what JSON must hold)}."""
    own = ("--methods", methods)
    out = tmp_path / "out"
    return {
        "data list": ((), "openmoji.*CC BY-SA", "openmoji"),
        "data show": ((made.pictures,), "12 items.*image.*12.*text.*12", "records"),
        "embed": ((made.pictures, *ENCODERS, "--out", made.store), "24 vectors in", "rows"),
        "align": (
            (made.store, "--modalities", "image,text", "--out", out / "space", "--set", "steps=5"),
            "space of image, text in",
            "training",
        ),
        "index": ((made.store, "--space", made.space, "--out", out / "index"), "12 image, 12 text", "fingerprints"),
        "search": ((made.index, "colour 9 9 9", "-k", "3"), "3 nearest.*1 .*2 .*3 .*image.*file:c", None),
        "search --image": ((made.index, "--image", made.pictures / "c01.png"), "10 nearest.*text.*colour", None),
        "train": (
            ("dual_tiny", "--set", "steps=3", "--set", "batch=8", "--set", "world.n=24", "--out", out / "trained"),
            "dual_tiny trained on 24 items of world",
            "folder",
        ),
        "search --minus": (
            (made.index, "colour 9 9 9", "--image", made.pictures / "c01.png", "--minus", "colour 1 1 1", "-k", "2"),
            r"2 nearest to .*c01.png \+ .colour 9 9.*− .colour.*1 .*image",
            None,
        ),
        "search --where": (
            (made.index, "colour 9 9 9", "--where", "key in ['c01.png', 'c02.png']", "--exact"),
            "2 nearest.*file:c0[12]",
            None,
        ),
        "search --quota": (
            (made.index, "colour 9 9 9", "--quota", "image=2", "--quota", "text=3"),
            "5 nearest.*(image.*){2}",
            None,
        ),
        "index --update": ((made.store, "--out", made.index, "--update"), "0 added, 0 replaced, 0 removed", "changes"),
        "status": ((made.index,), "index .*image.*12.*backend: auto.*segments: 2", "fingerprints"),
        "status --verify": ((made.store, "--verify"), "store .*text.*12.*source: pictures.*every byte is as", "damage"),
        "evaluate": (
            (made.store, "--space", made.space, "--out", out / "ev"),
            "text to image, among 12.*R@1.*12.*±.*note: .*trained on",
            "directions",
        ),
        "correct": (
            (
                "--scores",
                scores["s"],
                "--query-bank",
                scores["q"],
                "--gallery-bank",
                scores["g"],
                "--out",
                tmp_path / "f.npy",
            ),
            "6 queries, 9 items.*skewness of hits.*corrected scores in",
            "hubs",
        ),
        "diagnose": (
            (made.store, "--space", made.space),
            "image: 12 records.*effective rank.*uniformity.*modality gap.*partners.*skewness.*Strongest hub",
            "pairs",
        ),
        "space show": ((made.space,), "space projectors on.*image.*12.*text.*12", "maps"),
        "methods": ((*own, "--family", "spaces"), "sample_map.*spaces", None),
        "show": (("sample-map", *own), "Relations.*Claim: .*Measured: not yet.*not delivered", "card"),
        "toy": (("sample-map", *own), "sample_map, a space map.*mean cosine", "demo"),
        "run": (
            ("sample-map", *own, "--seeds", "2", "--out", out / "results"),
            "2 seeds.*holds.*shuffled_pairs: does not",
            "claims",
        ),
        "check": (("sample-map", *own), "TODO.*fail.*to be mended", None),
        "table": (own, "sample_map.*not yet.*1/2", None),
        "doctor": ((), "numpy.*ok.*core", None),
    }


VERBS = [
    *(
        "data list",
        "data show",
        "embed",
        "align",
        "train",
        "index",
        "search",
        "search --image",
        "search --minus",
        "search --where",
        "search --quota",
        "index --update",
        "evaluate",
        "diagnose",
        "correct",
        "space show",
    ),
    *("methods", "show", "toy", "run", "check", "table", "status", "status --verify", "doctor"),
]
FAILS = {"check"}
"""What the template is: a method that a reviewer sends back."""


@pytest.mark.parametrize("verb", VERBS)
def test_a_person_can_read_it(verb, calls):
    arguments, expected, _ = calls[verb]
    done = isthmus(*verb.partition(" --")[0].split(), *arguments)
    assert done.code == (verb in FAILS), done.err
    assert re.search(expected, f"{done.out}\n{done.err}", re.S), done
    assert not re.search(r"Traceback|None|\bnan\b|\[bold\]|<class|\{'", done.out + done.err)
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_all_there_is(verb, calls):
    arguments, _, field = calls[verb]
    done = isthmus(*verb.partition(" --")[0].split(), *arguments, "--json")
    assert done.code == (verb in FAILS), done.err
    assert isinstance(done.json, dict if field else list) and done.json
    assert field is None or field in done.json
    assert json.dumps(done.json, allow_nan=False)


def test_every_verb_is_tried():
    named = {name for commands in GROUPS.values() for name in commands}
    # `demo` and `new` have tests of their own in tests/workbench, `serve`, which does not end, in tests/web
    assert named - {"demo", "new", "serve"} == {verb.split()[0] for verb in VERBS}


def test_a_correction_says_what_was_chosen(made, tmp_path):
    """All items of this store were trained on, so that there is nothing else to choose settings on."""
    done = isthmus("index", made.store, "--space", made.space, "--out", tmp_path / "i", "--correct", "dual-is")
    assert done.code == 0, done.err
    assert re.search(r"image: corrected by .*mrr .*best of 49 settings, on 12 items of its training", done.err)
    shown = isthmus("search", tmp_path / "i", "colour 9 9 9", "-k", "3", "--correct", "dual_is")
    assert shown.code == 0 and len(re.findall("file:c", shown.out)) == 3
    assert isthmus("search", tmp_path / "i", "colour 9 9 9", "--correct", "none", "--json").code == 0


def test_new(tmp_path):
    done = isthmus("new", "spaces/another", "--methods", tmp_path / "mine")
    assert done.code == 0 and done.out == ""
    assert [line.split()[0] for line in done.err.splitlines()] == ["wrote", "wrote"]
    assert (tmp_path / "mine" / "spaces" / "another.py").is_file()


def test_check_says_what_is_in_order_on_request(methods):
    short, long = (isthmus("check", "sample-map", "--methods", methods, *more).out for more in ((), ("--all",)))
    assert "in order" in short
    assert len(long.splitlines()) > len(short.splitlines())


def test_results_are_taken_from_where_one_says(methods, tmp_path):
    stored = tmp_path / "elsewhere"
    isthmus("run", "sample-map", "--methods", methods, "--seeds", "5", "--out", stored)
    where = ("--methods", methods, "--results", stored)
    row = next(r for r in isthmus("table", *where, "--json").json if r["name"] == "sample_map")
    assert row["holds"] and not row["stale"]
    assert "holds" in isthmus("table", *where).out
    assert isthmus("show", "sample-map", *where, "--json").json["gain"] == row["gain"]
    found = isthmus("check", "sample-map", *where, "--json").json
    assert {"check": "result", "state": "ok"}.items() <= next(f for f in found if f["check"] == "result").items()


def test_items_set_aside_are_named(pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    (pictures / "broken.txt").write_text("colour 1 2 3")
    (pictures / "c03.txt").write_text(" \n")
    done = isthmus("embed", pictures, *ENCODERS, "--out", tmp_path / "store")
    assert done.code == 0
    assert "24 vectors" in done.err  # 12 pictures; 12 captions, one of them of the broken picture
    assert "2 set aside" in done.err
    assert re.search(r"broken\.png: the picture cannot be read", done.err, re.S)
    assert "c03.txt: the caption is empty" in done.err
    again = isthmus("embed", pictures, *ENCODERS, "--out", tmp_path / "store", "--json")
    assert again.json["rejected"] == 2


def test_nothing_embedded_is_a_failure(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"nothing")
    done = isthmus("embed", folder, "--encoder", "image=by_colour_image", "--out", tmp_path / "store")
    assert done.code == 1
    assert "0 vectors" in done.err and "a.png" in done.err


def test_help_tells_what_the_docstrings_say():
    shown = isthmus("--help")
    assert shown.code == 0
    text = " ".join(shown.out.replace("│", " ").split())
    rows = [line.split()[1:2] for line in shown.out.splitlines() if line.startswith("│")]
    order = [rows.index([name]) for commands in GROUPS.values() for name in commands]
    assert order == sorted(order), "in the order of use"
    for commands in GROUPS.values():
        for name, (target, line) in commands.items():
            module, _, attribute = target.partition(":")
            value = getattr(importlib.import_module(module), attribute)
            own = value.help if attribute == "app" else value.__doc__.splitlines()[0]
            assert line == own, name
            assert line in text, name
            assert isthmus(name, "--help").code == 0


def test_no_command_is_help():
    assert isthmus().out == isthmus("--help").out
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", isthmus("--version").out)


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["", "json"])
def test_any_encoding_of_the_output_will_do(made, more):
    """A pipe on Windows is cp1252, one in a bare container ASCII: tables lose letters there, JSON does not."""
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", "diagnose", made.store, "--space"]
    here = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, made.space, *more], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] if more else "effective rank" in done.stdout


def test_hits_of_several_modalities_take_turns(made):
    asked = ("search", made.index, "colour 9 9 9", "--quota", "image=2", "--quota", "text=1", "--json")
    assert [hit["modality"] for hit in isthmus(*asked).json] == ["image", "text", "image"]
