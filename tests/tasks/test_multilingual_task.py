import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.tasks.multilingual import TASK, make, ranks

KEYS = [f"k{i}" for i in range(40)]
LANGUAGES = ("en", "de", "ja")


@pytest.fixture
def data():
    return make(0, 12, keys=KEYS, languages=LANGUAGES, groups=[f"g{i // 2}" for i in range(40)])


def test_held_out_with_their_relatives(data):
    assert len(data.keys) == 12 and [KEYS[i] for i in data.rows] == data.keys.tolist()
    assert not {i // 2 for i in data.rows.tolist()} & {i // 2 for i in data.train.tolist()}


def test_best_and_chance(data):
    best, chance = TASK.score(data, TASK.best(data)), TASK.score(data, TASK.chance(data, 0))
    assert best["r@1"] == best["worst r@1"] == best["ja r@1"] == best["mrr"] == 1
    assert best["mrv"] == best["mrv std"] == 0 < chance["mrv"]
    assert 0 <= chance["r@1"] < 0.3
    found = [TASK.score(data, TASK.chance(data, seed))["r@1"] for seed in range(40)]
    assert np.mean(found) == pytest.approx(1 / 12, abs=0.02)
    for name, (low, high) in TASK.ranges.items():
        assert low <= chance[name] <= high


def test_relations(data):
    chance = TASK.chance(data, 0)
    same = {"item": chance["item"], "text": np.repeat(chance["text"][:, :1], 3, 1)}
    found = TASK.score(data, same)
    assert found["mrv"] == 0 and found["worst r@1"] == found["r@1"]


def test_oracle(data):
    answer = TASK.chance(data, 3)
    table = ranks(data, answer)["text_to_item"]
    x = answer["item"] / np.linalg.norm(answer["item"], axis=1, keepdims=True)
    for i in range(12):
        for k in range(3):
            scores = x @ answer["text"][i, k]
            assert table[i, k] == 1 + (scores > scores[i]).sum()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: make(0, 5, keys=KEYS, languages=("en",)), "at least two languages"),
        (lambda d: make(0, 5, keys=["a", "a", "b"], languages=LANGUAGES), "1 keys occur twice"),
        (lambda d: TASK.score(d, {"item": np.eye(12)}), "the task asks for item and text"),
        (lambda d: TASK.score(d, {"item": np.eye(12), "text": np.ones((12, 2, 12))}), r"text \(12, 2, 12\) must be"),
    ],
)
def test_errors(data, call, says):
    with pytest.raises(BadInput, match=says):
        call(data)
