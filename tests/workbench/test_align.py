"""`align`: what is held out, and what is left behind when it fails."""

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.data.splits import holdout
from isthmus.workbench.align import align
from isthmus.workbench.embed import embed
from isthmus.workbench.evaluate import evaluate
from tests.workbench.small_world import ByColour, colours

pytest.importorskip("torch", reason="needs the package torch: projectors train")

FEW = {"steps": 5, "width": 8}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    encoders = {"text": ByColour("text", 1), "image": ByColour("image", 2)}
    return embed(colours(), encoders=encoders, out=tmp_path_factory.mktemp("align") / "store")


def test_held_out_items_are_named_kept_apart_and_measured(store, tmp_path):
    space = align(store, modalities=["image", "text"], settings=FEW, hold_out=12, split=3, out=tmp_path / "space")
    training = space.card["training"]
    keys = sorted(set(store.records("image", ["key"])["key"].to_pylist()))
    parts = holdout(keys, keys, split=3, n=12)
    assert set(training["held_out"]) == parts.test and set(training["keys"]) == parts.train and training["split"] == 3
    assert training["records"] == {"image": 48, "text": 96}
    found = evaluate(store, space=space)
    assert found.directions["text_to_image"]["en"]["n"] == 12 and "held out" in found.notes[0]
    same = align(store, modalities=["image", "text"], settings=FEW, keys=parts.train)
    x = store.vectors("text").x
    np.testing.assert_array_equal(space.transform("text", x), same.transform("text", x))


def test_a_failed_fit_leaves_no_folder(store, tmp_path):
    with pytest.raises(BadInput, match="must be positive"):
        align(store, modalities=["image", "text"], settings={"steps": 0}, out=tmp_path / "space")
    with pytest.raises(BadInput, match="cannot hold out 60 of 60"):
        align(store, modalities=["image", "text"], hold_out=60, out=tmp_path / "space")
    assert not (tmp_path / "space").exists()
