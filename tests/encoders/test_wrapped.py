import functools

import numpy as np
import pytest
from PIL import Image

from isthmus.core.errors import BadInput
from isthmus.encoders import wrap


def letters(items):
    """Count a, b and c."""
    return np.array([[item.count(c) for c in "abc"] for item in items], dtype=float)


def test_a_function(tmp_path):
    encoder = wrap(letters, modality="text")
    assert (encoder.fingerprint.encoder, encoder.fingerprint.dim, encoder.modality) == ("letters", 3, "text")
    vectors = encoder.encode("text", ["abba", "cab", "c"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 2, 0], [1, 1, 1], [0, 0, 1]]
    with pytest.raises(BadInput, match="zeros for 1 of 2 items, first for item 1"):
        encoder.encode("text", ["a", ""])
    assert encoder.encode("text", []).shape == (0, 3)
    assert np.array_equal(encoder.encode("text", ["a", "b", "c"], batch_size=2), np.eye(3))


def test_tensors_and_objects():
    import torch

    class Brightness:
        """A model with weights that need a gradient."""

        scale = torch.nn.Parameter(torch.ones(1))

        def __call__(self, items):
            return torch.tensor([[float(np.asarray(i).mean())] for i in items]) * self.scale

    encoder = wrap(Brightness(), modality="image")
    assert encoder.fingerprint.encoder == "Brightness"
    assert encoder.encode("image", [Image.new("RGB", (4, 4), (30, 30, 30))]).tolist() == [[30.0]]


def test_the_width_is_given_or_tried():
    tried = []

    def spy(items):
        tried.extend(items)
        return np.zeros((len(items), 2))

    assert wrap(spy, modality="smell", dim=2).fingerprint.dim == 2
    assert not tried, "a declared width is not tried"
    assert wrap(spy, modality="smell", probe=["rose"]).fingerprint.dim == 2
    assert tried == ["rose"]
    with pytest.raises(BadInput, match=r"the width of spy is not known: give dim=…, or items to try it on as probe="):
        wrap(spy, modality="smell")


def test_fingerprints():
    def other(items):
        return letters(items) + 1

    one = wrap(letters, modality="text", dim=3).fingerprint
    assert one == wrap(letters, modality="text", dim=3).fingerprint
    assert one.weights != wrap(other, modality="text", dim=3).fingerprint.weights, "another code"
    assert wrap(print, modality="smell", dim=3, revision="1").fingerprint.encoder == "print", "it has no source"
    first, second = (wrap(letters, modality="text", dim=3, revision=r).fingerprint for r in "12")
    assert [d.split()[0] for d in first.differences(second)] == ["weights"]
    assert wrap(lambda items: letters(items), modality="text", name="mine").fingerprint.encoder == "mine"


def test_errors():
    with pytest.raises(BadInput, match=r"letters gave shape \(1, 3\) for 1 items; expected \(1, 4\)"):
        wrap(letters, modality="text", dim=4).encode("text", ["a"])
    with pytest.raises(BadInput, match="NaN or infinity for 1 of 1"):
        wrap(lambda items: letters(items) * np.nan, modality="text").encode("text", ["a"])
    with pytest.raises(BadInput, match="not 'image'"):
        wrap(letters, modality="text").encode("image", ["a"])
    for wrong in (lambda items: np.zeros(3), lambda items: np.zeros((2, 3))):
        with pytest.raises(BadInput, match=r"gave shape .* for 1 items; expected \(1, d\)"):
            wrap(wrong, modality="text")


class Model:
    """Two of these have the same code and give other vectors."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, items):
        return letters(items) * self.factor + np.arange(3) * (self.factor - 1)

    def encode(self, items):
        return self(items)


@pytest.mark.parametrize(
    "make",
    [Model, lambda f: Model(f).encode, lambda f: functools.partial(Model.encode, Model(f))],
    ids=["object", "method", "partial"],
)
def test_models_behind_the_same_code_are_told_apart(make):
    one, same, other = (wrap(make(f), modality="text", name="mine").fingerprint for f in (1, 1, 2))
    assert one == same
    assert [d.split()[0] for d in one.differences(other)] == ["weights"]
    with pytest.raises(BadInput, match=r"whose code does not tell which model it calls: give revision="):
        wrap(make(1), modality="smell", dim=3, name="mine")
    assert wrap(make(1), modality="smell", dim=3, name="mine", revision="1").fingerprint.dim == 3
