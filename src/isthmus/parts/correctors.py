"""Estimators on `parts.hubness`: fitted on banks, they correct scores, give one bias an item, and are tuned.

A corrector is fitted on a **query bank** and a **gallery bank**, vectors of training queries and training items in
the space that is searched, and then corrects the scores of any queries against any gallery:

    InvertedSoftmax(beta=20).fit(bank_queries, bank_items).score(queries, gallery)

Those whose correction is one number an item say so (`per_item`) and give it (`bias`): it fits into any vector index
as one more dimension. The others look at the query's own scores first.

`tune` chooses settings on validation queries and leaves the scores alone when nothing helps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.retrieval import ScoreBlocks, per_query, rank_positives
from isthmus.metrics.vectors import matrix, pair
from isthmus.parts.hubness import (
    Bank,
    PerItem,
    Scores,
    active_items,
    globally_corrected,
    log_mean_exp,
    mean_of_largest,
    subsample,
)
from isthmus.parts.params import Params

__all__ = [
    "CSLS",
    "NNN",
    "Corrector",
    "DistributionNormalised",
    "DynamicInvertedSoftmax",
    "Fold",
    "GloballyCorrected",
    "InvertedSoftmax",
    "Tuned",
    "Uncorrected",
    "settings_of",
    "tune",
]

USES = {
    "none": {"correct": "Uncorrected"},
    "is": {"correct": "InvertedSoftmax"},
    "dis": {"correct": "DynamicInvertedSoftmax"},
    "csls": {"correct": "CSLS"},
    "gc": {"correct": "GloballyCorrected"},
    "nnn": {"correct": "NNN"},
    "dn": {"correct": "DistributionNormalised"},
}

BANK = 10_000
"""Entries of a bank by default: popularity is a mean, which more of them hardly sharpen."""


class Corrector(Params):
    """Base of all correctors: keeps the banks, and makes scores of what a subclass says.

    A subclass that takes one number off each item gives `_biases`; another one gives
    `rows`. Both banks are those against the gallery at hand. `bank` entries of each bank are kept, drawn by
    `seed`. `GRID` holds the settings that `tune` tries.
    """

    per_item: ClassVar[bool] = True
    why: ClassVar[str] = ""
    """Why the correction is not one number an item, where it is not."""
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {}
    bank: int = BANK
    seed: int = 0

    def fit(self, queries: Any, gallery: Any, *, groups: tuple[Any, Any] | None = None) -> Self:
        """Keep the query bank (m, d) and the gallery bank (p, d); `groups` are their near-duplicate groups.

        Vectors count as they come: normalise them where the search does. Raises `BadInput` for unequal widths.
        """
        pair(queries, gallery, ("query bank", "gallery bank"))
        self.banks_: list[tuple[np.ndarray, np.ndarray | None]] = []
        for side, x in enumerate((np.asarray(queries), np.asarray(gallery))):
            kept = subsample(len(x), self.bank, self.seed)
            self.banks_.append((x[kept], None if groups is None else np.asarray(groups[side])[kept]))
        return self

    def bias(self, gallery: Any, *, groups: Any = None) -> PerItem:
        """Return what to take off the score of each gallery item (n,), whatever the query.

        With the `groups` of the gallery, bank entries of an item's own group are not asked about it. Raises
        `BadInput` where the correction depends on the query, or before `fit`.
        """
        if not self.per_item:
            raise BadInput(f"{type(self).__name__} has no bias of its items: {self.why}")
        return self._biases(*self.banks(gallery, groups=groups))

    def against(self, gallery: Any, *, groups: Any = None) -> Callable[[Any], Scores]:
        """Return a function from queries (q, d) to their corrected scores (q, n).

        What belongs to the gallery is computed here, once.
        """
        banks = self.banks(gallery, groups=groups)
        rows = self._rows(*banks)

        def score(queries: Any) -> Scores:
            a, b = pair(queries, gallery, ("queries", "gallery"))
            return rows(a @ b.T)

        return score

    def score(self, queries: Any, gallery: Any, *, groups: Any = None) -> Scores:
        """Return the corrected scores (q, n) of queries (q, d) against a gallery (n, d)."""
        return self.against(gallery, groups=groups)(queries)

    def correct(self, scores: Any, query_bank: Any, gallery_bank: Any = None) -> Scores:
        """Return corrected scores of a matrix (q, n), given the banks' scores (m, n) and (p, n) of the same gallery.

        For whoever has scores and no vectors; nothing needs to be fitted. Raises `BadInput` where a bank is missing.
        """
        of_queries = Bank.of(query_bank)
        of_gallery = _Missing(type(self).__name__) if gallery_bank is None else Bank.of(gallery_bank)
        table = matrix(scores, "scores")
        given = [of_queries] if gallery_bank is None else [of_queries, of_gallery]
        if wrong := [bank.shape for bank in given if bank.shape[1] != table.shape[1]]:
            raise BadInput(
                f"scores are {table.shape} and a bank's {wrong[0]}: one column a gallery item in all of them"
            )
        return self._rows(of_queries, of_gallery)(table)

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        raise NotImplementedError

    def _rows(self, queries: Bank, gallery: Bank) -> Callable[[Scores], Scores]:
        bias = self._biases(queries, gallery)
        return lambda scores: np.asarray(scores - bias)

    def banks(self, gallery: Any, *, groups: Any = None) -> tuple[Bank, Bank]:
        """Return the scores of the query bank and of the gallery bank against a gallery (n, d)."""
        if not hasattr(self, "banks_"):
            raise BadInput(f"{type(self).__name__} has no banks yet: call fit first")
        first, second = (
            Bank.between(x, gallery, groups=None if own is None or groups is None else (own, groups))
            for x, own in self.banks_
        )
        return first, second


class _Missing(Bank):
    """Stands for a gallery bank that was not given; whoever asks it gets the error."""

    def __init__(self, name: str) -> None:
        def block(rows: slice, columns: slice) -> np.ndarray:
            raise BadInput(f"{name} needs the scores of a gallery bank too")

        super().__init__(block, (1, 1))


class Uncorrected(Corrector):
    """The scores as they are: what `tune` falls back on."""

    def __init__(self, *, bank: int = BANK, seed: int = 0) -> None:
        self.bank, self.seed = bank, seed

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        return np.zeros(queries.shape[1], dtype=np.float32)


class InvertedSoftmax(Corrector):
    """IS: S − (1/β) log mean e^{βB} over the query bank (`hubness.inverted_softmax`)."""

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {"beta": (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)}

    def __init__(self, *, beta: float = 20.0, bank: int = BANK, seed: int = 0) -> None:
        self.beta, self.bank, self.seed = beta, bank, seed

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        return log_mean_exp(queries, self.beta)


class DynamicInvertedSoftmax(Corrector):
    """DIS, QB-Norm: IS for queries whose best item is active (`hubness.dynamic_inverted_softmax`)."""

    per_item: ClassVar[bool] = False
    why: ClassVar[str] = (
        "it corrects only queries whose best item is active, which shows when a query has been scored; "
        "the same without that gate is 'is'"
    )
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {"beta": (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)}

    def __init__(self, *, beta: float = 20.0, k: int = 1, bank: int = BANK, seed: int = 0) -> None:
        self.beta, self.k, self.bank, self.seed = beta, k, bank, seed

    def _rows(self, queries: Bank, gallery: Bank) -> Callable[[Scores], Scores]:
        bias, active = log_mean_exp(queries, self.beta), active_items(queries, self.k)
        return lambda scores: np.asarray(scores - active[scores.argmax(1), None] * bias)


class CSLS(Corrector):
    """CSLS, as S − ½ · mean of the k largest: half of `hubness.csls` less the query's own term; the same order."""

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {"k": (1, 2, 5, 10, 20, 50, 100)}

    def __init__(self, *, k: int = 10, bank: int = BANK, seed: int = 0) -> None:
        self.k, self.bank, self.seed = k, bank, seed

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        return np.asarray(mean_of_largest(queries, self.k) / 2)


class NNN(Corrector):
    """NNN: S − α · mean of the k largest (`hubness.nnn`)."""

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "k": (1, 8, 16, 64, 128, 512),
        "alpha": (0.25, 0.5, 0.75, 1.0, 1.5),
    }

    def __init__(self, *, k: int = 128, alpha: float = 0.75, bank: int = BANK, seed: int = 0) -> None:
        self.k, self.alpha, self.bank, self.seed = k, alpha, bank, seed

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        return np.asarray(self.alpha * mean_of_largest(queries, self.k))


class DistributionNormalised(Corrector):
    """DN, as S − λ · mean over the query bank: `hubness.distribution_normalised` less terms of the query alone."""

    GRID: ClassVar[Mapping[str, Sequence[float]]] = {"weight": (0.25, 0.5, 0.75, 1.0, 1.5)}

    def __init__(self, *, weight: float = 0.5, bank: int = BANK, seed: int = 0) -> None:
        self.weight, self.bank, self.seed = weight, bank, seed

    def _biases(self, queries: Bank, gallery: Bank) -> PerItem:
        return np.asarray(self.weight * log_mean_exp(queries, 0.0))


class GloballyCorrected(Corrector):
    """GC: the rank of the query among the bank in each item's eyes (`hubness.globally_corrected`)."""

    per_item: ClassVar[bool] = False
    why: ClassVar[str] = "it ranks each score among the bank's scores of the same item, which no offset does"

    def __init__(self, *, bank: int = BANK, seed: int = 0) -> None:
        self.bank, self.seed = bank, seed

    def _rows(self, queries: Bank, gallery: Bank) -> Callable[[Scores], Scores]:
        return lambda scores: globally_corrected(scores, queries)


# ------------------------------------------------------------------ choosing settings


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One problem to choose settings on: validation queries and their gallery, and the banks for it.

    A query's positives are the gallery items of its key. `groups` are the near-duplicate groups of the query bank,
    the gallery bank and the gallery, where these share items.
    """

    queries: Float[np.ndarray, "q d"]
    gallery: Float[np.ndarray, "n d"]
    query_keys: np.ndarray
    gallery_keys: np.ndarray
    query_bank: Float[np.ndarray, "m d"]
    gallery_bank: Float[np.ndarray, "p d"]
    groups: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    _drawn: dict[tuple[int, int], tuple[Bank, Bank]] = field(default_factory=dict, repr=False, compare=False)

    def figures(self, corrector: Corrector, figure: str) -> Float[np.ndarray, " q"]:
        """Return a figure of each query under a corrector with the fold's banks."""
        scores = self.scores(corrector)
        return per_query(rank_positives(scores, self.query_keys, self.gallery_keys))[figure]

    def scores(self, corrector: Corrector) -> ScoreBlocks:
        """Return a function from a slice of the queries to their scores, corrected with the fold's banks."""
        correct = corrector._rows(*self._banks(corrector))
        return lambda rows: correct(self.queries[rows] @ self.gallery.T)

    def _banks(self, corrector: Corrector) -> tuple[Bank, Bank]:
        """Return the banks against the gallery as the corrector would draw them, the same for all its settings."""
        drawn = (corrector.bank, corrector.seed)
        if drawn not in self._drawn:
            plain = Uncorrected(bank=corrector.bank, seed=corrector.seed)
            of_banks = None if self.groups is None else self.groups[:2]
            plain.fit(self.query_bank, self.gallery_bank, groups=of_banks)
            self._drawn[drawn] = plain.banks(self.gallery, groups=None if self.groups is None else self.groups[2])
        return self._drawn[drawn]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What `tune` chose: a corrector's `name` and `settings` ("none" and no settings where nothing helped).

    `raw` and `found` are the figure without correction and with the best one that was tried, `error` the standard
    error of their difference, `tried` the number of settings. `corrector` is the chosen one, yet to be fitted.
    """

    name: str
    settings: Mapping[str, float]
    figure: str
    raw: float
    found: float
    error: float
    tried: int
    best: str
    corrector: Corrector = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return all but the corrector as JSON values."""
        record = {name: getattr(self, name) for name in ("name", "figure", "raw", "found", "error", "tried", "best")}
        return {**record, "settings": dict(self.settings)}


def settings_of(corrector: type[Corrector]) -> Iterator[dict[str, Any]]:
    """Yield every combination of a corrector's `GRID`; one empty one where it has none."""
    for values in product(*corrector.GRID.values()):
        yield dict(zip(corrector.GRID, values, strict=True))


def tune(
    correctors: Mapping[str, type[Corrector]],
    folds: Sequence[Fold],
    *,
    figure: str = "mrr",
    errors: float = 2.0,
    fallback: bool = True,
    fixed: Mapping[str, Any] | None = None,
) -> Tuned:
    """Try every setting of every corrector on the validation folds, and return the best, or none of them.

    The best has the largest mean of `figure` over the queries of all folds. It is taken when its paired gain over
    the plain scores is positive, and more than `errors` standard errors (queries of one key count as one); otherwise
    "none" is: a correction that does not help on validation data is not applied, and of fifty settings one helps by
    chance. Without `fallback` it is, to study
    a corrector. `mrr` tells settings apart with fewer queries than R@1. `fixed` are arguments of every corrector,
    such as the size of its bank.

    Raises `BadInput` without correctors or folds.
    """
    if not correctors or not folds:
        raise BadInput("tune needs at least one corrector and one fold of validation queries")
    fixed = dict(fixed or {})
    raw = [fold.figures(Uncorrected(), figure) for fold in folds]
    base = float(np.concatenate(raw).mean())
    best: tuple[float, str, dict[str, Any], list[np.ndarray]] | None = None
    tried = 0
    for name, cls in correctors.items():
        for settings in settings_of(cls):
            tried += 1
            found = [fold.figures(cls(**settings, **fixed), figure) for fold in folds]
            mean = float(np.concatenate(found).mean())
            if best is None or mean > best[0]:  # the first of equals: grids begin with the mildest
                best = (mean, name, settings, found)
    assert best is not None
    mean, name, settings, found = best
    error = _paired_error([f - r for f, r in zip(found, raw, strict=True)], [fold.query_keys for fold in folds])
    helps = not fallback or (mean > base and mean - base > errors * error)
    label = f"{name} {' '.join(f'{k}={v:g}' for k, v in settings.items())}".strip()
    return Tuned(
        name=name if helps else "none",
        settings=settings if helps else {},
        figure=figure,
        raw=base,
        found=mean,
        error=error,
        tried=tried,
        best=label,
        corrector=correctors[name](**settings, **fixed) if helps else Uncorrected(**fixed),
    )


def _paired_error(gains: Sequence[np.ndarray], keys: Sequence[np.ndarray]) -> float:
    """Return the standard error of the mean gain, over keys: the names of one item in five languages err alike."""
    gain = np.concatenate(gains)
    _, cluster = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(cluster, weights=gain - gain.mean())
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / max(1, n - 1)) / len(gain))
