"""What a run returns, how five of them become a verdict, and the stored result of a method.

A report is rows of plain numbers. The verdict is a one-sided use of the paired t interval: a claim holds when
``mean gain − t(0.975, seeds − 1) · SE > margin``.
"""

import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isthmus.core.card import Claim
from isthmus.core.errors import BadInput

__all__ = ["Report", "Result", "Row", "Verdict", "verdict"]

RESULT_FORMAT = 1
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


def verdict(gains: Sequence[float], margin: float) -> Verdict:
    """Judge paired gains of several seeds against a margin.

    Raises `BadInput` for fewer than 2 seeds, and for gains without any spread: seeds that change nothing
    measure nothing.
    """
    from scipy.stats import t as student

    if len(gains) < 2:
        raise BadInput(f"a verdict needs at least 2 seeds, got {len(gains)}")
    if not all(math.isfinite(g) for g in gains):
        raise BadInput(f"gains must be finite, got {list(gains)}")
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    if error == 0:
        raise BadInput(f"all {len(gains)} seeds gave the gain {gains[0]}: the seed must draw the split and the sample")
    mean = statistics.fmean(gains)
    half = float(student.ppf(0.975, len(gains) - 1)) * error
    return Verdict(tuple(gains), margin, mean, half, mean - half > margin)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The stored result of a method (`results/<name>.json`)."""

    name: str
    budget: str
    seeds: list[int]
    claims: list[dict[str, Any]]
    """One record a claim: its declaration, its verdict, its control's verdict (and repeat, if any)."""
    rows: list[dict[str, Any]]
    seconds: float
    digest: str
    task_version: str
    base_digest: str
    versions: dict[str, str]
    machine: str
    notes: list[str] = field(default_factory=list)
    format_version: int = RESULT_FORMAT

    @property
    def headline(self) -> dict[str, Any]:
        """The record of the claim that decides the row in the table."""
        return self.claims[0]

    def save(self, folder: Path) -> Path:
        """Write the result atomically and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(
            json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read a stored result; a newer format or a foreign file is refused."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format_version"] > RESULT_FORMAT:
                raise BadInput(
                    f"{path} has format {stored['format_version']}, newer than {RESULT_FORMAT}: update isthmus"
                )
            return cls(**stored)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise BadInput(f"{path} is not a stored result: {error}") from error
