from xml.etree import ElementTree

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.metrics.consistency import by_variant, cases, mean_rank_variance, spread_plot
from tests.oracles import one_to_k as oracle

RANKS = np.random.default_rng(0).integers(1, 60, (30, 4))
NAMES = ("en", "de", "ja", "zh")


def test_oracle():
    assert mean_rank_variance(RANKS) == pytest.approx(oracle.mean_rank_variance(RANKS.tolist()))
    assert mean_rank_variance(RANKS, "std") == pytest.approx(float(np.mean([np.std(row) for row in RANKS])))


def test_relations():
    same = np.repeat(RANKS[:, :1], 4, 1)
    assert mean_rank_variance(same) == mean_rank_variance(same, "std") == 0
    assert mean_rank_variance(RANKS) > 0
    for kind in ("variance", "std"):
        assert mean_rank_variance(RANKS[:, ::-1], kind) == pytest.approx(mean_rank_variance(RANKS, kind))
        shifted = RANKS + np.arange(30)[:, None]
        assert mean_rank_variance(shifted, kind) == pytest.approx(mean_rank_variance(RANKS, kind))
        assert mean_rank_variance([[1, 3]], kind) == 1


def test_recall_of_languages():
    found = by_variant([[1, 1, 2], [1, 3, 1], [1, 9, 9]], ["en", "de", "fr"])
    assert found == pytest.approx({"en": 1.0, "de": 1 / 3, "fr": 1 / 3, "mean": 5 / 9, "worst": 1 / 3})
    assert by_variant([[1, 1, 2], [1, 3, 1], [1, 9, 9]], ["en", "de", "fr"], 3)["worst"] == pytest.approx(2 / 3)


def test_cases_are_the_most_inconsistent():
    found = cases([[1, 1], [1, 40], [3, 1]], ["cat", "dog", "owl"], ["en", "de"])
    assert [c["item"] for c in found] == ["dog", "owl"]  # the cat is found alike
    assert found[0]["best"] == "en" and found[0]["worst"] == "de" and found[0]["ranks"] == {"en": 1.0, "de": 40.0}
    assert len(cases(RANKS, [str(i) for i in range(30)], NAMES, most=3)) == 3


def test_plot():
    drawn = ElementTree.fromstring(spread_plot({"one <b>": RANKS, "same": np.ones((5, 4))}, NAMES))
    curves = [e for e in drawn.iter() if e.tag.endswith("path") and list(e)]
    assert len(curves) == 2
    assert "MRV 0.00 (std)" in "".join(drawn.itertext())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mean_rank_variance([[1], [2]]), "at least two languages, got shape"),
        (lambda: mean_rank_variance([[1, np.nan]]), "not finite in row 0"),
        (lambda: mean_rank_variance(RANKS, "sd"), "'variance' or 'std', got 'sd'"),
        (lambda: by_variant(RANKS, NAMES[:2]), "2 names for 4 languages"),
        (lambda: by_variant(RANKS - 1, NAMES), "count from 1"),
        (lambda: cases(RANKS, ["a"], NAMES), "1 items in 4 languages"),
        (lambda: spread_plot({}, NAMES), "every system needs ranks"),
    ],
)
def test_errors(call, says):
    with pytest.raises(BadInput, match=says):
        call()
