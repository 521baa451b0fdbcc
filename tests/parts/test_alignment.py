"""Closed-form maps as `align` fits them: what they find, and what they refuse."""

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.parts.alignment import AffineMaps, CanonicalMaps, ProcrustesMaps, RidgeMaps
from tests.metrics.samplers import rotation, vectors

ALL = [ProcrustesMaps(), AffineMaps(), RidgeMaps(), CanonicalMaps()]


def rotated(n=80):
    x = vectors("gaussian", n, 6, 0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return {"a": x, "b": x @ rotation(6)}


@pytest.mark.parametrize("model", [ProcrustesMaps(onto="b"), AffineMaps(onto="b"), RidgeMaps(onto="b", ridge=1e-9)])
def test_relations_a_rotation_is_found(model):
    pairs = rotated()
    fitted = model.fit(pairs)
    np.testing.assert_allclose(fitted.transform("a", pairs["a"]), fitted.transform("b", pairs["b"]), atol=1e-6)
    new = vectors("gaussian", 9, 6, 5)
    np.testing.assert_allclose(fitted.transform("a", new), fitted.transform("b", new @ rotation(6)), atol=1e-6)


@pytest.mark.parametrize("model", ALL, ids=repr)
def test_properties(model):
    pairs = rotated() | {"b": rotated()["b"][:, :4]}
    at_once = model.fit(pairs).transform("a", pairs["a"])
    np.testing.assert_allclose(np.linalg.norm(at_once, axis=1), 1)
    order = np.random.default_rng(0).permutation(80)
    keys = {"a": np.arange(80), "b": order}
    by_key = model.fit({"a": pairs["a"], "b": pairs["b"][order]}, keys=keys).transform("a", pairs["a"])
    np.testing.assert_allclose(by_key, at_once, atol=1e-7)
    # a record that counts for nearly nothing changes nearly nothing, a record of no shared item nothing
    twice = {"a": np.r_[pairs["a"], pairs["a"][::-1]], "b": pairs["b"]}
    keys = {"a": np.r_[np.arange(80), np.arange(80)], "b": np.arange(80)}
    weighed = model.fit(twice, keys=keys, weights={"a": np.r_[np.ones(80), np.full(80, 1e-9)]})
    np.testing.assert_allclose(weighed.transform("a", pairs["a"]), at_once, atol=1e-5)


def test_properties_three_modalities():
    pairs = rotated() | {"c": 2 * rotated()["a"] @ rotation(6, 7)}
    fitted = ProcrustesMaps(onto="b").fit(pairs)
    for m in "ac":
        np.testing.assert_allclose(fitted.transform(m, pairs[m]), fitted.transform("b", pairs["b"]), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: AffineMaps().fit({m: x[:5] for m, x in p.items()}), BadInput, "5 rows .* of width 6 span"),
        (lambda p: ProcrustesMaps(onto="c").fit(p), NotFound, "'c'"),
        (lambda p: ProcrustesMaps().fit({"a": p["a"]}), BadInput, "two modalities"),
        (lambda p: ProcrustesMaps().fit({**p, "b": p["b"][1:]}), BadInput, "same number of rows"),
        (
            lambda p: ProcrustesMaps().fit(p, keys={"a": np.arange(80), "b": np.arange(80) + 79}),
            BadInput,
            "80 items and .* has 80, and they share 1",
        ),
        (lambda p: RidgeMaps(ridge=0).fit(p), BadInput, "method affine"),
        (lambda p: CanonicalMaps().fit({**p, "c": p["a"]}), BadInput, "projectors takes more"),
        (lambda p: ProcrustesMaps().transform("a", p["a"]), BadInput, "not fitted"),
        (lambda p: ProcrustesMaps().fit(p).transform("x", p["a"]), NotFound, "'x'"),
        (lambda p: ProcrustesMaps().fit(p).transform("a", p["a"][:, 1:]), BadInput, "expecting 6"),
        (lambda p: ProcrustesMaps().fit({**p, "a": p["a"] * (np.arange(80) > 0)[:, None]}), BadInput, "a row 0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(rotated())
