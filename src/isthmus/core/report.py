"""What a run returns, and how five of them become a verdict.

A report is rows of plain numbers. The verdict is a one-sided use of the paired t interval: a claim holds when
``mean gain − t(0.975, seeds − 1) · SE > margin``.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.core.card import Claim
from isthmus.core.errors import BadInput

__all__ = ["Report", "Row", "Verdict", "verdict"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Rows of one seed. Each row has `arm`, the metrics as numbers, and `settings` of that arm.

    The arms of the claims, "chance" and "best" must be among the rows.
    """

    rows: Sequence[Row]

    def value(self, arm: str, metric: str) -> float:
        """Return the metric of an arm."""
        for row in self.rows:
            if row["arm"] == arm and metric in row:
                return float(row[metric])
        raise BadInput(f"no row has arm {arm!r} with metric {metric!r}; arms: {[r['arm'] for r in self.rows]}")

    def gain(self, claim: Claim) -> float:
        """Return how much better the claim's better arm is here, in the claim's unit."""
        return claim.gain(self.value(claim.better, claim.metric), self.value(claim.than, claim.metric))

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


@dataclass(frozen=True)
class Verdict:
    """Outcome of a claim over seeds: `gain` ± `half` (95 %, paired t) against `margin`."""

    gains: tuple[float, ...]
    margin: float
    gain: float
    half: float
    holds: bool


def verdict(gains: Sequence[float], margin: float, *, control: bool = False) -> Verdict:
    """Judge paired gains of several seeds against a margin.

    Raises `BadInput` for fewer than 2 seeds, and for gains without any spread: seeds that change nothing measure
    nothing. Under a `control` both arms may well be at the floor on every seed, so there no spread is no error.
    """
    from scipy.stats import t as student

    if len(gains) < 2:
        raise BadInput(f"a verdict needs at least 2 seeds, got {len(gains)}")
    if not all(math.isfinite(g) for g in gains):
        raise BadInput(f"gains must be finite, got {list(gains)}")
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    if error == 0 and not control:
        raise BadInput(f"all {len(gains)} seeds gave the gain {gains[0]}: the seed must draw the split and the sample")
    mean = statistics.fmean(gains)
    half = float(student.ppf(0.975, len(gains) - 1)) * error
    return Verdict(tuple(gains), margin, mean, half, mean - half > margin)
