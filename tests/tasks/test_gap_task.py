import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.gap import gap_report
from isthmus.tasks.gap import TASK

KEYS = [f"k{i}" for i in range(60)]


def made(size=20, seed=0):
    return TASK.make(seed, size, keys={"image": KEYS, "text": KEYS})


def test_oracle():
    data, rng = made(), np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5)), rng.standard_normal((20, 5)) + 1
    found, wanted = TASK.score(data, {"text": y, "image": x}), gap_report(x, y)
    assert found["separability"] == wanted["separability"]
    assert found["uniformity"] == pytest.approx((wanted["uniformity a"] + wanted["uniformity b"]) / 2)
    assert found["r@1"] == pytest.approx((wanted["a to b r@1"] + wanted["b to a r@1"]) / 2)
    assert set(found) == set(TASK.ranges)


def test_relations():
    data = made()
    best, chance = TASK.score(data, TASK.best(data)), TASK.score(data, TASK.chance(data, 0))
    assert (best["separability"], best["centroid distance"], best["r@1"]) == (0.5, 0, 1)
    assert chance["separability"] > 0.9 and chance["r@1"] < 0.3
    for name, (low, high) in TASK.ranges.items():
        assert low <= best[name] <= high and low <= chance[name] <= high
    assert not np.array_equal(made().keys["image"], made(seed=1).keys["image"])
    assert not set(data.rows["image"]) & set(data.train["image"])


def test_errors():
    with pytest.raises(BadInput, match="same keys in one order"):
        TASK.make(0, 20, keys={"image": KEYS, "text": KEYS[::-1]})
    with pytest.raises(BadInput, match="at least 5"):
        made(3)
    data = made()
    with pytest.raises(BadInput, match="asks for"):
        TASK.score(data, {"image": np.eye(20)})
    with pytest.raises(BadInput, match="test rows"):
        TASK.score(data, {"image": np.eye(20)[:9], "text": np.eye(20)[:9]})
