import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.retrieval import per_query
from isthmus.tasks.retrieval import TASK, Held, direction_name, make, ranks, score
from tests.oracles import retrieval as oracle


def rows(n=40, names=3):
    """n pictures, each with three names, in shuffled order; a few near-duplicates."""
    rng = np.random.default_rng(0)
    keys = {
        "image": rng.permutation([f"c{i:03d}" for i in range(n)]),
        "text": rng.permutation(np.repeat([f"c{i:03d}" for i in range(n)], names)),
    }
    groups = {
        m: np.array([f"g{int(k[1:]) // 2 * 2:03d}" if int(k[1:]) < 10 else k for k in v]) for m, v in keys.items()
    }
    return keys, groups


@pytest.fixture
def data():
    keys, groups = rows()
    return make(0, 12, keys=keys, groups=groups)


def test_oracle(data):
    rng = np.random.default_rng(1)
    answer = {m: rng.integers(-3, 4, size=(len(k), 5)) * 1.0 + 0.5 for m, k in data.keys.items()}
    figures = score(data, answer)
    for a, b in (("image", "text"), ("text", "image")):
        unit = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in answer.items()}
        scores = np.round(unit[a] @ unit[b].T, 12).tolist()
        relevant = [[int(k == key) for k in data.keys[b]] for key in data.keys[a]]
        pairs = list(zip(scores, relevant, strict=True))
        for k in (1, 5, 10):
            expected = np.mean([oracle.recall_at_k(*p, k) for p in pairs])
            assert figures[f"{a}_to_{b} r@{k}"] == pytest.approx(expected)
        assert figures[f"{a}_to_{b} mrr"] == pytest.approx(np.mean([oracle.reciprocal_rank(*p) for p in pairs]))
        assert figures[f"{a}_to_{b} map"] == pytest.approx(np.mean([oracle.average_precision(*p) for p in pairs]))
        assert figures[f"{a}_to_{b} ndcg@10"] == pytest.approx(np.mean([oracle.ndcg_at_k(*p, 10) for p in pairs]))
    for figure in ("r@1", "r@5", "r@10", "mrr", "map", "ndcg@10"):
        both = (figures[f"image_to_text {figure}"], figures[f"text_to_image {figure}"])
        assert figures[figure] == pytest.approx(np.mean(both))
    assert figures["rsum"] == pytest.approx(sum(figures[f"{d} r@{k}"] for d in ranks(data, answer) for k in (1, 5, 10)))


def test_best_is_the_maximum(data):
    figures = TASK.score(data, TASK.best(data))
    assert {name: figures[name] for name in TASK.ranges} == {name: high for name, (_, high) in TASK.ranges.items()}


def test_chance_is_chance():
    keys = {m: [f"{i}" for i in range(220)] for m in ("image", "text")}
    data = make(0, 200, keys=keys)
    seeds = [TASK.score(data, TASK.chance(data, seed)) for seed in range(12)]
    assert np.mean([f["r@10"] for f in seeds]) == pytest.approx(10 / 200, abs=0.01)
    assert np.mean([f["r@1"] for f in seeds]) == pytest.approx(1 / 200, abs=0.005)
    again = TASK.score(data, TASK.chance(data, 3))
    assert again == seeds[3] != seeds[4]


def test_a_collapsed_answer_is_below_chance(data):
    figures = score(data, {m: np.ones((len(k), 4), dtype=np.float32) for m, k in data.keys.items()})
    assert figures["r@1"] == figures["r@5"] == figures["r@10"] == 0
    chance = score(data, TASK.chance(data, 0))
    assert figures["mrr"] < chance["mrr"]


def test_figures_stay_in_their_ranges(data):
    for answer in (TASK.best(data), TASK.chance(data, 0)):
        figures = TASK.score(data, answer)
        assert all(isinstance(v, float) for v in figures.values())
        for name, (low, high) in TASK.ranges.items():
            assert low <= figures[name] <= high


def test_relations_scale_of_vectors_changes_nothing(data):
    answer = TASK.chance(data, 0)
    scale = np.random.default_rng(0).uniform(0.1, 10, size=(1000, 1)).astype(np.float32)
    assert score(data, {m: x * scale[: len(x)] for m, x in answer.items()}) == score(data, answer)


def test_relations_scores_answer_as_vectors_do(data):
    answer = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in TASK.chance(data, 0).items()}
    expected = score(data, answer)
    assert score(data, lambda a, b: answer[a] @ answer[b].T) == expected
    assert score(data, lambda a, b: lambda queries: answer[a][queries] @ answer[b].T) == expected


def test_per_query_figures_average_to_the_score(data):
    answer = TASK.chance(data, 0)
    figures = score(data, answer)
    for name, found in ranks(data, answer).items():
        for figure, values in per_query(found).items():
            assert figures[f"{name} {figure}"] == values.mean()


def test_three_modalities_have_six_directions():
    keys = {m: list("abcdefgh") for m in ("image", "text", "sound")}
    data = make(1, 4, keys=keys)
    assert len(data.directions) == 6
    figures = score(data, TASK.best(data))
    assert figures["sound_to_image r@1"] == 1
    assert figures["rsum"] == 6


# ------------------------------------------------------------------ the split


def test_split_keeps_near_duplicates_together():
    keys, groups = rows()
    for seed in range(5):
        data = make(seed, 12, keys=keys, groups=groups)
        assert isinstance(data, Held)
        assert {m: len(set(k)) for m, k in data.keys.items()} == {"image": 12, "text": 12}
        assert set(data.keys["image"]) == set(data.keys["text"])
        for m in keys:
            np.testing.assert_array_equal(keys[m][data.rows[m]], data.keys[m])
            assert not set(groups[m][data.rows[m]]) & set(groups[m][data.train[m]])
            assert len(data.rows[m]) + len(data.train[m]) <= len(keys[m])


def test_split_is_of_the_seed_and_not_of_the_order():
    keys, groups = rows()
    first = make(3, 12, keys=keys, groups=groups)
    order = np.random.default_rng(1).permutation(len(keys["text"]))
    shuffled = make(3, 12, keys=keys | {"text": keys["text"][order]}, groups=groups | {"text": groups["text"][order]})
    assert set(first.keys["image"]) == set(shuffled.keys["image"])
    assert set(first.keys["image"]) != set(make(4, 12, keys=keys, groups=groups).keys["image"])


def test_split_tests_only_what_every_modality_has():
    keys = {"image": [f"{i}" for i in range(30)], "text": [f"{i}" for i in range(20, 60)]}
    data = make(0, 5, keys=keys)
    assert set(data.keys["image"]) <= {f"{i}" for i in range(20, 30)}
    # what only one modality has may still be trained on
    assert len(data.train["image"]) == 25
    assert len(data.train["text"]) == 35


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: make(0, 2, keys={"image": list("abc")}), "at least two modalities"),
        (lambda d: make(0, 1, keys={"image": list("abc"), "text": list("abc")}), "size = 1"),
        (lambda d: make(0, 3, keys={"image": list("abc"), "text": list("abc")}), "cannot hold out 3 of 3"),
        (lambda d: make(0, 2, keys={"image": list("abc"), "text": list("xyz")}), "cannot hold out 2 of 0"),
        (
            lambda d: make(
                0, 2, keys={"a": list("pqrs"), "b": list("pqrs")}, groups={"a": list("1234"), "b": list("1235")}
            ),
            "in two groups",
        ),
        (
            lambda d: make(0, 2, keys={"a": list("pqrs"), "b": list("pqrs")}, groups={"a": ["1"], "b": list("1234")}),
            "shapes",
        ),
        (lambda d: make(0, 2, keys={"a": list("pqr"), "b": list("pqr")}, groups={"a": list("pqr")}), "groups are of"),
        (lambda d: score(d, {"image": np.ones((12, 3))}), r"vectors of \['image'\]"),
        (lambda d: score(d, {m: np.ones((5, 3)) for m in d.keys}), "other rows than the test"),
        (lambda d: score(d, {m: np.zeros((len(k), 3)) for m, k in d.keys.items()}), "all zeros"),
        (lambda d: score(d, {m: np.full((len(k), 3), np.nan) for m, k in d.keys.items()}), "image is not finite"),
        (lambda d: score(d, lambda a, b: np.ones((2, 2))), r"scores have shape \(2, 2\)"),
    ],
)
def test_errors(data, call, message):
    with pytest.raises(BadInput, match=message):
        call(data)


def test_task_declares_itself():
    assert isinstance(TASK, Task)
    assert TASK.name == "retrieval.v1"
    assert direction_name("text", "image") == "text_to_image"
