import dataclasses
import json
import math

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.data.splits import holdout
from isthmus.index.index import Index
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench import demo as module
from isthmus.workbench.demo import demo, headline, next_commands
from isthmus.workbench.report_page import held
from tests.workbench.small_world import ByColour, colours, open_colour

pytest.importorskip("torch", reason="needs the package torch: the demo trains")

QUICK = {"width": 16, "steps": 20, "batch": 32}
DIRECTIONS = ("text_to_image", "image_to_text")


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    monkeypatch.setattr(held, "open_uri", open_colour)


def indexed(out):
    index = Index.open(out / "index")
    return {hit.key for hit in index.search(np.ones((1, index.space.dim), np.float32), k=1000, modality="image")[0]}


def encoders():
    return {"text": ByColour("text", 1), "image": ByColour("image", 2)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    used, stages = encoders(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "open_uri", open_colour)
        metrics = demo(
            colours(),
            out=out,
            splits=2,
            encoders=used,
            settings=QUICK,
            progress=lambda stage, done, total: stages.append(stage),
        )
    return out, metrics, used, stages


def test_writes_what_it_promises(ran):
    out, metrics, _, stages = ran
    assert {p.name for p in out.iterdir()} == {"store", "space", "index", "metrics.json", "report.html"}
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == metrics
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {"embed text", "embed image"} <= set(stages)
    assert len(next_commands(out)) == 3 and all(c.startswith("isthmus ") for c in next_commands(out))


def test_metrics_have_the_shape_that_was_asked_for(ran):
    _, metrics, _, _ = ran
    for direction in DIRECTIONS:
        assert list(metrics[direction]) == ["en", "ar"]
        for row in [*metrics[direction].values(), metrics["mean_over_languages"][direction]]:
            assert 0 <= row["r@1"] <= row["r@5"] <= row["r@10"] <= 1
        assert metrics[direction]["en"]["n"] == 12
        over = metrics["over_splits"][direction]
        assert set(over) == {"en", "ar", "mean_over_languages"}
        assert math.isclose(over["mean_over_languages"]["r@5"], (over["en"]["r@5"] + over["ar"]["r@5"]) / 2)
    assert {"pairs", "modalities"} <= set(metrics["diagnostics"])
    assert len(headline(metrics)) == 4
    seconds = metrics["seconds"]
    assert set(seconds["encoders"]) == {"text", "image"}
    assert seconds["raw_encoder"] <= seconds["embed"] <= seconds["total"]


def test_nothing_held_out_was_trained_on(ran, monkeypatch, tmp_path):
    seen = []
    true_align = module.align

    def align(store, **others):
        space = true_align(store, **others)
        seen.append(set(space.card["training"]["keys"]))
        return space

    monkeypatch.setattr(module, "align", align)
    source = colours()
    demo(source, out=tmp_path / "out", splits=2, encoders=encoders(), settings=QUICK)
    keys = [r.key for r in source.records]
    for k, trained in enumerate(seen):
        split = holdout(keys, [r.group for r in source.records], split=k, n=12)
        assert trained == split.train and not trained & split.test


def test_index_holds_every_item_and_the_space_is_that_of_split_0(ran):
    out, _, _, _ = ran
    assert indexed(out) == {f"c{i:02d}" for i in range(60)}
    assert Space.load(out / "space").card["training"]["items"] == 48


def test_second_run_encodes_nothing_and_finds_the_same(ran, tmp_path):
    out, first, _, _ = ran
    again = encoders()
    second = demo(colours(), out=out, splits=2, encoders=again, settings=QUICK)
    assert all(encoder.calls == 0 for encoder in again.values())
    for part in (*DIRECTIONS, "mean_over_languages", "over_splits", "diagnostics"):
        assert second[part] == first[part]


def test_files_of_others_stay(tmp_path):
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(BadInput, match=r"holds metrics\.json, and no store of a demo: choose another folder"):
        demo(colours(), out=tmp_path, encoders=encoders(), settings=QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_items_with_relatives_in_the_training_are_counted_apart(ran, tmp_path):
    assert ran[1]["relatives"] == {}, "a source that knows no relatives"
    world = colours()
    related = [
        dataclasses.replace(r, meta={**r.meta, "relatives": f"r{i % 20}" if i < 40 else f"alone {i}"})
        for i, r in enumerate(world.of("image"))
    ]
    world = dataclasses.replace(world, records=[*related, *world.of("text")])
    metrics = demo(world, out=tmp_path / "out", encoders=encoders(), settings=QUICK)
    found = metrics["relatives"]["text_to_image"]
    assert found["with"]["n"] + found["without"]["n"] == 12 and found["with"]["n"] > 0
    mean = sum(found[part]["n"] * found[part]["r@5"] for part in found) / 12
    assert math.isclose(mean, metrics["text_to_image"]["en"]["r@5"])
    assert "the item has a relative in the training" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_items_that_left_the_source_are_not_used(tmp_path):
    demo(colours(), out=tmp_path / "out", encoders=encoders(), settings=QUICK)
    fewer = demo(colours(n=30), out=tmp_path / "out", encoders=encoders(), settings=QUICK)
    assert fewer["held_out"] == 6 and fewer["text_to_image"]["en"]["n"] == 6
    assert indexed(tmp_path / "out") == {f"c{i:02d}" for i in range(30)}
    assert len(Store.open(tmp_path / "out" / "store").vectors("image")) == 60


def test_stopped_run_leaves_no_results_of_an_older_one(tmp_path, monkeypatch):
    demo(colours(), out=tmp_path / "out", encoders=encoders(), settings=QUICK)

    def stop(*args, **others):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        demo(colours(), out=tmp_path / "out", encoders=encoders(), settings=QUICK)
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert not (tmp_path / "out" / "report.html").exists()


def test_store_of_other_encoders_is_refused_before_any_work(tmp_path):
    demo(colours(n=20), out=tmp_path / "out", encoders=encoders(), settings=QUICK)
    others = {"text": ByColour("text", 1), "image": ByColour("image", 3)}
    with pytest.raises(BadInput, match="another encoder than this demo's: weights is"):
        demo(colours(n=20), out=tmp_path / "out", encoders=others, settings=QUICK)
    assert others["image"].calls == 0 and (tmp_path / "out" / "metrics.json").exists()


def test_errors(tmp_path):
    with pytest.raises(BadInput, match="splits = 0"):
        demo(colours(), out=tmp_path, splits=0)
    with pytest.raises(BadInput, match="two modalities"):
        demo(colours(), out=tmp_path, encoders={"text": ByColour("text", 1)})
    with pytest.raises(BadInput, match="needs 10"):
        demo(colours(n=9), out=tmp_path / "few", encoders=encoders())


def spoken():
    """The colours, called out in two languages of three; a card that leaves one language of the names out."""
    world = colours(languages=("ar", "en", "fr"))
    calls = [
        dataclasses.replace(r, modality="speech")
        for i, r in enumerate(world.of("text"))
        if r.variant in ("ar", "fr") and i % 7
    ]
    card = dataclasses.replace(
        world.card, variants=("text: a language",), demo={"text": ("en", "ar"), "speech": ("ar", "fr")}
    )
    return dataclasses.replace(world, records=[*world.records, *calls], card=card)


def test_three_modalities_in_six_directions(tmp_path):
    three = {**encoders(), "speech": ByColour("speech", 3)}
    metrics = demo(spoken(), out=tmp_path / "out", encoders=three, settings=QUICK)
    assert list(metrics["mean_over_languages"]) == [
        "text_to_image", "image_to_text", "text_to_speech", "speech_to_text", "image_to_speech", "speech_to_image",
    ]  # fmt: skip
    assert list(metrics["text_to_image"]) == ["en", "ar"], "in the order of the card, without what it leaves out"
    assert list(metrics["speech_to_image"]) == ["ar", "fr"]
    assert set(metrics["diagnostics"]["pairs"]) == {"text:image", "text:speech", "image:speech"}
    assert set(Space.load(tmp_path / "out" / "space").maps) == {"text", "image", "speech"}
    assert "speech → image" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
