import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from isthmus.core.card import Claim
from isthmus.core.errors import BadInput
from isthmus.core.report import Report, verdict

GAINS = st.lists(st.floats(-10, 10), min_size=2, max_size=9).filter(lambda g: np.std(g) > 1e-6)


@given(GAINS)
def test_oracle(gains):
    found = verdict(gains, 0.0)
    low, high = stats.t.interval(0.95, len(gains) - 1, np.mean(gains), stats.sem(gains))
    assert found.gain - found.half == pytest.approx(low)
    assert found.gain + found.half == pytest.approx(high)
    assert found.holds == (found.gain - found.half > 0)


def test_five_seeds_by_hand():
    # mean 3, SE = sqrt(2.5 / 5) = 0.7071, t(0.975, 4) = 2.776445
    found = verdict([1, 2, 3, 4, 5], 1.0)
    assert (found.gain, found.half) == (3, pytest.approx(2.776445 * math.sqrt(0.5)))
    assert found.holds
    assert not verdict([1, 2, 3, 4, 5], 1.1).holds


@pytest.mark.parametrize(
    ("gains", "message"),
    [([1.0], "at least 2"), ([1.0, math.nan], "finite"), ([1.0, math.inf], "finite"), ([0.5, 0.5], "seed must draw")],
)
def test_errors(gains, message):
    with pytest.raises(BadInput, match=message):
        verdict(gains, 0.0)


def test_a_control_may_stay_at_the_floor():
    assert not verdict([0.0] * 5, 0.01, control=True).holds
    assert verdict([0.5] * 5, 0.01, control=True).holds


def test_report():
    report = Report([{"arm": "old", "r@1": 0.25}, {"arm": "new", "r@1": np.float32(0.5)}])
    assert report.gain(Claim(task="t", metric="r@1", better="new", than="old", margin=0)) == 0.25
    assert [row["arm"] for row in report] == ["old", "new"]
    with pytest.raises(BadInput, match="no row has arm 'newer' with metric 'r@1'"):
        report.value("newer", "r@1")
