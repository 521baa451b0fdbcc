"""`isthmus train`: what it writes, that it starts again from it, and what it refuses."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from isthmus.workbench.train import planned, train
from tests import require

from .conftest import isthmus, refused

SMALL = ("--set", "steps=4", "--set", "world.n=40", "--set", "batch=8")


@pytest.fixture(scope="module", autouse=True)
def packages():
    require.module("tokenizers", "train")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    done = isthmus("train", "dual_tiny", "world", *SMALL, "--set", "world.max_objects=3", "--out", out, "--json")
    assert done.code == 0, done.err
    return out, done.json


def test_what_it_writes(run):
    out, record = run
    stored = json.loads((out / "run.json").read_text())
    assert stored["method"] == "dual_tiny" and stored["data"] == ["world"] and stored["settings"]["steps"] == 4
    assert stored["options"]["world"]["max_objects"] == 3 and stored["options"]["world"]["n"] == 40
    assert record["items"] == 40 and len((out / "log.jsonl").read_text().splitlines()) == 4


def test_from_its_settings_file(run, tmp_path):
    out, record = run
    again = isthmus("train", "--from", out / "run.json", "--out", tmp_path / "again", "--json").json
    assert {k: again[k] for k in ("digest", "items")} == {k: record[k] for k in ("digest", "items")}
    heads = [json.loads((folder / "dual.json").read_text()) for folder in (out, tmp_path / "again")]
    assert heads[0]["sha256"] == heads[1]["sha256"]
    plan = planned(None, settings={"steps": "5"}, run=out / "run.json")
    assert plan.settings["steps"] == 5 and plan.settings["batch"] == 8 and plan.method == "dual_tiny"


def test_embed_by_name(run, tmp_path):
    store = tmp_path / "store"
    encoders = [f"--encoder={m}=dual/{run[0]}" for m in ("image", "text")]
    assert isthmus("embed", "world", *encoders, "--out", store, "--knob", "n=20", "--knob", "max_objects=3").code == 0
    done = isthmus("evaluate", store, "--space", f"dual/{run[0]}", "--json")
    assert done.code == 0, done.err
    wrong = isthmus("embed", "world", *encoders, "--out", tmp_path / "b", "--knob", "max_object=1")
    assert "did you mean 'max_objects'" in refused(wrong)


def test_maps_on_a_store(made, tmp_path):
    done = isthmus("train", "cwcl", made.store, "--set", "steps=5", "--out", tmp_path / "space", "--json")
    assert done.code == 0, done.err
    stored = json.loads((tmp_path / "space" / "run.json").read_text())
    assert stored["method"] == "cwcl" and stored["settings"]["steps"] == 5
    done = isthmus("train", "--from", tmp_path / "space" / "run.json", "--out", tmp_path / "again")
    assert done.code == 0, done.err
    assert isthmus("evaluate", made.store, "--space", tmp_path / "again").code == 0


def test_two_processes_come_to_the_weights_of_one(tmp_path):
    given = {"steps": 3, "batch": 8, "world.n": 24}
    plan = planned("dual_tiny", settings=given)
    found = []
    for processes in (1, 2):
        train(plan, out=tmp_path / str(processes), processes=processes)
        found.append(load_file(next((tmp_path / str(processes)).glob("model-*.safetensors"))))
    one, two = found
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=2e-5, err_msg=name)
    logs = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in "12"]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dul",), "unknown method to train 'dul'; did you mean 'dual'"),
        ((), "name what to train"),
        (("dual_tiny", "--set", "stesp=3"), "unknown setting of Settings 'stesp'; did you mean 'steps'"),
        (("dual_tiny", "--set", "steps=many"), "'many' is not int"),
        (("dual_tiny", "--set", "world.max_object=3"), "unknown knob 'max_object'; did you mean 'max_objects'"),
        (("dual_tiny", "--set", "wrold.n=3"), "did you mean 'world'"),
        (("dual_tiny", "--from", "nowhere.json"), "nowhere.json: no such file"),
        (("dual_tiny", "--processes", "0"), "processes = 0"),
        (("dual_tiny", "--set", "batch=9", "--processes", "2", "--set", "steps=1"), "as many for each of 2 processes"),
        (("cwcl",), "learns from a store"),
        (("cwcl", "somewhere"), "say where with --out"),
    ],
)
def test_errors(arguments, message, tmp_path):
    out = () if arguments[:1] == ("cwcl",) else ("--out", tmp_path / "out")
    assert message in refused(isthmus("train", *arguments, *out), at_work=True)


def test_a_folder_of_another_training(run):
    done = isthmus("train", "--from", run[0] / "run.json", "--set", "steps=6", "--out", run[0])
    assert done.code == 2, "found after reading the data, because they may have changed too"
    assert "holds another training: settings.steps is 4 there and 6 here" in done.err.splitlines()[-1]


def test_too_few_items(tmp_path):
    done = isthmus("train", "dual_tiny", "--set", "world.n=1", "--out", tmp_path)
    assert done.code == 2 and "1 items have a picture and a text in en" in done.err.splitlines()[-1]


def test_a_settings_file_that_is_none(tmp_path):
    file = tmp_path / "run.json"
    for text, message in (
        ("{", "cannot be read"),
        ("[]", "is no settings file"),
        ('{"method": "dual"}', "no settings"),
    ):
        file.write_text(text)
        assert message in refused(isthmus("train", "--from", file))
    file.write_text(json.dumps({"method": "dual_tiny", "data": ["world"], "options": {}, "settings": {"stesp": 1}}))
    assert "did you mean 'steps'" in refused(isthmus("train", "--from", file))
    assert "is of the method dual_tiny, not cwcl" in refused(isthmus("train", "cwcl", "--from", file))
