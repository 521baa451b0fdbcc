"""Every run works at smoke: both arms, chance and best, numbers in range, the same again, nothing written elsewhere."""

import math
import time

import pytest

from isthmus.core.report import Report
from isthmus.core.run import Run, seeded
from isthmus.workbench import results

HARD = 15.0
MEASURED = ("_seconds", "_bytes")


def measure(entry, tmp, seed=0, control=None):
    context = Run(budget="smoke", seed=seed, out=tmp / "out", cache=tmp / "cache", control=control)
    context.out.mkdir(exist_ok=True)
    with seeded(context.derived("run")):
        return entry.load().run(context)


@pytest.fixture(scope="module")
def first(entry, tmp_path_factory):
    """The first smoke run of a method, shared by the tests: its report, stray writes, wall and processor seconds."""
    from tests.contract.writes import outside

    entry.load()
    tmp = tmp_path_factory.mktemp("run")
    wall, busy = time.perf_counter(), time.process_time()
    with outside(tmp) as strays:
        report = measure(entry, tmp)
    return report, strays, time.perf_counter() - wall, time.process_time() - busy


def lasting(value):
    """A row without what is measured with a clock or depends on the machine."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if not k.endswith(MEASURED)}
    return value


def test_time(entry, first, took):
    _, _, wall, busy = first
    took(entry.name, wall)
    # a machine that does other things too makes the wall clock run, not the processor's
    assert min(wall, busy) <= HARD


def test_nothing_is_written_outside(first):
    assert not first[1]


def test_arms(entry, first):
    report = first[0]
    assert isinstance(report, Report)
    arms = {row["arm"] for row in report}
    claims = (entry.card.claim, *entry.card.further)
    assert {"chance", "best"} | {arm for c in claims for arm in (c.better, c.than)} <= arms
    for row in report:
        assert isinstance(row.get("settings"), dict), f"arm {row['arm']} has no settings"


def test_values(entry, first):
    ranges = {}
    for claim in (entry.card.claim, *entry.card.further):
        ranges |= results.task(claim, entry).ranges
        assert math.isfinite(first[0].gain(claim))
    for row in first[0]:
        plain = results.plain(row, row["arm"])  # refuses numbers that are not finite, however deep
        for name, value in plain.items():
            # "text_to_image r@1" is the r@1 of one direction
            low, high = ranges.get(name, ranges.get(name.split(" ")[-1], (-math.inf, math.inf)))
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert low <= value <= high, f"{row['arm']}: {name} = {value} is outside [{low}, {high}]"


def test_best_is_best_and_chance_is_not(entry, first):
    claim = entry.card.claim
    if any(claim.metric not in row for row in first[0] if row["arm"] in ("best", "chance")):
        return  # a metric such as seconds has no best answer
    best, chance = first[0].value("best", claim.metric), first[0].value("chance", claim.metric)
    for arm in (claim.better, claim.than, "chance"):
        value = first[0].value(arm, claim.metric)
        assert value <= best + 1e-9 if claim.higher else value >= best - 1e-9
    assert best != chance


def test_same_seed_same_rows(entry, first, tmp_path):
    again = measure(entry, tmp_path)
    assert [lasting(dict(row)) for row in again] == [lasting(dict(row)) for row in first[0]]


def test_controls_run(entry, first, tmp_path, subtests):
    claims = (entry.card.claim, *entry.card.further)
    for control in {c.control for c in claims} - {"none"}:
        with subtests.test(control):
            report = measure(entry, tmp_path, control=control)
            assert {row["arm"] for row in report} == {row["arm"] for row in first[0]}
            assert [lasting(dict(row)) for row in report] != [lasting(dict(row)) for row in first[0]]
