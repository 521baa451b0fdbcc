import itertools

import numpy as np
import pytest
from scipy import stats

from isthmus.core.errors import BadInput
from isthmus.metrics import vectors
from isthmus.metrics.bootstrap import bootstrap_ci, bootstrap_means, paired_test, percentiles


def loop_p(differences):
    """Share of all sign assignments whose |Σ| reaches the observed one."""
    observed = abs(sum(differences))
    signs = list(itertools.product([1, -1], repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) for sign in signs]
    return sum(total >= observed - 1e-9 for total in sums) / len(signs)


def test_oracle_normal_interval():
    x = np.random.default_rng(0).standard_normal(800)
    low, high = bootstrap_ci(x, seed=1, n_boot=4000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert low == pytest.approx(x.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(x.mean() + half, abs=0.1 * half)


def test_oracle_all_resamples_of_two():
    """Two values: a quarter of the resamples is all the first, half is even, a quarter all the second."""
    means = bootstrap_means(np.array([[0.0], [1.0]]), np.ones((2, 1)), seed=0, n_boot=40_000)[:, 0]
    for value, share in ((0.0, 0.25), (0.5, 0.5), (1.0, 0.25)):
        assert np.mean(means == value) == pytest.approx(share, abs=0.02)


def test_oracle_scipy_bootstrap():
    x = np.random.default_rng(2).random(60) < 0.3
    theirs = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert bootstrap_ci(x, n_boot=5000) == pytest.approx((theirs.low, theirs.high), abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 7, 12])
def test_oracle_exact_p(n):
    rng = np.random.default_rng(n)
    a, b = rng.integers(5, size=n).astype(float), rng.integers(5, size=n).astype(float)
    assert paired_test(a, b).p == pytest.approx(loop_p((a - b).tolist()))


def test_oracle_scipy_permutation():
    rng = np.random.default_rng(3)
    a = rng.standard_normal(200)
    b = a + 0.12 + rng.standard_normal(200)
    theirs = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999, rng=0
    ).pvalue
    assert paired_test(a, b).p == pytest.approx(theirs, abs=0.02)


def test_oracle_rejects_as_often_as_it_says():
    rng = np.random.default_rng(4)
    rejected = [paired_test(*rng.standard_normal((2, 30)), seed=i, n_flips=400, n_boot=2).p <= 0.05 for i in range(400)]
    assert 0.02 <= np.mean(rejected) <= 0.08


def test_relations_equal_and_swapped():
    a, b = np.random.default_rng(0).random((2, 40))
    assert paired_test(a, a)[:2] == (0.0, 0.0)
    assert paired_test(a, a).p == 1.0
    there, back = paired_test(a, b), paired_test(b, a)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p == there.p


def test_relations_repeated_queries_of_a_cluster_tell_nothing_new():
    """Fourteen copies of each value under one key: the interval and p of the single values."""
    a, b = np.random.default_rng(1).random((2, 50))
    keys = np.repeat([f"k{i:02d}" for i in range(50)], 14)
    assert bootstrap_ci(np.repeat(a, 14), clusters=keys, seed=3) == pytest.approx(bootstrap_ci(a, seed=3))
    clustered = paired_test(np.repeat(a, 14), np.repeat(b, 14), clusters=keys, seed=3)
    assert clustered == pytest.approx(paired_test(a, b, seed=3))
    naive = bootstrap_ci(np.repeat(a, 14))
    true = bootstrap_ci(a)
    assert naive[1] - naive[0] < 0.5 * (true[1] - true[0])


def test_relations_clusters_of_one_change_nothing():
    x = np.random.default_rng(1).random(30)
    assert bootstrap_ci(x, clusters=np.arange(30)) == bootstrap_ci(x)


def test_properties():
    x = np.random.default_rng(0).random(100)
    assert bootstrap_ci(x, seed=5) == bootstrap_ci(x, seed=5)
    assert bootstrap_ci(x, seed=5) != bootstrap_ci(x, seed=6)
    narrow, wide = bootstrap_ci(x, level=0.5), bootstrap_ci(x, level=0.99)
    assert wide[0] < narrow[0] < x.mean() < narrow[1] < wide[1]
    assert bootstrap_ci(np.full(9, 0.25)) == (0.25, 0.25)
    assert paired_test(x + 1, x).p == pytest.approx(1 / 10_001)


def test_properties_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    bootstrap_ci(np.arange(5.0))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_properties_blocks_bound_memory(monkeypatch):
    """Many clusters: the resamples are drawn a few at a time, and the figures of one draw stay together."""
    monkeypatch.setattr(vectors, "CELLS", 300)
    x = np.random.default_rng(0).random((100, 1))
    means = bootstrap_means(np.hstack([x, 2 * x]), np.ones((100, 2)), n_boot=50)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    assert len(np.unique(means[:, 0])) == 50
    assert paired_test(x[:, 0], x[::-1, 0], n_flips=100).p > 0


def test_figures_that_some_clusters_lack():
    """A figure measured on 1 of 5 clusters is absent from a third of the resamples, which are left out."""
    sums, sizes = np.ones((5, 2)), np.ones((5, 2))
    sums[1:, 1] = sizes[1:, 1] = 0
    means = bootstrap_means(sums, sizes, n_boot=2000)
    assert np.isnan(means[:, 1]).mean() == pytest.approx(0.8**5, abs=0.04)
    assert [v.tolist() for v in percentiles(means)] == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_ci([1.0]), "1 queries in 1 cluster"),
        (lambda: bootstrap_ci([1.0, 2.0], clusters=["a", "a"]), "2 queries in 1 cluster"),
        (lambda: bootstrap_ci([1.0, np.nan]), "finite"),
        (lambda: bootstrap_ci([[1.0, 2.0]]), r"\(1, 2\)"),
        (lambda: bootstrap_ci([1.0, 2.0], clusters=["a"]), r"clusters have shape \(1,\)"),
        (lambda: bootstrap_ci([1.0, 2.0], level=1.0), "level 1.0"),
        (lambda: bootstrap_ci([1.0, 2.0], n_boot=0), "n_boot = 0"),
        (lambda: paired_test([1.0, 2.0], [1.0]), r"a \(2,\) and b \(1,\)"),
        (lambda: bootstrap_means(np.ones((3, 1)), np.ones((3, 2))), r"\(3, 1\).*\(3, 2\)"),
        (lambda: percentiles(np.full((4, 1), np.nan)), "no value"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()
