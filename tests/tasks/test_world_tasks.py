"""The tasks over the world: best and chance answers, figures counted by slow loops, and what is refused."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data import world
from isthmus.data.world.negatives import KINDS
from isthmus.tasks import (
    attributes,
    captioning,
    continual,
    correspondence,
    drawn,
    grounding,
    hard_negatives,
    segmentation,
    statements,
    vqa,
)

MODULES = (
    attributes,
    captioning,
    continual,
    correspondence,
    grounding,
    hard_negatives,
    segmentation,
    statements,
    vqa,
)
SIZE = 60


@pytest.fixture(scope="module")
def made():
    return {module: module.make(0, SIZE) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.TASK.name)
def test_best_is_best_and_chance_is_worse(module, made):
    data, task = made[module], module.TASK
    assert isinstance(task, Task) and task.name == f"{module.__name__.rsplit('.')[-1]}.v1"
    best = task.score(data, task.best(data))
    chance = [task.score(data, task.chance(data, seed)) for seed in range(5)]
    assert set(task.ranges) <= set(best)
    for name, (low, high) in task.ranges.items():
        assert all(low <= figures[name] <= high for figures in (best, *chance)), name
        if name in ("error", "forgetting"):
            assert best[name] == 0
        else:
            assert best[name] == 1, name
            assert np.mean([figures[name] for figures in chance]) < 0.75, name


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.TASK.name)
def test_the_seed_decides(module, made):
    task, data = module.TASK, made[module]
    again = task.make(0, SIZE)
    assert task.score(again, task.chance(data, 3)) == task.score(data, task.chance(data, 3))
    scenes = [s for d in (data, again) for s in (getattr(d, "scenes", None) or d.left)]
    assert scenes[: len(scenes) // 2] == scenes[len(scenes) // 2 :]
    other = task.make(1, SIZE)
    assert not set(getattr(other, "scenes", None) or other.left) & set(scenes)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.TASK.name)
def test_a_test_needs_scenes(module):
    with pytest.raises(BadInput, match="size = 0"):
        module.make(0, 0)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.TASK.name)
def test_answers_of_another_length(module, made):
    data = made[module]
    answer = module.TASK.best(data)
    short = {k: v[1:] for k, v in answer.items()} if isinstance(answer, dict) else answer[1:]
    with pytest.raises(BadInput):
        module.TASK.score(data, short)


def test_training_shares_no_scene_with_the_test():
    for seed in range(3):
        test = set(drawn.testing(seed, 100))
        assert not test & set(drawn.training(seed, 300))
    with pytest.raises(BadInput, match=r"of 1000 scenes only 0 fit this task"):
        drawn.testing(0, 5, fits=lambda scene: False)


def test_hard_negatives(made):
    data = made[hard_negatives]
    rng = np.random.default_rng(0)
    scores = np.round(rng.standard_normal((len(data.scenes),) * 2), 1)  # with ties
    figures = hard_negatives.score(data, scores)
    for kind, rows in data.pairs.items():
        text, image, group = [], [], []
        for a, b in rows.tolist():
            text.append(scores[a, a] > scores[a, b] and scores[b, b] > scores[b, a])
            image.append(scores[a, a] > scores[b, a] and scores[b, b] > scores[a, b])
            group.append(text[-1] and image[-1])
        assert [figures[f"{kind} {f}"] for f in ("text", "image", "group")] == [
            np.mean(x) for x in (text, image, group)
        ]
    assert set(data.pairs) == set(KINDS)
    means = [hard_negatives.score(data, hard_negatives.chance(data, seed)) for seed in range(40)]
    assert np.mean([m["text"] for m in means]) == pytest.approx(1 / 4, abs=0.02)
    assert np.mean([m["image"] for m in means]) == pytest.approx(1 / 4, abs=0.02)
    assert np.mean([m["group"] for m in means]) == pytest.approx(1 / 6, abs=0.02)
    # an answer that knows which things there are, but not what belongs to what
    bags = [Counter(w for o in s.objects for w in o.kind) for s in data.scenes]
    bag = np.array([[float(a == b) for b in bags] for a in bags])
    blind = hard_negatives.score(data, bag)
    assert blind["relation swap group"] == 0 and blind["attribute swap group"] == 0
    assert blind["insertion group"] == 1 and blind["count group"] == 1
    assert data.pictures(16).shape == (len(data.scenes), 16, 16, 3)
    vectors = {"picture": np.eye(len(data.scenes)), "caption": np.eye(len(data.scenes))}
    assert hard_negatives.score(data, vectors)["group"] == 1
    with pytest.raises(BadInput, match="the task asks for picture and caption"):
        hard_negatives.score(data, {"image": scores})


def test_attributes(made):
    data = made[attributes]
    assert all((s.objects[0].shape, s.objects[0].colour) in data.held for s in data.scenes)
    trained = {(o.shape, o.colour) for s in attributes.training(0, 300) for o in s.objects}
    assert not trained & data.held
    assert len({shape for shape, _ in trained}) == 9 and len({colour for _, colour in trained}) == 8
    prompts = data.prompts("fr")
    assert prompts["colour"][0] == "un objet rouge" and prompts["shape"][1] == "un cube"
    means = [attributes.score(data, attributes.chance(data, seed)) for seed in range(40)]
    for name, n in (("shape", 9), ("colour", 8), ("size", 2), ("material", 4)):
        assert np.mean([m[name] for m in means]) == pytest.approx(1 / n, abs=0.03)
    vectors = {name: (scores, np.eye(scores.shape[1])) for name, scores in attributes.best(data).items()}
    assert attributes.score(data, vectors)["all"] == 1


def test_segmentation(made):
    data = made[segmentation]
    rng = np.random.default_rng(0)
    said = np.where(rng.random(data.truth.shape) < 0.7, data.truth, rng.integers(0, 11, data.truth.shape))
    hits = {c: (said == c) & (data.truth == c) for c in np.unique(data.truth)}
    shares = [hit.sum() / ((said == c) | (data.truth == c)).sum() for c, hit in hits.items()]
    figures = segmentation.score(data, said)
    assert figures["miou"] == pytest.approx(np.mean(shares))
    assert figures["foreground"] == pytest.approx(np.mean(shares[1:]))
    assert figures["accuracy"] == pytest.approx((said == data.truth).mean())
    assert segmentation.score(data, np.zeros_like(data.truth))["foreground"] == 0
    assert data.pictures().shape == (*data.truth.shape, 3)
    with pytest.raises(BadInput, match="masks hold classes 0 to 11; known are 0 to 10"):
        segmentation.score(data, np.where(data.truth == 0, 11, 0))
    with pytest.raises(BadInput, match="expected whole numbers"):
        segmentation.score(data, data.truth / 2)


def test_grounding(made):
    data = made[grounding]
    boxes = np.array([(0, 0, 4, 4), (2, 2, 6, 6), (0, 0, 4, 4), (3, 3, 1, 1)], float)
    others = np.array([(2, 0, 6, 4), (2, 2, 6, 6), (5, 5, 6, 6), (0, 0, 4, 4)], float)
    assert grounding.overlap(boxes, others) == pytest.approx([8 / 24, 1, 0, 0])
    means = [grounding.score(data, grounding.chance(data, seed))["acc@0.5"] for seed in range(20)]
    entities = np.array([len(data.scenes[i].entities) for i in data.scene])
    assert np.mean(means) == pytest.approx((1 / entities).mean(), abs=0.06)
    wrong = data.boxes + 0.3 * (data.boxes[:, 2:] - data.boxes[:, :2])[:, [0, 1, 0, 1]]
    assert grounding.score(data, wrong)["acc@0.5"] == 0 and grounding.score(data, wrong)["iou"] > 0.3
    assert set(data.related) == {0, 1} and len(data.pictures()) == SIZE
    with pytest.raises(BadInput, match="all finite"):
        grounding.score(data, np.full_like(data.boxes, np.nan))


def test_vqa(made):
    data = made[vqa]
    means = [vqa.score(data, vqa.chance(data, seed)) for seed in range(40)]
    for kind in set(data.kinds):
        assert np.mean([m[kind] for m in means]) == pytest.approx(1 / len(vqa.possible(kind)), abs=0.05), kind
    assert len(data.pictures(16)) == SIZE
    with pytest.raises(BadInput, match="'maybe' is no answer"):
        vqa.score(data, ["maybe"] * len(data.answers))


def test_statements(made):
    data = made[statements]
    assert len(data.texts) == 2 * SIZE and data.truth.reshape(-1, 2).sum(1).tolist() == [1] * SIZE
    assert data.texts[0::2] == data.texts[1::2]
    by_text = {text: i % 2 for i, text in enumerate(data.texts)}
    reader = statements.score(data, np.array([by_text[text] for text in data.texts]))
    assert reader["accuracy"] == 0.5 and reader["consistency"] == 0
    coins = [statements.score(data, statements.chance(data, seed)) for seed in range(60)]
    assert np.mean([c["accuracy"] for c in coins]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([c["consistency"] for c in coins]) == pytest.approx(0.25, abs=0.03)
    assert data.pictures(16).shape == (2 * SIZE, 2, 16, 16, 3)


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_captioning(language):
    data = captioning.make(0, 30, language=language, knobs=world.knobs(person=0.4, twins=0.3))
    assert captioning.score(data, captioning.best(data)) == dict.fromkeys(captioning.TASK.ranges, 1.0)
    for k in range(5):
        said = [texts[k] for texts in data.captions]
        assert captioning.score(data, said) == dict.fromkeys(captioning.TASK.ranges, 1.0), "paraphrases say the same"
    assert captioning.score(data, [""] * 30)["f1"] == 0
    assert captioning.score(data, captioning.chance(data, 0))["exact"] < 0.2
    short = [world.render("caption", s, language=language, detail="short") for s in data.scenes]
    brief = captioning.score(data, short)
    assert brief["relations"] == 1 and 0 < brief["recall"] < 0.7


def test_captioning_counts_what_is_wrong():
    data = captioning.make(3, 40)
    other = [world.negative(scene, "relation swap") or scene for scene in data.scenes]
    swapped = captioning.score(data, [world.render("caption", scene) for scene in other])
    assert swapped["f1"] == 1 and swapped["relations"] < 0.9, "the things are right, how they stand is not"
    other = [world.negative(scene, "attribute swap") or scene for scene in data.scenes]
    swapped = captioning.score(data, [world.render("caption", scene) for scene in other])
    assert swapped["f1"] < 1 and swapped["exact"] < 0.3


def test_correspondence(made):
    data = made[correspondence]
    same = correspondence.make(0, 5, degrees=0)
    assert correspondence.score(same, same.points)["pck@1"] == 1
    assert correspondence.score(data, data.points)["pck@1"] < 0.5
    first, second = correspondence.make(0, 3, renderers=("picture", "depth")).pictures()
    assert first.shape == (3, 64, 64, 3) and second.shape == (3, 64, 64)
    # the points that things are seen at have the same colour in both pictures, mostly
    a, b = data.pictures()
    at = [np.clip(x.astype(int), 0, 63) for x in (data.points, data.truth)]
    rows = np.arange(SIZE)[:, None]
    there = np.abs(a[rows, at[0][..., 1], at[0][..., 0]].astype(int) - b[rows, at[1][..., 1], at[1][..., 0]]).mean()
    nowhere = np.abs(a[rows, at[0][..., 1], at[0][..., 0]].astype(int) - b[rows, at[0][..., 1], at[0][..., 0]]).mean()
    assert there < 0.6 * nowhere
    with pytest.raises(BadInput, match="caption is not a picture"):
        correspondence.make(0, 2, renderers=("picture", "caption"))
    with pytest.raises(BadInput, match="degrees = 200"):
        correspondence.make(0, 2, degrees=200)


def test_continual(made):
    data = made[continual]
    n = len(data.scenes)
    known = [np.eye(n) * (data.phase <= t) for t in range(3)]
    last = [np.eye(n) * (data.phase == t) for t in range(3)]
    assert continual.recalls(data, known).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert continual.score(data, known) == {"average": 1, "forgetting": 0, "ahead": 0}
    assert continual.score(data, last) == {"average": pytest.approx(1 / 3), "forgetting": 1, "ahead": 0}
    for phase in range(3):
        shapes = {o.shape for s in islice(data.train(phase), 50) for o in s.objects}
        tested = {o.shape for s, p in zip(data.scenes, data.phase, strict=True) if p == phase for o in s.objects}
        assert tested <= shapes and len(shapes) == 3
    assert not set(data.scenes) & set(data.train(0))
    with pytest.raises(BadInput, match="phases 0 to 2"):
        data.train(3)
    with pytest.raises(BadInput, match="at least 2 phases"):
        continual.make(0, 5, phases=1)
    with pytest.raises(BadInput, match="phases = 12"):
        continual.make(0, 5, phases=12)
