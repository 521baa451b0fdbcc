import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from isthmus.core.errors import BadInput
from isthmus.metrics import vectors
from isthmus.metrics.hubness import hubness_skewness, k_occurrence, k_occurrence_of, orphan_share, robin_hood
from tests.metrics.samplers import vectors as sample
from tests.oracles import retrieval as oracle


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 25), st.integers(1, 30), st.integers(1, 3), st.integers(0, 2**31))
def test_oracle_loops_with_many_ties(q, n, k, d, seed):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.integers(-2, 3, size=(q, d)).astype(float), rng.integers(-2, 3, size=(n, d)).astype(float)
    expected = oracle.k_occurrence((queries @ gallery.T).tolist(), min(k, n))
    np.testing.assert_allclose(k_occurrence(queries, gallery, k), expected)


def test_oracle_neighbours():
    """Cosine neighbours of an independent implementation, the item itself left out."""
    x = sample("gaussian", 200, 8, 0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(x).kneighbors(return_distance=False)
    expected = np.bincount(found.ravel(), minlength=200)
    np.testing.assert_array_equal(k_occurrence(x, x, 10, exclude_self=True), expected)


def test_oracle_skewness():
    counts = np.random.default_rng(0).poisson(3, size=500)
    assert hubness_skewness(counts) == pytest.approx(stats.skew(counts))


def test_relations_k_occurrence():
    rng = np.random.default_rng(1)
    queries, gallery = rng.standard_normal((30, 5)), rng.standard_normal((12, 5))
    for k in (1, 3, 11):
        counts = k_occurrence(queries, gallery, k)
        assert counts.sum() == pytest.approx(30 * k)
        np.testing.assert_array_equal(counts, np.round(counts))
    np.testing.assert_array_equal(k_occurrence(queries, gallery, 12), np.full(12, 30))
    np.testing.assert_array_equal(k_occurrence(queries, gallery, 99), np.full(12, 30))
    np.testing.assert_array_equal(k_occurrence(np.eye(6), np.eye(6), 1), np.ones(6))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relations_a_collapsed_space_has_no_hubs(dtype):
    """Equal vectors share all places: position makes nobody a hub, whatever the rounding."""
    one = np.repeat(sample("gaussian", 1, 384, 0, dtype), 301, axis=0)
    counts = k_occurrence(one, one, 10)
    np.testing.assert_allclose(counts, 10)
    assert hubness_skewness(counts) == 0
    assert orphan_share(counts) == 0
    assert robin_hood(counts) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_relations_of_counts(n):
    even, one = np.full(n, 3.7), np.zeros(n)
    one[n // 2] = 40
    assert hubness_skewness(even) == 0
    assert robin_hood(even) == pytest.approx(0, abs=1e-12)
    assert orphan_share(even) == 0
    assert hubness_skewness(one) == pytest.approx((n - 2) / np.sqrt(n - 1))
    assert robin_hood(one) == pytest.approx(1 - 1 / n)
    assert orphan_share(one) == (n - 1) / n


def test_relations_symmetric_counts_have_no_skew():
    assert hubness_skewness([1, 2, 3, 4, 5]) == pytest.approx(0, abs=1e-12)
    assert hubness_skewness([9, 10, 10, 100]) > 1


def test_properties_hubs_grow_with_the_width():
    """The known effect: normal points, more dimensions, more skewed N_k."""
    skews = []
    for d in (3, 30, 300):
        x = sample("gaussian", 600, d, 0)
        # a hub is near the centre: Euclidean neighbours as an inner product with one more column
        lifted = np.hstack([x, -np.sum(x * x, axis=1, keepdims=True) / 2])
        skews.append(hubness_skewness(k_occurrence(np.hstack([x, np.ones((600, 1))]), lifted, 10, exclude_self=True)))
    assert skews[0] < 1 < skews[1] < skews[2]


def test_properties_order_and_blocks(monkeypatch):
    rng = np.random.default_rng(2)
    queries, gallery = rng.integers(-2, 3, size=(40, 3)).astype(float), rng.integers(-2, 3, size=(50, 3)).astype(float)
    counts = k_occurrence(queries, gallery, 7)
    order = rng.permutation(50)
    np.testing.assert_allclose(k_occurrence(queries[::-1], gallery[order], 7), counts[order])
    monkeypatch.setattr(vectors, "CELLS", 120)
    np.testing.assert_allclose(k_occurrence(queries, gallery, 7), counts)
    assert hubness_skewness(5 * counts) == pytest.approx(hubness_skewness(counts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: k_occurrence(np.ones((2, 3)), np.ones((2, 4))), "columns"),
        (lambda: k_occurrence(np.ones((2, 3)), np.ones((2, 3)), 0), "k = 0"),
        (lambda: k_occurrence(np.ones((2, 3)), np.ones((3, 3)), 1, exclude_self=True), "same 2 items"),
        (lambda: k_occurrence(np.ones((1, 3)), np.ones((1, 3)), 1, exclude_self=True), "same 2 items"),
        (lambda: k_occurrence(np.full((1, 3), np.nan), np.ones((1, 3))), "queries is not finite"),
        (lambda: hubness_skewness([]), r"\(0,\)"),
        (lambda: hubness_skewness([0, 0]), "not all 0"),
        (lambda: orphan_share([1, -1]), "≥ 0"),
        (lambda: robin_hood([[1]]), r"\(1, 1\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def test_k_occurrence_of_scores():
    x, y = np.random.default_rng(0).standard_normal((2, 40, 6))
    for k in (1, 3, 99):
        np.testing.assert_allclose(k_occurrence_of(x @ y.T, k), k_occurrence(x, y, k))
    np.testing.assert_allclose(k_occurrence_of(np.zeros((5, 4)), 2), [2.5] * 4)
    with pytest.raises(BadInput, match="k = 0"):
        k_occurrence_of(np.eye(3), 0)
    with pytest.raises(BadInput, match="not finite"):
        k_occurrence_of(np.full((2, 2), np.nan))
