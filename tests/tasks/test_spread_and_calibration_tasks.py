import json
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.calibration import expected_calibration_error
from isthmus.tasks import calibration, spread
from tests.oracles import m2mix as oracle

KEYS = [f"k{i}" for i in range(60)]
LABELS = [f"class {i % 6}" for i in range(60)]


def pairs(size=20):
    return spread.TASK.make(0, size, keys={"image": KEYS, "text": KEYS})


def test_oracle_of_the_released_code():
    official = json.loads((Path(oracle.__file__).parent / "official_m2mix.json").read_text())
    a, b = (np.array(official[side]) for side in "ab")
    # there less is better, of the root of the squares that it squares again; here more
    assert spread.relative_alignment(a, b) == pytest.approx(-official["found"]["relative alignment"])
    data = spread.TASK.make(0, 6, keys={"image": KEYS, "text": KEYS})
    found = spread.score(data, {"image": a, "text": b})
    assert found["joint uniformity"] == pytest.approx(-official["found"]["uniformity of both"])


def test_relations_of_spread():
    data = pairs()
    best = spread.TASK.score(data, spread.TASK.best(data))
    assert best["relative alignment"] == pytest.approx(2)
    same = np.ones((20, 3))
    assert spread.score(data, {"image": same, "text": same}) == pytest.approx(
        {"relative alignment": 0, "joint uniformity": 0}, abs=1e-6
    )
    for answer in (best, spread.TASK.score(data, spread.TASK.chance(data, 0))):
        assert all(low <= answer[name] <= high for name, (low, high) in spread.TASK.ranges.items())


def test_calibration():
    data = calibration.TASK.make(0, 4, labels=LABELS)
    n = len(data.labels)
    assert calibration.TASK.score(data, calibration.TASK.best(data)) == pytest.approx(
        {"ece": 0, "brier": 0, "log loss": 0, "sure": 1}
    )
    assert calibration.TASK.score(data, calibration.TASK.chance(data, 0))["ece"] > 0.3
    even = calibration.score(data, np.full((n, 4), 0.25))
    assert even["brier"] == pytest.approx(0.75) and even["sure"] == 0.25
    rng = np.random.default_rng(0)
    items, classes = rng.standard_normal((n, 5)), rng.standard_normal((4, 5))
    p = calibration.probabilities(data, (items, classes, 10.0))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (items, classes))
    wanted = np.exp(10 * x @ y.T) / np.exp(10 * x @ y.T).sum(1, keepdims=True)
    np.testing.assert_allclose(p, wanted)
    assert calibration.score(data, (items, classes, 10.0))["ece"] == expected_calibration_error(p, data.labels)


def test_errors():
    data = pairs()
    with pytest.raises(BadInput, match="asks for"):
        spread.score(data, {"image": np.eye(20)})
    with pytest.raises(BadInput, match="test rows"):
        spread.score(data, {"image": np.eye(9), "text": np.eye(9)})
    with pytest.raises(BadInput, match="pairs in one space"):
        spread.relative_alignment(np.eye(4), np.eye(3))
    classes = calibration.TASK.make(0, 4, labels=LABELS)
    n = len(classes.labels)
    with pytest.raises(BadInput, match="scale"):
        calibration.score(classes, (np.ones((n, 2)), np.ones((4, 2)), 0.0))
    with pytest.raises(BadInput, match="add up to 1"):
        calibration.score(classes, np.ones((n, 4)))
