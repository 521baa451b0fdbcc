"""The catalogue's verbs, on methods made from the template: measuring, resuming, storing, staleness, findings."""

import json
import re
import sys
from collections import defaultdict

import pytest

from isthmus.core.catalog import find
from isthmus.core.errors import BadInput, NotFound
from isthmus.workbench import bench, results, scaffold

FIELDS = [
    *("name", "family", "title", "year", "task", "metric", "better", "than", "by", "gain", "half", "holds"),
    *("control", "control_holds", "stale", "delivered", "total", "seconds"),
]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def methods(tmp_path):
    """A folder of methods with one from the template, in a source tree of its own."""
    (tmp_path / "pyproject.toml").write_text("")
    folder = tmp_path / "mine"
    scaffold.new("spaces/sample_map", methods=folder)
    return folder


def edit(methods, *changes, name="sample_map"):
    """Change the text of a method (each change must match) and forget what was imported of it."""
    path = methods / "spaces" / f"{name}.py"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    sys.modules.pop(find(name, [methods]).module, None)


COUNT = (
    "    n, held =",
    "    with (ctx.cache / 'calls').open('a') if ctx.cache.mkdir(parents=True, exist_ok=True) is None else None as f:\n"
    "        f.write(f'{ctx.seed} {ctx.control}\\n')\n    n, held =",
)


def calls(tmp_path):
    return (tmp_path / "cache" / "features" / "calls").read_text().splitlines()


def test_methods_show_and_toy(methods):
    listed = [m for m in bench.methods("spaces", extra=[methods]) if m["name"] == "sample_map"]
    assert listed == [m for m in bench.methods(extra=[methods]) if m["name"] == "sample_map"]
    assert set(listed[0]) == {"name", "family", "title", "year", "summary"}
    with pytest.raises(NotFound, match="did you mean 'spaces'"):
        bench.methods("space", extra=[methods])
    shown = bench.show("sample-map", extra=[methods])
    assert shown["card"]["claim"]["metric"] == "r@1"
    assert shown["missing"] == {"the paper's mechanism": "this is the template"}
    assert "Relations" in shown["text"]
    tried = bench.toy("sample-map", extra=[methods])
    assert tried["name"] == "sample_map" and tried["role"] == "space_map"
    assert 0.9 < tried["demo"]["mean cosine"] <= 1
    for value in (listed, shown, tried):
        json.dumps(value, allow_nan=False)


def test_run_judges_stores_and_feeds_the_table(methods, tmp_path):
    said = []
    found = bench.run("sample_map", extra=[methods], progress=lambda *step: said.append(step))
    assert found["stored"] == str(tmp_path / "results" / "sample_map.json")
    assert said[0] == ("run sample_map", 0, 10) and said[-1] == ("run sample_map", 10, 10)
    claim = found["claims"][0]
    assert claim["verdict"]["holds"] and not claim["control"]["holds"]
    assert claim["control"]["kind"] == "shuffled_pairs" and claim["control"]["repeat"] is None
    assert {(r["seed"], r["control"]) for r in found["rows"]} == {
        (s, c) for s in range(5) for c in (None, "shuffled_pairs")
    }
    stored = results.stored(find("sample_map", [methods]))
    assert stored == results.Result(**{k: v for k, v in found.items() if k != "stored"})

    row = next(r for r in bench.table(extra=[methods]) if r["name"] == "sample_map")
    assert set(FIELDS) <= set(row)
    assert row["holds"] and not row["control_holds"] and not row["stale"] and not row["older_base"]
    assert (row["gain"], row["by"], row["delivered"], row["total"]) == (claim["verdict"]["gain"], 0.1, 1, 2)
    assert bench.show("sample_map", extra=[methods])["gain"] == row["gain"]


def test_table_without_a_result(methods):
    row = next(r for r in bench.table(extra=[methods]) if r["name"] == "sample_map")
    assert {row[f] for f in ("gain", "half", "holds", "control_holds", "stale", "seconds")} == {None}


def test_what_is_stored_by_default(methods, tmp_path):
    for options in ({"seeds": 4}, {"budget": "smoke"}):
        assert bench.run("sample_map", extra=[methods], **options)["stored"] is None
    assert not (tmp_path / "results").exists()
    found = bench.run("sample_map", extra=[methods], seeds=2, out=tmp_path / "elsewhere")
    assert found["stored"] == str(tmp_path / "elsewhere" / "sample_map.json")


def test_smoke_and_one_seed_have_no_verdict(methods):
    for options in ({"budget": "smoke"}, {"seeds": 1}):
        found = bench.run("sample_map", extra=[methods], **options)
        assert found["claims"][0]["verdict"] is None and found["claims"][0]["control"] is None
        assert found["rows"]


def test_a_stopped_run_goes_on(methods, tmp_path):
    stop = (
        "    data = TASK",
        "    if ctx.seed == 3 and not (ctx.cache / 'go').exists(): raise KeyboardInterrupt\n    data = TASK",
    )
    edit(methods, COUNT, stop)
    with pytest.raises(KeyboardInterrupt):
        bench.run("sample_map", extra=[methods])
    assert calls(tmp_path) == ["0 None", "1 None", "2 None", "3 None"]
    (tmp_path / "cache" / "features" / "go").touch()
    found = bench.run("sample_map", extra=[methods])
    assert calls(tmp_path)[4:] == ["3 None", "4 None", *(f"{s} shuffled_pairs" for s in range(5))]
    assert bench.run("sample_map", extra=[methods])["rows"] == found["rows"]
    assert len(calls(tmp_path)) == 11, "nothing is measured twice"
    again = bench.run("sample_map", extra=[methods], fresh=True)
    assert again["rows"] == found["rows"]
    assert len(calls(tmp_path)) == 21
    edit(methods, ("ridge = 1.0", "ridge = 2.0"))
    assert bench.run("sample_map", extra=[methods])["rows"] != found["rows"]
    assert len(calls(tmp_path)) == 31, "other code is measured anew"


def test_a_control_that_holds_is_repeated_and_both_are_stored(methods):
    edit(methods, ('ctx.control == "shuffled_pairs"', 'ctx.control == "never"'))
    found = bench.run("sample_map", extra=[methods])
    control = found["claims"][0]["control"]
    assert control["verdict"]["holds"] and control["repeat"]["holds"] and control["holds"]
    assert {r["seed"] for r in found["rows"] if r["control"]} == set(range(10))
    assert {r["seed"] for r in found["rows"] if not r["control"]} == set(range(5))
    assert any(f["check"] == "control" and f["state"] == "note" for f in bench.check("sample_map", extra=[methods]))


def test_a_claim_that_does_not_hold_is_stored_and_shown(methods):
    edit(methods, ("margin=0.1", "margin=0.9999"))
    assert bench.run("sample_map", extra=[methods])["claims"][0]["verdict"]["holds"] is False
    findings = [f for f in bench.check("sample_map", extra=[methods]) if f["check"] == "claim"]
    assert [f["state"] for f in findings] == ["note"] and "does not hold" in findings[0]["detail"]


def test_a_claim_without_a_control(methods):
    edit(methods, ('control="shuffled_pairs"', 'control="none", control_reason="nothing to shuffle"'))
    found = bench.run("sample_map", extra=[methods])
    assert found["claims"][0]["control"] is None
    assert {r["control"] for r in found["rows"]} == {None}


def test_what_a_run_refuses(methods):
    with pytest.raises(NotFound, match="smoke"):
        bench.run("sample_map", extra=[methods], budget="tiny")
    with pytest.raises(BadInput, match="--seeds 0"):
        bench.run("sample_map", extra=[methods], seeds=0)
    edit(methods, ("**TASK.score(data, x)", '**TASK.score(data, x), "r@1": float("nan")'))
    with pytest.raises(BadInput, match=r"sample_map, seed 0, arm least_squares: r@1 is nan"):
        bench.run("sample_map", extra=[methods])
    edit(methods, ('"r@1": float("nan")', '"r@1": float(arm == "least_squares")'))
    with pytest.raises(BadInput, match="seed must draw"):
        bench.run("sample_map", extra=[methods])
    edit(methods, ('"arm": arm', '"arm": arm + "?"'))
    with pytest.raises(BadInput, match="no row has arm 'least_squares'"):
        bench.run("sample_map", extra=[methods])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("gaps=(", "gaps=('more', "), ""),
        (('"""Return the W of eq. 1', '"""Give the W of eq. 1'), ""),
        (("    ridge = 1.0", "    # a comment\n    ridge = 1.0"), ""),
        (("    ridge = 1.0", "    ridge = 1.5"), "code"),
        (("margin=0.1", "margin=0.2"), "claims"),
    ],
)
def test_stale(methods, change, reason):
    bench.run("sample_map", extra=[methods])
    edit(methods, change)
    entry = find("sample_map", [methods])
    assert reason in results.stale(entry, results.stored(entry))
    assert bool(results.stale(entry, results.stored(entry))) == bool(reason)
    row = next(r for r in bench.table(extra=[methods]) if r["name"] == "sample_map")
    assert row["stale"] == bool(reason)
    failed = [f["detail"] for f in bench.check("sample_map", extra=[methods]) if f["check"] == "result"]
    assert any("stale" in f for f in failed) == bool(reason)


def test_an_older_base_is_said_and_is_not_stale(methods, monkeypatch):
    bench.run("sample_map", extra=[methods])
    entry = find("sample_map", [methods])
    used = {p.name for p in results.imported_files(entry)}
    assert {"retrieval.py", "params.py", "card.py"} <= used and "sample_map.py" not in used
    monkeypatch.setattr(results, "base_digest", lambda entry: "changed")
    row = next(r for r in bench.table(extra=[methods]) if r["name"] == "sample_map")
    assert row["older_base"] and not row["stale"]
    assert any("older base" in f["detail"] for f in bench.check("sample_map", extra=[methods]))


def test_the_digest_sees_code_alone(tmp_path):
    def digest(text):
        path = tmp_path / "spaces" / "sample.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return results.digest(find("sample", [tmp_path]))

    plain = digest("def f(x=None, *, y=()):\n    return [x, 'a']\n")
    assert (
        digest("'''Text.'''\nCARD = 3\ndef f(x = None, *, y = ()):\n    '''More.'''\n    # why\n    return [x,\n 'a']")
        == plain
    )
    # a result must not go stale when Python is updated; `ast.dump` differs between versions, this text does not
    assert plain == "a33ff4cb14f6544e"
    others = {digest(f"def f(x={d}, *, y=()):\n    return [x, 'a']\n") for d in ("0", "False", "()", "''", "[]")}
    assert len(others) == 5 and plain not in others


def check(methods):
    """The details of all findings, by check and state."""
    found = defaultdict(list)
    for finding in bench.check("sample_map", extra=[methods]):
        found[finding["check"], finding["state"]].append(finding["detail"])
    return {key: " | ".join(details) for key, details in found.items()}


def test_check(methods, tmp_path):
    found = check(methods)
    assert "TODO" in found["card", "fail"], "the template is not a finished method"
    assert "--budget small --seeds 5" in found["result", "fail"]
    for fact in ("deterministic", "float64", "numpy_only", "streaming"):
        assert (f"fact {fact}", "ok") in found
    assert found["tests", "ok"] == "test_sample_map.py"
    test = tmp_path / "tests" / "methods" / "spaces" / "test_sample_map.py"
    test.write_text(test.read_text().replace("def test_oracle", "def best_oracle"))
    assert "test_oracle" in check(methods)["tests", "fail"]
    test.unlink()
    assert "does not exist" in check(methods)["tests", "fail"]


@pytest.mark.parametrize(
    ("change", "check_", "message"),
    [
        (('"the map": "SampleMap"', '"the map": "Sample"'), "delivers the map", "not in the module's __all__"),
        (('"the map": "SampleMap"', '"the map": "SampleMap.fix"'), "delivers the map", "has no fix"),
        (('"the map": "SampleMap"', '"the map": "_views"'), "delivers the map", "not a public name"),
        (('"the map": "SampleMap"', '"the map": "isthmus.metrics.nothing.at"'), "delivers the map", "has no nothing"),
        (('"the map": "SampleMap"', '"the map": "tests/x.py::test_x"'), "delivers the map", "does not exist"),
        (("delivers={", 'uses={"align": "Aligner"}, delivers={'), "uses align", "__all__"),
        (('"missing: this is the template"', '"missing:"'), "card", "without a reason"),
        (('"float64"', '"float16"'), "card", "unknown facts"),
        (('task="retrieval.v1"', 'task="retrieval.v0"'), "card", "did you mean 'retrieval.v1'"),
        (('task="retrieval.v1"', 'task="retreat.v1"'), "card", "unknown task"),
        (('metric="r@1"', 'metric="r@7"'), "card", "r@7"),
        (("margin=0.1", "margin=1.0"), "card", "margin 1: r@1 lies in [0, 1]"),
        (('control="shuffled_pairs"', 'control="shuffled"'), "card", "unknown control"),
        (("rng = np.random.default_rng(0)", "raise OSError('gone')"), "toy", "OSError: gone"),
        (('{"mean cosine": ', '{"none": float("nan"), "mean cosine": '), "toy", "not finite: ['none']"),
        (('facts=("deterministic"', 'facts=("gradients", "deterministic"'), "fact gradients", "no gradient"),
        (("import numpy as np\n", "import torch\nimport numpy as np\n"), "fact numpy_only", "without torch"),
        (("CARD = Card(", "CARD = Cart("), "card", "literals only"),
    ],
)  # fmt: skip
def test_check_finds(methods, change, check_, message):
    edit(methods, change)
    assert re.search(re.escape(message), check(methods)[check_, "fail"])


def test_check_accepts_every_kind_of_target(methods):
    own = "tests/methods/spaces/test_sample_map.py::test_oracle"
    targets = f"SampleMap.fit, isthmus.metrics.similarity.linear_cka, {own}"
    edit(methods, ('"the map": "SampleMap"', f'"the map": "{targets}"'))
    assert ("delivers the map", "ok") in check(methods)


def test_check_all(methods):
    assert "sample_map" in {f["method"] for f in bench.check(extra=[methods])}
    assert {f["state"] for f in bench.check(extra=[methods])} <= {"ok", "note", "fail"}


def test_loose_and_installed_methods_have_no_results_folder(tmp_path):
    scaffold.new("spaces/sample_map", methods=tmp_path / "loose")
    entry = find("sample_map", [tmp_path / "loose"])
    assert results.folder(entry) is None
    assert bench.run("sample_map", extra=[tmp_path / "loose"])["stored"] is None
    (tmp_path / "pyproject.toml").touch()
    assert results.project(tmp_path / "venv" / "site-packages" / "x.py") is None
    assert results.project(tmp_path / "a" / "x.py") == tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"format_version": 99}', "newer than 1"), ("{}", "not a stored result"), ("3", "not"), ("{", "not a stored")],
)
def test_foreign_results_are_refused(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        results.Result.load(path)
