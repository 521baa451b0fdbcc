import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.tasks.arithmetic import STRENGTHS, TASK, edited, score, sweep

COLOURS, SHAPES = ("red", "green", "blue"), ("circle", "square", "heart", "star")
NAMES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES] + ["sun", "happy cat"]


def made(size=1000, seed=0, **more):
    return TASK.make(seed, size, names=NAMES, **more)


def vectors(data, gap=0.0):
    """Items that are the sum of their words, and words; the modalities lie `gap` apart along an axis of its own."""
    words = sorted({w for name in NAMES for w in name.split()})
    axis = {w: np.eye(len(words) + 1)[i] for i, w in enumerate(words)}
    away = np.eye(len(words) + 1)[-1] * gap
    item = np.stack([sum(axis[w] for w in name.split()) + away for name in NAMES])
    return {"item": item, "word": np.stack([axis[w] - away for w in data.words])}


def test_the_edits_are_those_of_the_names():
    data = made()
    # each of 12 items: 2 other colours and 3 other shapes; "sun" and "happy cat" have no partner
    assert len(data.query) == 12 * 5 and set(data.words) == {*COLOURS, *SHAPES}
    for i, source, target, right in zip(data.query, data.source, data.target, data.right, strict=True):
        wanted = NAMES[i].replace(data.words[source], data.words[target])
        assert [NAMES[j] for j in np.flatnonzero(right)] == [wanted]
    assert len(made(least=4).query) == 12 * 2  # colours change in four places, shapes in three
    assert len(made(7).query) == 7
    assert not np.array_equal(made(7).query, made(7, 1).query)
    together = made(least=2, groups=["red" if name.startswith("red") else name for name in NAMES])
    assert len(together.query) == 60 - 4 * 3


def test_oracle():
    data, rng = made(), np.random.default_rng(0)
    answer = {"item": rng.standard_normal((14, 5)), "word": rng.standard_normal((7, 5))}
    x, t = ({k: v / np.linalg.norm(v) for k, v in enumerate(answer[m])} for m in ("item", "word"))
    hits, kinds = [], {}
    for i, a, b, right in zip(data.query, data.source, data.target, data.right, strict=True):
        point = x[i] + 0.7 * (t[b] - t[a])
        nearest = max((j for j in range(14) if j != i), key=lambda j: point @ x[j])
        hits.append(right[nearest])
        kinds.setdefault((a, b), []).append(hits[-1])
    found = score(data, answer, 0.7)
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    assert found["by edit"] == pytest.approx(np.mean([np.mean(v) for v in kinds.values()]))


def test_relations():
    data = made()
    assert TASK.score(data, TASK.best(data)) == {"accuracy": 1.0, "by edit": 1.0, "mrr": 1.0}
    assert TASK.score(data, TASK.chance(data, 0))["accuracy"] < 0.3
    answer = vectors(data)
    assert score(data, answer)["accuracy"] == 1.0
    scores = edited(data, answer, 0.0)
    x = answer["item"] / np.linalg.norm(answer["item"], axis=1, keepdims=True)
    np.testing.assert_allclose(scores, (x @ x.T)[data.query])
    assert list(sweep(data, answer)) == list(STRENGTHS) and sweep(data, answer)[0.0] < 1
    # a gap that is the same for all cancels in the difference of two words
    assert score(data, vectors(data, gap=3.0))["accuracy"] == 1.0


def test_properties():
    data = made()
    equal = np.ones(data.right.shape)
    assert score(data, equal)["accuracy"] == 0  # ties count against the answer
    own = np.zeros(data.right.shape)
    own[np.arange(len(own)), data.query] = 9
    assert score(data, own + TASK.best(data))["accuracy"] == 1  # the item itself is no answer
    answer = vectors(data)
    scaled = {"item": 3 * answer["item"], "word": 0.2 * answer["word"]}
    np.testing.assert_allclose(edited(data, scaled), edited(data, answer))


def test_errors():
    data = made()
    with pytest.raises(BadInput, match="no pair of words"):
        TASK.make(0, 5, names=["a b", "c d"])
    with pytest.raises(BadInput, match="as many groups"):
        made(groups=["a"])
    with pytest.raises(BadInput, match="item and word"):
        score(data, {"item": np.eye(14)})
    with pytest.raises(BadInput, match="the task has 14, 7"):
        score(data, {"item": np.eye(14), "word": np.eye(14)})
    with pytest.raises(BadInput, match="expected"):
        score(data, np.eye(3))
