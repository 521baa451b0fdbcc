import numpy as np
import pytest

from isthmus import data, encoders
from isthmus.core.errors import BadInput
from isthmus.core.run import Run
from isthmus.tasks.features import features
from tests.workbench.small_world import ByColour, colours


@pytest.fixture
def loads(monkeypatch):
    """The small data set and its encoder by any name; the encoders that were loaded, with what they encoded."""
    made = []

    def load(name, modality):
        made.append(ByColour(modality, len(name)))
        return made[-1]

    monkeypatch.setattr(encoders, "load", load)
    monkeypatch.setattr(data, "load", lambda name: colours(int(name)))
    return made


def context(tmp_path, **changes):
    return Run(budget="smoke", seed=0, out=tmp_path, cache=tmp_path / "cache", **changes)


def test_they_are_encoded_once(loads, tmp_path):
    first = features(context(tmp_path), "60", "text", encoder="one")
    assert (first.x.shape, loads[0].calls) == ((120, 8), 120)
    expected = ByColour("text", 3).encode("text", [r.load() for r in colours(60).of("text")])
    np.testing.assert_array_equal(first.x, expected)
    assert first.keys[:2].tolist() == ["c00", "c00"] and first.variants[:2].tolist() == ["en", "ar"]
    again = features(context(tmp_path), "60", "text", encoder="one")
    assert loads[1].calls == 0
    np.testing.assert_array_equal(again.x, first.x)


def test_what_is_another_thing_is_encoded_anew(loads, tmp_path):
    for name, modality, encoder, variants, rows in (
        ("60", "text", "one", None, 120),
        ("60", "text", "one", ("en",), 60),
        ("59", "text", "one", None, 118),
        ("60", "text", "three", None, 120),
        ("60", "image", "one", None, 60),
    ):
        found = features(context(tmp_path), name, modality, encoder=encoder, variants=variants)
        assert len(found.x) == loads[-1].calls == rows
    part = found.take(found.keys < "c03")
    assert part.keys.tolist() == ["c00", "c01", "c02"] and part.x.shape == (3, 8)


def test_errors(loads, tmp_path):
    with pytest.raises(BadInput, match=r"60 has no text records of \['fr'\]"):
        features(context(tmp_path), "60", "text", encoder="one", variants=("fr",))
