"""A card is complete, true, and says the same to whoever reads it."""

import ast

import pytest

from isthmus.workbench.facts import CHECKS
from isthmus.workbench.review import card_errors, target_errors


def test_name(entry):
    assert entry.name.isidentifier()
    assert entry.name == entry.name.lower()


def test_card_is_complete(entry):
    assert not card_errors(entry)
    card = entry.card
    assert card.title and card.summary and card.authors and card.modalities and card.delivers
    assert 1970 <= card.year <= 2100
    assert card.link.startswith("https://")
    assert all(isinstance(text, str) and text for texts in (card.needs, card.gives, card.gaps) for text in texts)


def test_card_read_from_the_file_is_the_card_of_the_module(entry):
    assert entry.card == entry.load().CARD


def test_module_offers_the_three_names(entry):
    module = entry.load()
    assert {"CARD", "toy", "run"} <= set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    assert callable(module.toy) and callable(module.run)


def test_docstring(entry):
    text = ast.get_docstring(ast.parse(entry.path.read_text(encoding="utf-8"))) or ""
    for part in ("Relations", "Departures"):
        assert part in text, f"the docstring of {entry.path.name} has no {part}"


def test_targets_exist(entry):
    assert not {name: error for name, error in target_errors(entry, entry.load()).items() if error}


def test_facts_hold(entry, subtests):
    for fact in entry.card.facts:
        with subtests.test(fact):
            assert not CHECKS[fact](entry)


@pytest.mark.parametrize("field", ["better", "than"])
def test_arms_are_no_reference_arms(entry, field):
    for claim in (entry.card.claim, *entry.card.further):
        assert getattr(claim, field) not in ("best",)
        assert claim.better != claim.than
