import numpy as np
import pytest

from isthmus.metrics.retrieval import rank_positives
from isthmus.metrics.summary import summary


def test_oracle():
    scores = -np.abs(np.subtract.outer(np.array([0.0, 7.0, 40.0, 3.0]), np.arange(50.0)))
    found = summary(rank_positives(scores, [0, 9, 49, 3], np.arange(50)))
    ranks = [1, 1 + sum(abs(j - 7) <= 2 for j in range(50) if j != 9), 1 + sum(abs(j - 40) <= 9 for j in range(49)), 1]
    assert [found["mdr"], found["mnr"]] == [np.median(ranks), np.mean(ranks)]
    recalls = [np.mean(np.array(ranks) <= k) for k in (1, 5, 10)]
    assert [found["r@1"], found["r@5"], found["r@10"]] == recalls
    assert found["geometric_mean"] == pytest.approx(np.cbrt(np.prod(recalls)))


def test_relations():
    assert set(summary(rank_positives(np.eye(9), np.arange(9), np.arange(9))).values()) == {1.0}
    assert summary(rank_positives(-np.eye(30), np.arange(30), np.arange(30)))["geometric_mean"] == 0
