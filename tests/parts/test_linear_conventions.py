"""What scikit-learn asks of an estimator: by our own generators, and by its `check_estimator`."""

import copy

import numpy as np
import pytest

from isthmus.parts.linear import (
    CanonicalDirections,
    Centre,
    LeastSquares,
    Procrustes,
    RelativeProjection,
    RobustProcrustes,
    Standardise,
)
from tests.metrics.samplers import SHAPES, vectors

MODELS = [
    Centre(),
    Standardise(),
    LeastSquares(ridge=0.1),
    Procrustes(),
    RobustProcrustes(steps=5),
    CanonicalDirections(ridge=0.1),
    RelativeProjection(),
]
WORDS = "it is refused, in words of ours"
EXPECTED = {
    "check_complex_data": WORDS,
    "check_dtype_object": "an array of objects is refused, even one that holds numbers",
    "check_estimators_empty_data_messages": WORDS,
    "check_estimators_nan_inf": WORDS,
    "check_estimator_sparse_tag": "vectors are dense; the error does not name scipy",
    "check_estimator_sparse_array": "vectors are dense; the error does not name scipy",
    "check_estimator_sparse_matrix": "vectors are dense; the error does not name scipy",
    "check_fit2d_predict1d": WORDS,
    "check_fit2d_1sample": WORDS,
    "check_estimators_dtypes": "rows of zeros, which the check makes of small integers, have no direction",
}
"""Checks that fail, each with the reason."""


def data(shape):
    x = vectors(shape, 40, 5, 0)
    if shape == "low_rank":
        x = x + 1e-3 * np.abs(x).max() * vectors("gaussian", 40, 5, 3)
    return x, vectors("gaussian", 40, 3, 1) + x[:, :3] / np.abs(x).max()


@pytest.mark.parametrize("model", MODELS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
def test_conventions(model, shape):
    from sklearn.base import clone

    x, y = data(shape)
    before = x.copy(), y.copy()
    fresh = clone(model)
    assert fresh is not model and fresh.get_params() == model.get_params()
    assert not [name for name in vars(fresh) if name.endswith("_")]
    once = fresh.fit(x, y)
    assert once is fresh and fresh.n_features_in_ == 5
    state = copy.deepcopy(vars(fresh))
    first = fresh.transform(x)
    twice = fresh.fit(x, y).transform(x)
    np.testing.assert_array_equal(first, twice)
    other = clone(model).fit(x[:, ::-1], y)  # what was fitted before leaves nothing behind
    other.fit(x, y)
    for name, value in state.items():
        np.testing.assert_array_equal(value, getattr(other, name))
    np.testing.assert_array_equal(clone(model).fit_transform(x, y), first)
    np.testing.assert_allclose(np.concatenate([fresh.transform(x[:7]), fresh.transform(x[7:])]), first, rtol=1e-9,
                               atol=1e-9 * np.abs(first).max())  # fmt: skip
    assert fresh.transform(x.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def tagged(cls):
    """Return the class with the tags that scikit-learn's checks read, under a name that pickle finds."""
    from sklearn.base import BaseEstimator, TransformerMixin

    def tags(self):
        made = TransformerMixin.__sklearn_tags__(self)
        made.target_tags.required = cls in (LeastSquares, Procrustes, RobustProcrustes, CanonicalDirections)
        return made

    body = {"__init__": cls.__init__, "__module__": __name__, "__sklearn_tags__": tags, "__qualname__": cls.__name__}
    return type(cls.__name__, (cls, TransformerMixin, BaseEstimator), body)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_check_estimator(model, monkeypatch):
    from sklearn.utils.estimator_checks import check_estimator

    cls = tagged(type(model))
    monkeypatch.setitem(globals(), cls.__name__, cls)
    done = check_estimator(cls(**model.get_params()), expected_failed_checks=EXPECTED, on_skip=None, on_fail=None)
    assert not {r["check_name"]: r["exception"] for r in done if r["status"] == "failed"}
    assert sum(r["status"] == "passed" for r in done) >= 15
