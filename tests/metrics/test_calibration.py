import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.calibration import brier, expected_calibration_error, log_loss, reliability, reliability_plot


def answers(n=200, c=5, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, c))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p, rng.integers(c, size=n)


def test_oracle():
    """Bins by loops, (b/15, (b+1)/15]; scikit-learn's Brier score and log-loss."""
    from sklearn import metrics

    p, right = answers()
    sure, hit = p.max(1), p.argmax(1) == right
    error = 0.0
    for b in range(15):
        held = [i for i in range(200) if b / 15 < sure[i] <= (b + 1) / 15]
        if held:
            error += len(held) / 200 * abs(np.mean(hit[held]) - np.mean(sure[held]))
    assert expected_calibration_error(p, right) == pytest.approx(error)
    table = reliability(p, right)
    assert table.count.sum() == 200 and (table.accuracy[table.count == 0] == 0).all()
    assert log_loss(p, right) == pytest.approx(metrics.log_loss(right, p))
    assert brier(p, right) == pytest.approx(np.mean(((p - np.eye(5)[right]) ** 2).sum(1)))


def test_relations():
    p, right = answers()
    sure = np.eye(5)[right]
    assert (expected_calibration_error(sure, right), brier(sure, right), log_loss(sure, right)) == (0, 0, 0)
    wrong = np.roll(sure, 1, axis=1)
    assert (expected_calibration_error(wrong, right), brier(wrong, right)) == (1, 2)
    even = np.full((200, 5), 0.2)
    assert brier(even, right) == pytest.approx(0.8) and log_loss(even, right) == pytest.approx(np.log(5))
    one = expected_calibration_error(p, right, bins=1)
    assert one == pytest.approx(abs((p.argmax(1) == right).mean() - p.max(1).mean()))
    assert expected_calibration_error(p, right, bins=30) >= one - 1e-12


def test_properties():
    """Classes drawn as the probabilities say are calibrated, and surer than true they are not."""
    p, _ = answers(20000)
    rng = np.random.default_rng(1)
    right = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    assert expected_calibration_error(p, right) < 0.02 < 0.1 < expected_calibration_error(sharp, right)
    assert brier(p, right) < brier(sharp, right) and log_loss(p, right) < log_loss(sharp, right)
    svg = reliability_plot({"as it is": reliability(p, right), "<sharp>": reliability(sharp, right)})
    assert "&lt;sharp&gt;: calibration error 0." in svg and svg.count("<circle") > 15


def test_errors():
    p, right = answers()
    with pytest.raises(BadInput, match="row 3"):
        bad = p.copy()
        bad[3] *= 2
        brier(bad, right)
    with pytest.raises(BadInput, match="5 classes"):
        log_loss(p, right + 4)
    with pytest.raises(BadInput, match="whole numbers"):
        reliability(p, right[:3])
    with pytest.raises(BadInput, match="bins = 0"):
        reliability(p, right, bins=0)
    with pytest.raises(BadInput, match="at least one table"):
        reliability_plot({})
