import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.tasks.zero_shot import TASK, class_scores, class_vectors, make, score, unseen_items


def world(classes=8, wordings=4, each=3):
    """Items of some classes, each class in several wordings, in shuffled order."""
    order = np.random.default_rng(0).permutation(classes * wordings * each)
    labels = np.repeat([f"class {i}" for i in range(classes)], wordings * each)[order]
    groups = np.repeat([f"wording {i}" for i in range(classes * wordings)], each)[order]
    return labels, groups


@pytest.fixture
def data():
    labels, groups = world()
    return make(0, 5, labels=labels, groups=groups)


def test_oracle(data):
    rng = np.random.default_rng(1)
    items, classes = rng.integers(-2, 3, (len(data.labels), 3)) + 0.5, rng.integers(-2, 3, (5, 3)) + 0.5
    right, five, per = [], [], {c: [] for c in range(5)}
    for x, label in zip(items, data.labels, strict=True):
        cosines = [round(float(x @ c / np.linalg.norm(x) / np.linalg.norm(c)), 12) for c in classes]
        others = [v for c, v in enumerate(cosines) if c != label]
        right.append(all(cosines[label] > v for v in others))
        five.append(sum(v >= cosines[label] for v in others) < 5)
        per[label].append(right[-1])
    figures = score(data, np.round(class_scores(data, (items, classes)), 12))
    assert figures["top1"] == pytest.approx(np.mean(right))
    assert figures["top5"] == pytest.approx(np.mean(five))
    assert figures["mean_per_class"] == pytest.approx(np.mean([np.mean(v) for v in per.values()]))


def test_relations(data):
    assert isinstance(TASK, Task) and TASK.name == "zero_shot.v1"
    assert score(data, TASK.best(data)) == dict.fromkeys(TASK.ranges, 1.0)
    assert score(data, np.ones((len(data.labels), 5)))["top1"] == 0
    means = [score(data, TASK.chance(data, seed))["top1"] for seed in range(60)]
    assert np.mean(means) == pytest.approx(1 / 5, abs=0.02)
    assert TASK.score(data, TASK.chance(data, 1)) == TASK.score(data, TASK.chance(data, 1))


def test_whole_classes_are_held_out(data):
    labels, groups = world()
    assert set(labels[data.rows]).isdisjoint(labels[data.train])
    assert len(data.rows) + len(data.train) == len(labels)
    assert [data.names[i] for i in data.labels] == labels[data.rows].tolist()
    assert make(1, 5, labels=labels).names != data.names == make(0, 5, labels=labels, groups=groups).names
    # a near-duplicate of a test item is on neither side
    shared = groups.copy()
    shared[data.train[0]] = groups[data.rows[0]]
    assert len(make(0, 5, labels=labels, groups=shared).train) == len(data.train) - 1


def test_items_of_every_class_are_held_out():
    labels, groups = world()
    found = unseen_items(0, 1, labels=labels, groups=groups)
    assert len(found.rows) == 8 * 3 and len(found.train) == len(labels) - 24
    assert set(labels[found.rows]) == set(labels[found.train]) == set(found.names)
    assert set(groups[found.rows]).isdisjoint(groups[found.train])
    assert [found.names[i] for i in found.labels] == labels[found.rows].tolist()


def test_class_vectors():
    prompts = np.random.default_rng(0).standard_normal((3, 4, 5))
    one = class_vectors(prompts[:, :1])
    np.testing.assert_allclose(one, prompts[:, 0] / np.linalg.norm(prompts[:, 0], axis=1, keepdims=True))
    many = class_vectors(prompts)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1)
    np.testing.assert_allclose(class_vectors(3 * prompts), many)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: make(0, 1, labels=["a", "b", "c"]), "1 of 3 classes"),
        (lambda: make(0, 3, labels=["a", "b", "c"]), "3 of 3 classes"),
        (lambda: make(0, 2, labels=["a", "b", "c"], groups=["x"]), r"\(3,\) and \(1,\)"),
        (lambda: make(0, 2, labels=[]), r"\(0,\)"),
        (lambda: unseen_items(0, 1, labels=["a", "b"], groups=["x", "y"]), "the 1 groups of class 'a'"),
        (lambda: unseen_items(0, 1, labels=["a", "b"], groups=["x", "x"]), "holds items of other classes"),
        (lambda: class_vectors(np.ones((3, 4))), r"\(c, p, d\)"),
        (lambda: class_vectors(np.array([[[1.0, 0], [-1, 0]]])), "classes row 0 is all zeros"),
    ],
)
def test_errors(call, says):
    with pytest.raises(BadInput, match=says):
        call()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.ones((3, 5)), r"shape \(3, 5\); expected \(60, 5\)"),
        ((np.ones((60, 2)), np.ones((5, 3))), "same number of columns"),
        (np.full((60, 5), np.nan), "not finite"),
    ],
)
def test_errors_of_answers(data, answer, says):
    with pytest.raises(BadInput, match=says):
        score(data, answer)
