"""`embed` a second time: what is stored is not encoded again, and what is said of it is brought up to date."""

import dataclasses

import numpy as np

from isthmus.workbench.embed import embed
from tests.workbench.small_world import ByColour, colours


def test_records_told_of_otherwise_keep_their_vectors(tmp_path):
    source, encoder = colours(n=6), ByColour("text", 1)
    before = embed(source, encoders={"text": encoder}, out=tmp_path / "store").vectors("text")
    moved = [dataclasses.replace(r, group="c00") if r.key == "c03" else r for r in source.records]
    store = embed(dataclasses.replace(source, records=moved), encoders={"text": encoder}, out=tmp_path / "store")
    after = store.vectors("text")
    assert encoder.calls == 12, "nothing is encoded twice"
    assert dict(zip(after.ids, after.groups, strict=True))["c03|text|en"] == "c00"
    assert set(after.groups) == {"c00", "c01", "c02", "c04", "c05"} and len(after) == len(before) == 12
    order = {name: i for i, name in enumerate(before.ids.tolist())}
    np.testing.assert_array_equal(after.x, before.x[[order[name] for name in after.ids.tolist()]])
    parts = len(store.parts)
    assert (
        len(embed(dataclasses.replace(source, records=moved), encoders={"text": encoder}, out=store.path).parts)
        == parts
    )
