import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.similarity import gram_cka, linear_cka, rbf_cka, rbf_gram
from tests.metrics.samplers import SHAPES, TOLERANCE, rotation
from tests.metrics.samplers import vectors as sample
from tests.oracles import similarity as oracle

BOTH = pytest.mark.parametrize("unbiased", [False, True])


def hsic(unbiased):
    return oracle.unbiased_hsic if unbiased else lambda k, l: oracle.biased_hsic(np.array(k), np.array(l))  # noqa: E741


@BOTH
@pytest.mark.parametrize("seed", [0, 1])
def test_oracle_linear(unbiased, seed):
    x, y = sample("gaussian", 8, 3, seed), sample("shifted", 8, 5, seed + 10)
    y[:, :3] += x
    expected = oracle.cka(oracle.linear_gram(x), oracle.linear_gram(y), hsic(unbiased))
    assert linear_cka(x, y, unbiased=unbiased) == pytest.approx(expected)


@BOTH
@pytest.mark.parametrize("bandwidth", [0.4, 1.0, 3.0])
def test_oracle_rbf(unbiased, bandwidth):
    x, y = sample("gaussian", 7, 3, 0), sample("low_rank", 7, 4, 1)
    k, l = oracle.rbf_gram(x, bandwidth), oracle.rbf_gram(y, bandwidth)  # noqa: E741
    np.testing.assert_allclose(rbf_gram(x, bandwidth=bandwidth), k)
    assert rbf_cka(x, y, bandwidth=bandwidth, unbiased=unbiased) == pytest.approx(oracle.cka(k, l, hsic(unbiased)))


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_relations_gram_and_feature_forms_agree(shape, dtype, unbiased):
    x, y = sample(shape, 60, 9, 0, dtype), sample("gaussian", 60, 90, 1, dtype)
    y[:, :9] += x / np.abs(x).max()
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    expected = gram_cka(wide_x @ wide_x.T, wide_y @ wide_y.T, unbiased=unbiased)
    assert linear_cka(x, y, unbiased=unbiased) == pytest.approx(expected, abs=TOLERANCE["float64"])


@BOTH
@pytest.mark.parametrize("cka", [linear_cka, rbf_cka])
@pytest.mark.parametrize("shape", SHAPES)
def test_relations_invariances(shape, cka, unbiased):
    x, y = sample(shape, 50, 6, 0), sample("gaussian", 50, 4, 1)
    y[:, 0] += x[:, 0] / np.abs(x[:, 0]).max()
    value = cka(x, y, unbiased=unbiased)
    order = np.random.default_rng(3).permutation(50)
    assert cka(x, x, unbiased=unbiased) == pytest.approx(1)
    assert cka(x @ rotation(6), y, unbiased=unbiased) == pytest.approx(value)
    assert cka(3.7 * x, -0.01 * y, unbiased=unbiased) == pytest.approx(value)
    assert cka(x[order], y[order], unbiased=unbiased) == pytest.approx(value)
    assert cka(x + np.abs(x).max(), y, unbiased=unbiased) == pytest.approx(value)
    assert cka(y, x, unbiased=unbiased) == pytest.approx(value)


def test_relations_independent():
    """Many items, few columns: both near 0. Few items, many columns: the biased one is inflated, the other not."""
    x, y = sample("gaussian", 4000, 5, 0), sample("gaussian", 4000, 5, 1)
    assert linear_cka(x, y) < 0.005
    assert abs(linear_cka(x, y, unbiased=True)) < 0.005
    few = [(sample("gaussian", 40, 200, s), sample("gaussian", 40, 200, s + 100)) for s in range(20)]
    assert min(linear_cka(a, b) for a, b in few) > 0.75
    assert abs(np.mean([linear_cka(a, b, unbiased=True) for a, b in few])) < 0.01


def test_relations_wide_kernel_is_linear():
    x, y = sample("gaussian", 60, 6, 0), sample("gaussian", 60, 6, 1)
    y += x
    assert rbf_cka(x, y, bandwidth=100) == pytest.approx(linear_cka(x, y), abs=1e-3)


def test_properties_bounds_and_breaking_the_pairs():
    x = sample("gaussian", 100, 10, 0)
    y = x @ np.random.default_rng(1).standard_normal((10, 8))
    paired, broken = linear_cka(x, y), linear_cka(x, y[np.random.default_rng(2).permutation(100)])
    assert 0 <= broken < paired <= 1


def test_properties_inputs_unchanged():
    x, y = sample("gaussian", 10, 3, 0), sample("gaussian", 10, 3, 1)
    k = x @ x.T
    copies = x.copy(), y.copy(), k.copy()
    for unbiased in (False, True):
        linear_cka(x, y, unbiased=unbiased)
        gram_cka(k, k, unbiased=unbiased)
    for now, before in zip((x, y, k), copies, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_cka(np.ones((3, 2)), np.ones((4, 2))), "same number of rows"),
        (lambda: linear_cka(np.ones((1, 2)), np.ones((1, 2))), r"n ≥ 2"),
        (lambda: linear_cka(np.eye(3), np.eye(3), unbiased=True), r"n ≥ 4"),
        (lambda: linear_cka(np.full((5, 2), 0.1), np.eye(5)), "equal rows"),
        (lambda: linear_cka(np.zeros((5, 2)), np.eye(5)), "equal rows"),
        (lambda: linear_cka(np.full((5, 2), np.nan), np.eye(5)), "x is not finite in row 0"),
        (lambda: gram_cka(np.ones((3, 2)), np.eye(3)), "linear_cka"),
        (lambda: gram_cka(np.triu(np.ones((3, 3))), np.eye(3)), "not a symmetric"),
        (lambda: gram_cka(np.eye(3), np.eye(4)), "same items"),
        (lambda: gram_cka(np.ones((3, 3)), np.eye(3)), "no variation"),
        (lambda: rbf_cka(np.eye(3), np.eye(3), bandwidth=0), "bandwidth 0"),
        (lambda: rbf_gram(np.ones((3, 3))), "median distance"),
        (lambda: linear_cka(np.eye(4), np.eye(4), unbiased=True), "too few items"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()
