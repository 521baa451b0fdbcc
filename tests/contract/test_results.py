"""What is stored can be read, says what its rows say, and belongs to the code."""

import statistics
from dataclasses import asdict

import pytest

from isthmus.core.card import Claim
from isthmus.core.report import Report, verdict
from isthmus.core.run import Run, seeded
from isthmus.workbench import results

from .conftest import ENTRIES

STORED = [(entry, result) for entry in ENTRIES if (result := results.stored(entry)) is not None]
CHANGED = [(entry, result) for entry, result in STORED if result.digest != results.digest(entry)][:5]


def of(result, seed, control):
    return Report([row for row in result.rows if row["seed"] == seed and row["control"] == control])


def test_every_stored_result_has_its_method():
    for folder in {home for entry in ENTRIES if (home := results.folder(entry)) and home.is_dir()}:
        names = {entry.name for entry in ENTRIES if results.folder(entry) == folder}
        assert {path.stem for path in folder.glob("*.json")} <= names


def test_stored_at_small_with_five_seeds(subtests):
    for entry, result in STORED:
        with subtests.test(entry.name):
            assert result.name == entry.name
            assert result.budget == "small"
            assert len(result.seeds) >= 5
            assert result.seconds > 0 and result.versions and result.machine


def test_verdicts_follow_from_the_rows(subtests):
    for entry, result in STORED:
        assert result.claims
        for record in result.claims:
            claim = Claim(**record["claim"])
            with subtests.test(f"{entry.name}: {claim}"):
                assert record["verdict"] == judged(result, claim, result.seeds, None)
                if claim.control == "none":
                    assert record["control"] is None
                    continue
                control = record["control"]
                assert control["verdict"] == judged(result, claim, result.seeds, claim.control)
                assert (control["repeat"] is not None) == control["verdict"]["holds"], "one that holds is repeated"
                if control["repeat"] is not None:
                    fresh = [seed + len(result.seeds) for seed in result.seeds]
                    assert control["repeat"] == judged(result, claim, fresh, claim.control)
                assert control["holds"] == (control["repeat"] or control["verdict"])["holds"]


def judged(result, claim, seeds, control):
    gains = [of(result, seed, control).gain(claim) for seed in seeds]
    return {**asdict(verdict(gains, claim.margin, control=control is not None)), "gains": gains}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_changed_code_gives_the_stored_rows(subtests, users_cache, tmp_path):
    """One seed of a method whose code changed since: a figure may move by what the seeds differ, not more."""
    for entry, result in CHANGED:
        seed = result.seeds[0]
        context = Run(budget=result.budget, seed=seed, out=tmp_path, cache=users_cache / "features")
        with seeded(context.derived("run")):
            report = entry.load().run(context)
        for claim in (entry.card.claim, *entry.card.further):
            for arm in (claim.better, claim.than):
                before = [of(result, s, None).value(arm, claim.metric) for s in result.seeds]
                room = max(statistics.stdev(before), 1e-6 * abs(before[0]))
                now = report.value(arm, claim.metric)
                with subtests.test(f"{entry.name}: {arm} {claim.metric}"):
                    again = f"isthmus run {entry.name} --budget small --seeds 5"
                    assert abs(now - before[0]) <= room, f"{before[0]:.4g} is now {now:.4g}: {again}"
