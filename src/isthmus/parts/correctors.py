"""Estimators on `parts.hubness`: fitted on banks, they correct scores, give one bias an item, and are tuned.

A corrector is fitted on a **query bank** and a **gallery bank**, vectors of training queries and training items in
the space that is searched, and then corrects the scores of any queries against any gallery:

    InvertedSoftmax(beta=20).fit(bank_queries, bank_items).score(queries, gallery)

Those whose correction is one number an item say so (`per_item`) and give it (`bias`): it fits into any vector index
as one more dimension. The others look at the query's own scores first, and `DualSoftmax` at those of all queries.

`tune` chooses settings on validation queries and leaves the scores alone when nothing helps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput, NotFound
from isthmus.metrics.retrieval import ScoreBlocks, per_query, rank_positives
from isthmus.metrics.vectors import matrix, pair
from isthmus.parts.hubness import (
    Bank,
    PerItem,
    Scores,
    dual_softmax,
    dynamic_inverted_softmax,
    globally_corrected,
    log_mean_exp,
    mean_of_largest,
    subsample,
)
from isthmus.parts.params import Params

__all__ = [
    "BETAS",
    "CSLS",
    "NNN",
    "Correction",
    "Corrector",
    "DistributionNormalised",
    "DualSoftmax",
    "DynamicInvertedSoftmax",
    "Fold",
    "GloballyCorrected",
    "Grid",
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
    "dual_softmax": {"correct": "DualSoftmax"},
}

BANK = 10_000
"""Entries of a bank by default: popularity is a mean, which more of them hardly sharpen."""
BETAS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Inverse temperatures that `tune` tries, for scores on the scale of cosines."""
Grid = Mapping[str, Sequence[float]]
"""Values of each setting that `tune` tries, in every combination."""


@dataclass(frozen=True)
class Correction:
    """What a corrector does to scores against one gallery.

    `apply` gives the corrected scores of rows (q, n); `bias` (n,) is what it takes off each item, where that is all
    it does.
    """

    apply: Callable[[Scores], Scores]
    bias: PerItem | None = None

    @classmethod
    def less(cls, bias: PerItem) -> "Correction":
        """Return the correction S_qj − b_j."""
        return cls(lambda scores: np.asarray(scores - bias), bias)


class Corrector(Params, ABC):
    """What all correctors share: `fit` keeps the banks, the rest makes scores of their `correction`.

    `bank` entries of each bank are kept, drawn by `seed`. `needs` names the banks that are asked, `per_item` says
    whether the correction is one number an item, with `why` where it is not; `transductive` that it depends on what
    else is asked; `GRID` holds what `tune` tries.
    """

    needs: ClassVar[tuple[Literal["query", "gallery"], ...]] = ("query",)
    per_item: ClassVar[bool] = True
    transductive: ClassVar[bool] = False
    why: ClassVar[str] = ""
    GRID: ClassVar[Grid] = {}
    bank: int = BANK
    seed: int = 0

    @abstractmethod
    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Return the correction that the banks call for, both of them against the gallery at hand."""

    def fit(self, queries: Any, gallery: Any, *, groups: tuple[Any, Any] | None = None) -> Self:
        """Keep the query bank (m, d) and the gallery bank (p, d); `groups` are their near-duplicate groups.

        Vectors count as they come: normalise them where the search does. Raises `BadInput` for unequal widths, or
        groups that are not one an entry.
        """
        pair(queries, gallery, ("query bank", "gallery bank"))
        if groups is not None and [len(g) for g in groups] != [len(queries), len(gallery)]:
            raise BadInput(
                f"groups have {[len(g) for g in groups]} entries for banks of {len(queries)} queries and "
                f"{len(gallery)} items"
            )
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
        found = self.correction(*self.banks(gallery, groups=groups)).bias if self.per_item else None
        if found is None:
            raise BadInput(f"{type(self).__name__} has no bias of its items: {self.why}")
        return found

    def against(self, gallery: Any, *, groups: Any = None) -> Callable[[Any], Scores]:
        """Return a function from queries (q, d) to their corrected scores (q, n), for queries block by block.

        What an item's bias needs is computed here, once. Raises `BadInput` for a correction that is `transductive`.
        """
        if self.transductive:
            raise BadInput(f"{type(self).__name__} cannot be applied to queries block by block: {self.why}")
        correction = self.correction(*self.banks(gallery, groups=groups))

        def score(queries: Any) -> Scores:
            a, b = pair(queries, gallery, ("queries", "gallery"))
            return correction.apply(a @ b.T)

        return score

    def score(self, queries: Any, gallery: Any, *, groups: Any = None) -> Scores:
        """Return the corrected scores (q, n) of queries (q, d) against a gallery (n, d)."""
        a, b = pair(queries, gallery, ("queries", "gallery"))
        return self.correction(*self.banks(gallery, groups=groups)).apply(a @ b.T)

    def correct(self, scores: Any, query_bank: Any = None, gallery_bank: Any = None) -> Scores:
        """Return corrected scores of a matrix (q, n), given the banks' scores (m, n) and (p, n) of the same gallery.

        For whoever has scores and no vectors; nothing needs to be fitted. Raises `BadInput` where a bank is missing.
        """
        table = matrix(scores, "scores")
        given = {"query": query_bank, "gallery": gallery_bank}
        nobody = Bank(lambda rows, columns: np.empty((0, table.shape[1]))[rows, columns], (0, table.shape[1]))
        of_queries, of_gallery = (nobody if bank is None else Bank.of(bank) for bank in given.values())
        if wrong := [bank.shape for bank in (of_queries, of_gallery) if bank.shape[1] != table.shape[1]]:
            raise BadInput(
                f"scores are {table.shape} and a bank's {wrong[0]}: one column a gallery item in all of them"
            )
        if missing := [name for name in self.needs if given[name] is None]:
            raise BadInput(f"{type(self).__name__} needs the scores of a {missing[0]} bank too")
        return self.correction(of_queries, of_gallery).apply(table)

    def banks(self, gallery: Any, *, groups: Any = None) -> tuple[Bank, Bank]:
        """Return the scores of the query bank and of the gallery bank against a gallery (n, d)."""
        if not hasattr(self, "banks_"):
            raise BadInput(f"{type(self).__name__} has no banks yet: call fit first")
        if groups is not None and self.banks_[0][1] is None:
            raise BadInput(f"{type(self).__name__} was fitted without groups: give those of the banks to fit too")
        first, second = (
            Bank.between(x, gallery, groups=None if own is None or groups is None else (own, groups))
            for x, own in self.banks_
        )
        return first, second


class Uncorrected(Corrector):
    """The scores as they are: what `tune` falls back on."""

    needs: ClassVar[tuple[Literal["query", "gallery"], ...]] = ()

    def __init__(self, *, bank: int = BANK, seed: int = 0) -> None:
        self.bank, self.seed = bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take nothing off."""
        return Correction(lambda scores: scores, np.zeros(queries.shape[1], dtype=np.float32))


class InvertedSoftmax(Corrector):
    """IS: S − (1/β) log mean e^{βB} over the query bank (`hubness.inverted_softmax`)."""

    GRID: ClassVar[Grid] = {"beta": BETAS}

    def __init__(self, *, beta: float = 20.0, bank: int = BANK, seed: int = 0) -> None:
        self.beta, self.bank, self.seed = beta, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off (1/β) log mean e^{βB}."""
        return Correction.less(log_mean_exp(queries, self.beta))


class DynamicInvertedSoftmax(Corrector):
    """DIS, QB-Norm: IS for queries whose best item is active (`hubness.dynamic_inverted_softmax`)."""

    per_item: ClassVar[bool] = False
    why: ClassVar[str] = (
        "it corrects only queries whose best item is active, which shows when a query has been scored; "
        "the same without that gate is 'is'"
    )
    GRID: ClassVar[Grid] = {"beta": BETAS}

    def __init__(self, *, beta: float = 20.0, k: int = 1, bank: int = BANK, seed: int = 0) -> None:
        self.beta, self.k, self.bank, self.seed = beta, k, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take the bias of IS off the rows whose best item is active."""
        return Correction(lambda scores: dynamic_inverted_softmax(scores, queries, beta=self.beta, k=self.k))


class CSLS(Corrector):
    """CSLS, as S − ½ · mean of the k largest: half of `hubness.csls` less the query's own term; the same order."""

    GRID: ClassVar[Grid] = {"k": (1, 2, 5, 10, 20, 50, 100)}

    def __init__(self, *, k: int = 10, bank: int = BANK, seed: int = 0) -> None:
        self.k, self.bank, self.seed = k, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off half the mean of the k largest."""
        return Correction.less(np.asarray(mean_of_largest(queries, self.k) / 2))


class NNN(Corrector):
    """NNN: S − α · mean of the k largest (`hubness.nnn`)."""

    GRID: ClassVar[Grid] = {"k": (1, 8, 16, 64, 128, 512), "alpha": (0.25, 0.5, 0.75, 1.0, 1.5)}

    def __init__(self, *, k: int = 128, alpha: float = 0.75, bank: int = BANK, seed: int = 0) -> None:
        self.k, self.alpha, self.bank, self.seed = k, alpha, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off α times the mean of the k largest."""
        return Correction.less(np.asarray(self.alpha * mean_of_largest(queries, self.k)))


class DistributionNormalised(Corrector):
    """DN, as S − λ · mean over the query bank: `hubness.distribution_normalised` less terms of the query alone."""

    GRID: ClassVar[Grid] = {"weight": (0.25, 0.5, 0.75, 1.0, 1.5)}

    def __init__(self, *, weight: float = 0.5, bank: int = BANK, seed: int = 0) -> None:
        self.weight, self.bank, self.seed = weight, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Take off λ times the mean."""
        return Correction.less(np.asarray(self.weight * log_mean_exp(queries, 0.0)))


class GloballyCorrected(Corrector):
    """GC: the rank of the query among the bank in each item's eyes (`hubness.globally_corrected`)."""

    per_item: ClassVar[bool] = False
    why: ClassVar[str] = "it ranks each score among the bank's scores of the same item, which no offset does"

    def __init__(self, *, bank: int = BANK, seed: int = 0) -> None:
        self.bank, self.seed = bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Replace scores by ranks."""
        return Correction(lambda scores: globally_corrected(scores, queries))


class DualSoftmax(Corrector):
    """Dual softmax over the queries of a batch (`hubness.dual_softmax`); needs no bank, and all queries at once."""

    needs: ClassVar[tuple[Literal["query", "gallery"], ...]] = ()
    per_item: ClassVar[bool] = False
    transductive: ClassVar[bool] = True
    why: ClassVar[str] = (
        "it compares a query with the others that are asked along with it, so that it has no meaning for one alone; "
        "`isthmus correct` takes whole matrices"
    )
    GRID: ClassVar[Grid] = {"beta": BETAS}

    def __init__(self, *, beta: float = 20.0, bank: int = BANK, seed: int = 0) -> None:
        self.beta, self.bank, self.seed = beta, bank, seed

    def correction(self, queries: Bank, gallery: Bank) -> Correction:
        """Weigh each score by its share among the queries."""
        return Correction(lambda scores: dual_softmax(scores, beta=self.beta))


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

    def __post_init__(self) -> None:
        pair(self.queries, self.gallery, ("queries", "gallery"))
        for name in ("query_bank", "gallery_bank"):
            pair(getattr(self, name), self.gallery, (name.replace("_", " "), "gallery"))
        sizes = {"query_keys": len(self.queries), "gallery_keys": len(self.gallery)}
        if wrong := [
            f"{n} has {len(getattr(self, n))} for {size}" for n, size in sizes.items() if len(getattr(self, n)) != size
        ]:
            raise BadInput(f"a fold needs one key a vector: {', '.join(wrong)}")

    def figures(self, corrector: Corrector, figure: str) -> Float[np.ndarray, " q"]:
        """Return a figure of each query under a corrector with the fold's banks."""
        found = per_query(rank_positives(self.scores(corrector), self.query_keys, self.gallery_keys))
        if figure not in found:
            raise NotFound.named("figure", figure, found)
        return found[figure]

    def scores(self, corrector: Corrector) -> ScoreBlocks:
        """Return a function from a slice of the queries to their scores, corrected with the fold's banks."""
        apply = corrector.correction(*self._banks(corrector)).apply
        return lambda rows: apply(self.queries[rows] @ self.gallery.T)

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


def settings_of(grid: Grid) -> Iterator[dict[str, Any]]:
    """Yield every combination of a grid's values; one empty one where it has none."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def tune(
    correctors: Mapping[str, type[Corrector]],
    folds: Sequence[Fold],
    *,
    figure: str = "mrr",
    errors: float = 2.0,
    fallback: bool = True,
    fixed: Mapping[str, Any] | None = None,
    grids: Mapping[str, Grid] | None = None,
) -> Tuned:
    """Try every setting of every corrector on the validation folds, and return the best, or none of them.

    The best has the largest mean of `figure` over the queries of all folds. It is taken when its paired gain over
    the plain scores is positive, and more than `errors` standard errors (queries of one key count as one); otherwise
    "none" is: a correction that does not help on validation data is not applied, and of fifty settings one helps by
    chance. Without `fallback` it is, to study a corrector. `mrr` tells settings apart with fewer queries than R@1.
    `fixed` are arguments of every corrector, such as the size of its bank; `grids` {name: grid} replace a
    corrector's own `GRID`.

    Raises `BadInput` without correctors or folds, for a corrector that is `transductive` and for a figure that
    `metrics.retrieval.per_query` does not give.
    """
    if not correctors or not folds:
        raise BadInput("tune needs at least one corrector and one fold of validation queries")
    if batch := [name for name, cls in correctors.items() if cls.transductive]:
        raise BadInput(f"{batch[0]} cannot be tuned query by query: {correctors[batch[0]].why}")
    if not errors >= 0:
        raise BadInput(f"errors = {errors}; a number of standard errors is at least 0")
    if unknown := sorted(set(grids or {}) - set(correctors)):
        raise BadInput(f"grids are given for {unknown}, and the correctors are {sorted(correctors)}")
    fixed = dict(fixed or {})
    raw = [fold.figures(Uncorrected(), figure) for fold in folds]
    base = float(np.concatenate(raw).mean())
    best: tuple[float, str, dict[str, Any], list[np.ndarray]] | None = None
    tried = 0
    for name, cls in correctors.items():
        for settings in settings_of((grids or {}).get(name, cls.GRID)):
            tried += 1
            found = [fold.figures(cls(**settings, **fixed), figure) for fold in folds]
            mean = float(np.concatenate(found).mean())
            if best is None or mean > best[0]:  # the first of equals: grids begin with the mildest
                best = (mean, name, settings, found)
    assert best is not None
    mean, name, settings, found = best
    error = _paired_error([f - r for f, r in zip(found, raw, strict=True)], [fold.query_keys for fold in folds])
    several = len(set(np.concatenate([fold.query_keys for fold in folds]).tolist())) > 1  # one has no standard error
    helps = not fallback or (several and mean > base and mean - base > errors * error)
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
