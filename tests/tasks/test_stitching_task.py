import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.tasks.stitching import TASK


def drawn(seed=0, size=20):
    keys = [f"k{i}" for i in range(100)]
    groups = [f"g{i // 2}" for i in range(100)]
    return TASK.make(seed, size, keys=keys, groups=groups, labels=["a", "b", "c", "d"] * 25, encoders=("x", "y", "z"))


def test_items_are_held_out_with_their_near_duplicates():
    data = drawn()
    assert len(data.rows) == len(data.labels) == 20 and len(data.pairs) == 9
    assert not set(data.rows // 2) & set(data.train // 2)
    assert drawn(1).rows.tolist() != data.rows.tolist()
    assert [data.names[c] for c in data.labels] == [("a", "b", "c", "d")[row % 4] for row in data.rows]


def test_oracle():
    data, rng = drawn(), np.random.default_rng(0)
    answer = {pair: rng.standard_normal((20, 4)) for pair in data.pairs}
    found = TASK.score(data, answer)
    right = {p: sum(int(np.argmax(s)) == c for s, c in zip(answer[p], data.labels, strict=True)) / 20 for p in answer}
    assert found["x → y"] == pytest.approx(right["x", "y"])
    assert found["stitched"] == pytest.approx(np.mean([v for (a, b), v in right.items() if a != b]))
    assert found["own"] == pytest.approx(np.mean([v for (a, b), v in right.items() if a == b]))
    assert found["worst"] == pytest.approx(min(v for (a, b), v in right.items() if a != b))


def test_relations():
    data = drawn()
    assert set(TASK.score(data, TASK.best(data)).values()) == {1.0}
    assert set(TASK.score(data, dict.fromkeys(data.pairs, np.zeros((20, 4)))).values()) == {0.0}
    assert TASK.score(data, TASK.chance(data, 0))["stitched"] == pytest.approx(0.25, abs=0.15)


def test_errors():
    data = drawn()
    answer = TASK.best(data)
    with pytest.raises(BadInput, match="lacks 1 of 9 pairs"):
        TASK.score(data, {pair: s for pair, s in answer.items() if pair != ("x", "y")})
    with pytest.raises(BadInput, match="expected \\(20, 4\\)"):
        TASK.score(data, {**answer, ("x", "y"): np.zeros((20, 3))})
    with pytest.raises(BadInput, match="two encoders"):
        TASK.make(0, 2, keys=["a", "b"], groups=["a", "b"], labels=["1", "2"], encoders=("x",))
    with pytest.raises(BadInput, match="classes have a training item"):
        TASK.make(0, 1, keys=["a", "b"], groups=["a", "b"], labels=["1", "2"], encoders=("x", "y"))
