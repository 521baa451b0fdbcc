import pytest

from isthmus.core.errors import BadInput, IsthmusError, MissingExtra, NotFound, WrongFingerprint, did_you_mean
from isthmus.core.roles import Encoder, Objective, Scorer, SpaceMap


@pytest.mark.parametrize(
    ("name", "guess"), [("alin", "align"), ("ALIGN", "align"), ("one-to_k", "one_to_k"), ("zzz", None), ("", None)]
)
def test_did_you_mean(name, guess):
    assert did_you_mean(name, ["align", "embed", "one_to_k"]) == guess


def test_not_found_names_what_is_known():
    error = NotFound.named("method", "projektors", ["projectors", "align"], "look at the list")
    assert (
        str(error)
        == "unknown method 'projektors'; did you mean 'projectors'?; known: align, projectors; look at the list"
    )
    assert "…" in str(NotFound.named("method", "x", [f"m{i}" for i in range(40)]))
    assert str(NotFound.named("method", "x", [])) == "unknown method 'x'; no method is known"


def test_errors_are_also_what_python_programs_expect():
    for kind, builtin in [(BadInput, ValueError), (NotFound, LookupError), (MissingExtra, ImportError)]:
        assert issubclass(kind, IsthmusError) and issubclass(kind, builtin)
    assert issubclass(WrongFingerprint, BadInput)
    assert str(MissingExtra.of("torch", "torch", "align")).endswith("pip install 'isthmus[torch]'")


def test_roles_are_told_by_their_methods():
    class Thing:
        def loss(self, batch): ...
        def fit(self, pairs): ...
        def transform(self, modality, x): ...
        def encode(self, modality, x): ...

    thing = Thing()
    assert isinstance(thing, Objective) and isinstance(thing, SpaceMap) and isinstance(thing, Encoder)
    assert not isinstance(thing, Scorer)
