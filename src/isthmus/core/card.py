"""The facts about a method, written once as literals and read by catalogue, CLI, docs and tests.

A card is a record, not code: every argument is a literal, so that the catalogue can read it from the syntax
tree of the file without importing the method (and torch with it).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Card", "Claim", "Control", "Fact"]

Control = Literal["shuffled_pairs", "shuffled_labels", "random_encoder", "none"]
Fact = Literal["deterministic", "float64", "gradients", "numpy_only", "streaming"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement made before the measurement: arm `better` beats arm `than` by more than `margin`.

    `unit` is "points" (difference of the metric as it stands in the rows) or "percent" (difference relative
    to the arm `than`). `higher=False` is for metrics where less is better (gap, bytes, seconds).
    `control` names the treatment under which the claim must *not* hold; "none" needs a `control_reason`.
    """

    task: str
    metric: str
    better: str
    than: str
    margin: float
    unit: Literal["points", "percent"] = "points"
    higher: bool = True
    control: Control = "shuffled_pairs"
    control_reason: str = ""

    def __post_init__(self) -> None:
        if self.control == "none" and not self.control_reason:
            raise ValueError(f"claim {self.better} > {self.than}: control 'none' needs a control_reason")

    def gain(self, better: float, than: float) -> float:
        """Return the gain in the claim's unit, positive when the better arm is better."""
        difference = (better - than) if self.higher else (than - better)
        if self.unit == "points" or not difference:
            return difference
        return 100.0 * difference / abs(than) if than else math.copysign(math.inf, difference)

    def __str__(self) -> str:
        more = f" by {self.margin:g}{' percent' * (self.unit == 'percent')}" if self.margin else ""
        return f"{self.better} > {self.than} in {self.metric} ({self.task}){more}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a method is, needs, gives, claims and delivers.

    `uses` maps a workbench verb to the public class or function of the same file that serves it; "verb name" adds
    a variant of the paper under a name of its own.
    `delivers` maps each promised item to a public name of the file, to a test id
    (``tests/…::test_…``), or to ``missing: reason``.
    `facts` are checked by the contract tests; `gaps` are what a reader must know is not there.
    """

    title: str
    authors: tuple[str, ...]
    year: int
    link: str
    summary: str
    needs: tuple[str, ...]
    gives: tuple[str, ...]
    modalities: tuple[str, ...]
    claim: Claim
    further: tuple[Claim, ...] = ()
    facts: tuple[Fact, ...] = ()
    gaps: tuple[str, ...] = ()
    uses: Mapping[str, str] = field(default_factory=dict)
    delivers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        empty = [n for n in ("title", "authors", "link", "summary", "needs", "gives") if not getattr(self, n)]
        if empty:
            raise ValueError(f"card {self.title!r}: empty {', '.join(empty)}")

    @property
    def missing(self) -> dict[str, str]:
        """Items of `delivers` that are not there, with the reason."""
        prefix = "missing:"
        return {k: v[len(prefix) :].strip() for k, v in self.delivers.items() if v.startswith(prefix)}
