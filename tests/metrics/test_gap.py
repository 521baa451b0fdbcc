import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from isthmus.core.errors import BadInput
from isthmus.metrics.gap import cross_uniformity, separability
from isthmus.metrics.geometry import uniformity
from tests.metrics.samplers import rotation


def clouds(shift, n=60, d=6, seed=0):
    rng = np.random.default_rng(seed)
    centre = np.zeros(d)
    centre[0] = shift
    return rng.standard_normal((n, d)) + centre, rng.standard_normal((n, d)) - centre


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_oracle_separability(shift):
    """The plane is scikit-learn's, on the rows that the documented permutation leaves."""
    a, b = clouds(shift)
    order = np.random.default_rng(4).permutation(60)
    x, y = (v[order] / np.linalg.norm(v[order], axis=1, keepdims=True) for v in (a, b))
    plane = LogisticRegression(tol=1e-8, max_iter=1000).fit(np.r_[x[12:], y[12:]], np.repeat([1, 0], 48))
    assert separability(a, b, seed=4) == plane.score(np.r_[x[:12], y[:12]], np.repeat([1, 0], 12))


def test_oracle_cross_uniformity():
    a, b = clouds(0.5, n=11)
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    for t in (0.5, 2.0):
        terms = [math.exp(-t * float(((x[i] - y[j]) ** 2).sum())) for i in range(11) for j in range(11) if i != j]
        assert cross_uniformity(a, b, t=t) == pytest.approx(math.log(sum(terms) / len(terms)))


def test_relations():
    a, b = clouds(0.2)
    assert separability(a, a) == 0.5
    assert separability(*clouds(20)) == 1.0
    turn = rotation(6, 3)
    assert separability(a @ turn, b @ turn) == separability(a, b)
    assert cross_uniformity(a, a) == pytest.approx(uniformity(a))
    assert cross_uniformity(np.ones((4, 3)), np.ones((4, 3))) == pytest.approx(0)
    assert cross_uniformity(np.ones((4, 3)), -np.ones((4, 3))) == pytest.approx(-8)
    # what a pair itself does is not seen: of two pairs only the two strangers count
    x, y = np.eye(3)[:2], np.eye(3)[[0, 1]]
    assert cross_uniformity(x, y) == pytest.approx(-4)
    assert cross_uniformity(x, y[::-1]) == pytest.approx(0)


def test_properties():
    a, b = clouds(0.7)
    assert separability(a, b) == separability(3 * a, 0.1 * b)
    assert separability(a, b[:50]) == separability(a, b[:50])  # sides of unequal length
    found = [separability(*clouds(s, n=400)) for s in (0.0, 0.4, 1.5)]
    assert found[0] < 0.62 < found[1] < found[2]
    assert 0 <= separability(a, b, sample=20) <= 1
    assert cross_uniformity(a, b, sample=30, seed=1) != cross_uniformity(a, b, sample=30, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        whole = cross_uniformity(a, b)
        patch.setattr("isthmus.metrics.vectors.CELLS", 100)  # many blocks
        assert cross_uniformity(a, b) == pytest.approx(whole)


def test_errors():
    a, b = clouds(0.5)
    with pytest.raises(BadInput, match="at least 5"):
        separability(a, b, sample=4)
    with pytest.raises(BadInput, match="n ≥ 5"):
        separability(a[:4], b)
    with pytest.raises(BadInput, match="all zeros"):
        separability(0 * a, b)
    with pytest.raises(BadInput, match="columns"):
        separability(a, b[:, :3])
    with pytest.raises(BadInput, match="pairs in one space"):
        cross_uniformity(a, b[:30])
    with pytest.raises(BadInput, match="at least 2 pairs"):
        cross_uniformity(a, b, sample=1)
