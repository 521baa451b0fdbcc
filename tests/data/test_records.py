import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.errors import BadInput
from isthmus.data.card import DataCard
from isthmus.data.records import DataSet, Record, joined, text_record

CARD = {
    "name": "small",
    "title": "Small",
    "licence": "CC0",
    "attribution": "",
    "packages": (),
    "extra": "",
    "counts": "2",
    "modalities": ("text",),
    "variants": ("",),
    "split": "by hash",
    "near_duplicates": "none",
    "schemes": ("small",),
}


def test_a_text_record_holds_its_text():
    record = text_record("cat", "a cat", variant="en")
    assert record.id == "cat|text|en"
    assert record.load() == record.text == "a cat"
    assert record.digest() == hashlib.sha256(b"a cat").hexdigest()
    assert record.group == "cat", "alone in its group, a record is grouped by its key"
    assert text_record("cat", "a cat", group="felines").group == "felines"


@pytest.mark.parametrize("wrong", [{"key": ""}, {"modality": ""}, {"modality": "a|b"}, {"variant": "a|b"}])
def test_a_record_needs_a_key_and_plain_names(wrong):
    with pytest.raises(BadInput, match=r"a record needs a key.*without '\|'"):
        Record(**({"key": "k", "modality": "text", "load": str, "digest": str} | wrong))


def test_ids_are_unique():
    twice = [text_record("cat", "a cat"), text_record("cat", "the cat")]
    with pytest.raises(BadInput, match=r"1 ids occur more than once, such as 'cat\|text\|'"):
        DataSet("small", twice, DataCard(**CARD))


def test_a_data_set_describes_itself(tmp_path):
    dataset = DataSet("small", [text_record("b", "b"), text_record("a", "a")], DataCard(**CARD), tmp_path)
    assert len(dataset) == 2
    assert dataset.modalities == ["text"]
    assert [r.key for r in dataset.of("text")] == ["b", "a"]
    assert dataset.of("image") == []
    assert dataset.describe()["licence"] == "CC0"
    assert dataset.describe()["root"] == str(tmp_path)


def test_a_part_of_a_data_set():
    records = [text_record("cat", f"a cat in {v}", variant=v) for v in ("en", "fr", "de")]
    whole = DataSet("small", records, DataCard(**CARD))
    assert [r.variant for r in whole.only(["text"], {"text": ("fr", "en")}).records] == ["en", "fr"]
    assert whole.only(["text"]).records == records
    assert whole.only(["image"]).records == []


def test_a_card_is_complete():
    with pytest.raises(ValueError, match="'small': empty licence, split"):
        DataCard(**CARD | {"licence": "", "split": ""})


@given(
    keys=st.lists(st.integers(0, 12).map(str), unique=True, min_size=1),
    pairs=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12))),
)
def test_joined_is_connectedness(keys, pairs):
    alike = [[str(a), str(b)] for a, b in pairs if str(a) in keys and str(b) in keys]
    group = joined(keys, alike)
    reach = {key: {key} for key in keys}
    for _ in keys:  # the slow way: pass neighbours on until nothing changes
        for one, other in alike:
            reach[one] = reach[other] = reach[one] | reach[other]
            for key in reach[one]:
                reach[key] = reach[key] | reach[one]
    for key in keys:
        assert group[key] == min(reach[key], key=keys.index)
