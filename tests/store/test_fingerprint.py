import dataclasses
import doctest
import json

import pytest

from isthmus.core.errors import BadInput, WrongFingerprint
from isthmus.store import fingerprint as module
from isthmus.store.fingerprint import Fingerprint
from tests.store.rows import fingerprint

OTHER = {
    "encoder": "large",
    "modality": "image",
    "dim": 5,
    "weights": "cd" * 32,
    "preprocess": "none",
    "pooling": "max",
    "normalised": True,
    "dtype": "float16",
    "prompt": "query: ",
}


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_every_field_counts():
    assert set(OTHER) == {f.name for f in dataclasses.fields(Fingerprint)}
    one = fingerprint()
    for name, value in OTHER.items():
        two = dataclasses.replace(one, **{name: value})
        assert two.digest != one.digest
        assert one.differences(two) == [f"{name} is {getattr(one, name)!r} here and {value!r} there"]
        with pytest.raises(WrongFingerprint, match=name):
            one.require(two, "the query")


def test_equal_ones_agree():
    one, two = fingerprint(), fingerprint()
    one.require(two, "the query")
    assert one.digest == two.digest
    assert one.column == f"tiny@{one.digest[:8]}"
    assert one.differences(two) == []


def test_json_round_trip():
    one = fingerprint(prompt="naïve 🙂")
    assert Fingerprint.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 0},
        {"encoder": ""},
        {"modality": ""},
        {"modality": "a|b"},
        {"dim": 4.0},
        {"dim": True},
        {"normalised": 1},
    ],
    ids=str,
)
def test_errors(changes):
    with pytest.raises(BadInput, match=next(iter(changes))):
        fingerprint(**changes)


def test_foreign_json_is_named():
    stored = fingerprint().to_json()
    with pytest.raises(BadInput, match=r"missing .'weights'."):
        Fingerprint.from_json({k: v for k, v in stored.items() if k != "weights"})
    with pytest.raises(BadInput, match=r"unknown .'colour'."):
        Fingerprint.from_json({**stored, "colour": "red"})
    with pytest.raises(BadInput, match="JSON object"):
        Fingerprint.from_json([1])
