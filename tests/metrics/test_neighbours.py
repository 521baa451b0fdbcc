import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.local_cka import local_cka
from isthmus.metrics.neighbours import jaccard_knn, mutual_knn, neighbours, rsa, svcca
from tests.metrics.samplers import SHAPES, rotation
from tests.metrics.samplers import vectors as sample
from tests.oracles import neighbours as oracle
from tests.oracles import similarity

METRICS = [mutual_knn, jaccard_knn, rsa, svcca]


def related(shape="gaussian", n=30):
    x = sample(shape, n, 5, 0)
    return x, x[:, :4] / np.abs(x).max() + 0.3 * sample("gaussian", n, 4, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle(shape):
    x, y = related(shape)
    mutual, jaccard = oracle.mutual(x, y, 4)
    assert mutual_knn(x, y, 4) == pytest.approx(mutual)
    assert jaccard_knn(x, y, 4) == pytest.approx(jaccard)
    assert rsa(x, y) == pytest.approx(oracle.rsa(x, y))
    if shape != "low_rank":
        assert svcca(x, y, kept=0.9) == pytest.approx(oracle.svcca(x, y, 0.9))


def test_oracle_local_cka():
    x, y = related(n=12)
    a, b, p, q = x[:8], y[:8], x[8:], y[8:]
    found = local_cka(a, b, p, q)
    for i in range(4):
        for j in range(4):
            grams = [similarity.linear_gram(np.vstack([v, w])) for v, w in ((a, p[i]), (b, q[j]))]
            assert found[i, j] == pytest.approx(similarity.cka(*grams, lambda k, l: similarity.biased_hsic(  # noqa: E741
                np.array(k), np.array(l))))  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_relations(metric, shape):
    x, y = related(shape, 40)
    value = metric(x, y)
    order = np.random.default_rng(3).permutation(40)
    assert metric(x, x) == pytest.approx(1)
    assert metric(3 * x @ rotation(5), y) == pytest.approx(value, abs=1e-6)
    assert metric(y, x) == pytest.approx(value)
    if shape != "clustered":  # near-ties fall to the item that comes first
        assert metric(x[order], y[order]) == pytest.approx(value)


def test_relations_unrelated():
    x, y = sample("gaussian", 1500, 6, 0), sample("gaussian", 1500, 6, 1)
    assert mutual_knn(x, y, 15) == pytest.approx(15 / 1499, abs=0.003)
    assert abs(rsa(x, y)) < 0.01
    assert svcca(x, y) < 3 * np.sqrt(6 / 1500)


def test_relations_local_cka_finds_pairs():
    x = sample("gaussian", 260, 8, 0)
    y = x @ sample("gaussian", 8, 6, 1) + 0.1 * sample("gaussian", 260, 6, 2)
    scores = local_cka(x[:200], y[:200], x[200:], y[200:])
    moved = local_cka(5 * x[:200] @ rotation(8) + 1, y[:200], 5 * x[200:] @ rotation(8) + 1, y[200:])
    np.testing.assert_allclose(moved, scores, atol=1e-10)
    assert (scores.argmax(1) == np.arange(60)).mean() > 10 / 60


def test_properties():
    x, y = related()
    copies = x.copy(), y.copy()
    for metric in METRICS:
        assert -1 <= metric(x, y) <= 1
    assert jaccard_knn(x, y) <= mutual_knn(x, y)
    assert not (neighbours(x, 3) == np.arange(30)[:, None]).any()
    for now, before in zip((x, y), copies, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mutual_knn(np.eye(4), np.eye(4), 4), "among 4 items there are 1 to 3"),
        (lambda: mutual_knn(np.eye(4), np.eye(5)), "same number of rows"),
        (lambda: mutual_knn(np.eye(4) * [[0], [1], [1], [1]], np.eye(4), 2), "row 0 is all zeros"),
        (lambda: rsa(np.ones((4, 2)), np.eye(4)), "items of x are equal"),
        (lambda: svcca(np.ones((4, 2)), np.eye(4)), "4 rows of x are equal"),
        (lambda: svcca(np.eye(4), np.eye(4), kept=0), "kept = 0"),
        (lambda: local_cka(np.ones((4, 2)), np.eye(4), np.eye(2), np.eye(4)), "rows of anchors_x are equal"),
        (lambda: local_cka(np.eye(4), np.eye(4), np.eye(3), np.eye(4)), "same number of columns"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()
