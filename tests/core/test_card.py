import math

import pytest

from isthmus.core.card import Card, Claim

FACTS = {
    "title": "A method",
    "authors": ("A. Uthor",),
    "year": 2024,
    "link": "https://example.org",
    "summary": "It does.",
    "needs": ("vectors",),
    "gives": ("vectors",),
    "modalities": ("any",),
}


def claim(**changes):
    return Claim(
        **({"task": "retrieval.v1", "metric": "r@1", "better": "new", "than": "old", "margin": 0.01} | changes)
    )


@pytest.mark.parametrize(
    ("changes", "better", "than", "gain"),
    [
        ({}, 0.5, 0.4, 0.1),
        ({"higher": False}, 0.5, 0.4, -0.1),
        ({"unit": "percent"}, 0.5, 0.4, 25.0),
        ({"unit": "percent", "higher": False}, 30.0, 40.0, 25.0),
        ({"unit": "percent"}, -2.0, -4.0, 50.0),
        ({"unit": "percent"}, 0.0, 0.0, 0.0),
        ({"unit": "percent"}, 0.5, 0.0, math.inf),
    ],
)
def test_gain(changes, better, than, gain):
    assert claim(**changes).gain(better, than) == pytest.approx(gain)


def test_no_control_needs_a_reason():
    with pytest.raises(ValueError, match="control_reason"):
        claim(control="none")
    assert claim(control="none", control_reason="measures speed")


def test_claim_reads_as_a_sentence():
    assert str(claim()) == "new > old in r@1 (retrieval.v1) by 0.01"
    assert str(claim(margin=0)) == "new > old in r@1 (retrieval.v1)"


def test_missing():
    card = Card(**FACTS, claim=claim(), delivers={"a": "Thing", "b": "missing: no data"})
    assert card.missing == {"b": "no data"}


@pytest.mark.parametrize("field", ["title", "authors", "link", "summary", "needs", "gives"])
def test_a_card_without_a_fact_is_refused(field):
    with pytest.raises(ValueError, match=field):
        Card(**(FACTS | {field: type(FACTS[field])()}), claim=claim())
