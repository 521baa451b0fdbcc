"""One test for every knob: that it does what it says, and nothing to the rest."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data import world
from isthmus.data.world.grammar import holds
from isthmus.data.world.renderers import caption
from isthmus.data.world.sampling import shapes_of
from isthmus.data.world.scene import FAULTS, SHAPES
from isthmus.metrics.hubness import hubness_skewness, k_occurrence
from isthmus.tasks import captioning


def drawn(n=400, seed=0, **turned):
    return list(world.scenes(seed, n, knobs=world.knobs(turned)))


def test_number_of_objects():
    counts = Counter(len(s.objects) for s in drawn(min_objects=3, max_objects=6))
    assert set(counts) == {3, 4, 5, 6} and min(counts.values()) > 60


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_person(share):
    assert np.mean([s.figure is not None for s in drawn(person=share)]) == pytest.approx(share, abs=0.07)


def test_twins():
    def repeated(share):
        return np.mean([max(s.counts.values()) > 1 for s in drawn(twins=share, min_objects=3)])

    assert repeated(0.0) < 0.02 < repeated(0.3) < repeated(0.8)
    assert repeated(1.0) == 1


def test_stacked():
    def high(share):
        return sum(one.z > 0 for s in drawn(stacked=share) for one in s.objects)

    assert high(0.0) == 0 < high(0.3) < high(1.0)


def test_long_tail():
    def shares(exponent):
        pairs = Counter((o.shape, o.colour) for s in drawn(1000, long_tail=exponent, twins=0.0) for o in s.objects)
        return np.array(sorted(pairs.values(), reverse=True)) / pairs.total()

    even, tail = shares(0.0), shares(1.5)
    assert even[0] < 0.03 and len(even) == 72
    expected = np.arange(1, 73) ** -1.5
    assert tail[:5] == pytest.approx((expected / expected.sum())[:5], abs=0.03)


def test_phases():
    settings = {"phases": 3, "phase_length": 50, "twins": 0.0}
    scenes = drawn(200, **settings)
    assert [s.phase for s in scenes] == [i // 50 % 3 for i in range(200)]
    for s in scenes:
        assert {o.shape for o in s.objects} <= set(shapes_of(s.phase, 3))
    assert sorted(sum((shapes_of(p, 3) for p in range(3)), ())) == sorted(SHAPES), "each shape in one phase"


def test_domain_shift():
    def pictures(shift):
        return np.stack([world.render("picture", s, size=32) for s in drawn(12, domain_shift=shift)]).astype(float)

    usual = pictures(0.0)
    away = [np.abs(pictures(shift) - usual).mean() for shift in (0.0, 0.25, 0.5, 1.0)]
    assert away[0] == 0 and all(a + 5 < b for a, b in itertools.pairwise(away))
    for before, after in zip(drawn(20), drawn(20, domain_shift=1.0), strict=True):
        assert dataclasses.replace(after, shift=0.0) == before, "what is in the scenes stays"
        assert (world.render("mask", before) == world.render("mask", after)).all()


def test_caption_noise():
    noisy = drawn(600, caption_noise=0.4)
    assert np.mean([s.fault != "" for s in noisy]) == pytest.approx(0.4, abs=0.06)
    assert {s.fault for s in noisy} == set(FAULTS)
    for before, after in zip(drawn(600), noisy, strict=True):
        assert dataclasses.replace(after, fault="") == before, "the scenes stay"
        said, meant = world.render("caption", after), world.render("caption", before)
        assert (said == meant) == (after.fault == ""), (after.fault, said)
        assert world.render("caption", after, clean=True) == meant


def test_wrong_captions_are_wrong():
    """What they say is read, and counted against the scene."""
    checked = Counter()
    for scene in drawn(300, caption_noise=1.0):
        assert all(holds(scene, fact) for fact in caption.facts(scene)), "the facts are true, the text is not"
        clean = world.render("caption", scene, clean=True)
        data = captioning.Described((scene,), ((clean,),), "en")
        figures = captioning.score(data, [world.render("caption", scene)])
        checked[scene.fault] += 1
        if scene.fault in ("wrong attribute", "other scene"):
            assert figures["precision"] < 1
        elif scene.fault == "wrong relation":
            assert figures["precision"] < 1 or figures["relations"] < 1
        elif scene.fault in ("boilerplate", "truncated"):
            assert figures["recall"] < 1
    assert len(checked) == len(FAULTS) - 1 and min(checked.values()) > 20


def test_unpaired():
    names = ("picture", "caption", "sound")
    items = list(world.stream(0, 300, renderers=names, knobs=world.knobs(unpaired=0.4)))
    alone = [item for item in items if len(item.values) == 1]
    assert {len(item.values) for item in items} == {1, 3}
    assert len(alone) / 300 == pytest.approx(0.4, abs=0.08)
    shares = Counter(next(iter(item.values)) for item in alone)
    assert set(shares) == set(names) and min(shares.values()) > 20


def test_missing():
    names = ("caption", "graph", "questions")
    items = list(world.stream(0, 300, renderers=names, knobs=world.knobs(missing=0.3)))
    assert all(item.values for item in items), "one always stays"
    for name in names:
        assert np.mean([name in item.values for item in items]) == pytest.approx(0.7, abs=0.08)


@pytest.mark.parametrize("gap", [0.0, 0.4, 0.9, 1.4])
def test_modality_gap(gap):
    scenes, knobs = drawn(300), world.knobs(modality_gap=gap)
    text, image = (world.vectors(scenes, m, knobs=knobs) for m in ("text", "image"))
    assert np.linalg.norm(text.mean(0) - image.mean(0)) == pytest.approx(gap, abs=0.05)
    assert np.linalg.norm(text, axis=1) == pytest.approx(1, abs=1e-5)
    # who is nearest within the other modality stays: the gap is the same for every pair
    plain = world.vectors(scenes, "text") @ world.vectors(scenes, "image").T
    assert (np.argmax(text @ image.T, 1) == np.argmax(plain, 1)).all()


def test_hubness():
    scenes = drawn(300)

    def skewness(strength):
        knobs = world.knobs(hubness=strength)
        text, image = (world.vectors(scenes, modality, knobs=knobs) for modality in ("text", "image"))
        return hubness_skewness(k_occurrence(text, image, k=10))

    found = [skewness(h) for h in (0.0, 0.25, 0.5, 1.0)]
    assert found[0] < 1 and all(a < b for a, b in itertools.pairwise(found)), found


def test_every_knob_has_a_test():
    tested = Path(__file__).read_text()
    assert not [
        f.name for f in dataclasses.fields(world.Knobs) if f"{f.name}=" not in tested and f'"{f.name}"' not in tested
    ]


@pytest.mark.parametrize(
    ("turned", "error", "message"),
    [
        ({"captoin_noise": 0.1}, NotFound, "unknown knob 'captoin_noise'; did you mean 'caption_noise'"),
        ({"max_objects": 30}, BadInput, "max_objects = 30; expected 0 to 8: no more than 8 objects have room"),
        ({"min_objects": 6, "max_objects": 3}, BadInput, "min_objects = 6 is above max_objects = 3"),
        ({"max_objects": 2.5}, BadInput, "max_objects = 2.5; expected a whole number"),
        ({"unpaired": -0.1}, BadInput, "unpaired = -0.1; expected 0.0 to 1.0"),
        ({"missing": "half"}, BadInput, "missing = 'half'; expected a number from 0.0 to 1.0"),
        ({"long_tail": float("nan")}, BadInput, "expected a number"),
        ({"min_objects": 0, "max_objects": 0}, BadInput, "leaves scenes without a person empty; set person = 1"),
    ],
)
def test_errors(turned, error, message):
    with pytest.raises(error, match=message):
        world.knobs(turned)


def test_knobs_turn_from_others():
    assert world.knobs(world.knobs(person=0.5), twins=0.2) == world.Knobs(person=0.5, twins=0.2)
    assert world.knobs() == world.Knobs()
