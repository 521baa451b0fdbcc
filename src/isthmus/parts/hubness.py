"""Hubs in cross-modal search, and the published ways to take them out of the scores.

A *hub* is an item that comes first for far too many queries. How popular an item is can be seen on a **bank**: other
queries, or other items, whose right answers are elsewhere. Each correction here takes an item's popularity off its
scores; they differ in how they measure it and in when they do.

With S (q, n) the scores of the queries against the gallery and B (m, n) those of a bank against the same gallery:

    inverted_softmax           S_qj − (1/β) log mean_b e^{βB_bj}                     (smith2017, as in QB-Norm)
    dynamic_inverted_softmax   the same for queries whose best item is active, others as they are    (bogolubsky2022)
    csls                       2S_qj − mean of the K largest of S_q· − mean of the K largest of B_·j  (conneau2018)
    nnn                        S_qj − α · mean of the k largest of B_·j                               (chowdhury2024)
    distribution_normalised    (q − λ mean of bank queries) · (g − λ mean of bank items)              (zhou2023)
    globally_corrected         − rank of S_qj among B_·j, ties broken by S_qj                         (dinu2015)
    dual_softmax               S_qj · softmax of β S_·j over the queries themselves                   (cheng2021)

The first, `csls`, `nnn` and `distribution_normalised` order a query's items by S_qj − bias_j with one number an item,
so that any vector index serves them: append −bias to the item and 1 to the query. `log_mean_exp` and
`mean_of_largest` are those numbers.

A `Bank` gives its scores in blocks: no function holds a bank × gallery matrix, unless the bank was made of one.

**Relations** (each one a test): bank scores equal in all columns → every order as it was. · β → 0 → the mean of the
bank, β → ∞ → its largest. · order of the bank → nothing. · the bank twice → nothing (k and K doubled). · a constant
added to a query's row → its order as it was, except `globally_corrected` and `dual_softmax`.

**Departures.** The inverted softmax is written on the scale of the scores, log η / β with the mean for the sum: the
same order as η = e^{βS}/Σe^{βB}, without overflow, comparable between queries, and defined at β = 0. QB-Norm's code
writes into its input and mixes exponentials with plain rows; here both are on one scale.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks, matrix, pair

__all__ = [
    "Bank",
    "active_items",
    "csls",
    "distribution_normalised",
    "dual_softmax",
    "dynamic_inverted_softmax",
    "globally_corrected",
    "inverted_softmax",
    "log_mean_exp",
    "mean_of_largest",
    "nnn",
    "subsample",
]

Scores = Float[np.ndarray, "q n"]
PerItem = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Bank:
    """Scores of a bank of m queries (or items) against a gallery of n items, given block by block.

    `block(rows, columns)` returns those scores as a fresh array; −∞ where a bank entry must not speak of an item.
    What is asked of it twice (`log_mean_exp` with one β, by forty-nine settings) is computed once.
    """

    block: Callable[[slice, slice], Float[np.ndarray, "a b"]]
    shape: tuple[int, int]
    _known: dict[tuple[str, float], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, scores: Any) -> "Bank":
        """Return the bank of a score matrix (m, n)."""
        table = matrix(scores, "bank scores")
        return cls(lambda rows, columns: table[rows, columns].copy(), table.shape)

    @classmethod
    def between(cls, bank: Any, gallery: Any, *, groups: tuple[Any, Any] | None = None) -> "Bank":
        """Return the inner products of bank vectors (m, d) with the gallery (n, d), computed when asked for.

        `groups` are the near-duplicate groups of the bank (m,) and of the gallery (n,): an entry says nothing about
        items of its own group. Without it a gallery that shares items with the bank counts them as their own hubs.

        Raises `BadInput` for unequal widths, groups that do not fit, or a bank of a single group that some item has.
        """
        a, b = pair(bank, gallery, ("bank", "gallery"))
        if groups is None:
            return cls(lambda rows, columns: a[rows] @ b[columns].T, (len(a), len(b)))
        codes_a, codes_b = _codes(groups, (len(a), len(b)))

        def block(rows: slice, columns: slice) -> Float[np.ndarray, "a b"]:
            scores = a[rows] @ b[columns].T
            scores[codes_a[rows, None] == codes_b[columns]] = -np.inf
            return np.asarray(scores)

        return cls(block, (len(a), len(b)))

    def columns(self) -> Iterator[tuple[slice, Float[np.ndarray, "m b"]]]:
        """Yield blocks of whole columns: what all of the bank says of some items."""
        m, n = self.shape
        for part in blocks(n, m):
            yield part, self.block(slice(0, m), part)

    def rows(self) -> Iterator[tuple[slice, Float[np.ndarray, "b n"]]]:
        """Yield blocks of whole rows: what some of the bank say of all items."""
        m, n = self.shape
        for part in blocks(m, n):
            yield part, self.block(part, slice(0, n))

    def reduced(self, function: Callable[[Float[np.ndarray, "m b"]], Float[np.ndarray, " b"]]) -> PerItem:
        """Return one number an item, by a function of whole columns."""
        return np.concatenate([function(scores) for _, scores in self.columns()])

    def known(self, name: str, parameter: float, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what a name and a parameter identify, computed when it is first asked for."""
        if (name, parameter) not in self._known:
            value = compute()
            value.setflags(write=False)  # the next one who asks gets the same array
            self._known[name, parameter] = value
        return self._known[name, parameter]


def subsample(m: int, most: int, seed: int) -> Int[np.ndarray, " b"]:
    """Return the rows of a bank of m that are kept when it may have `most`: drawn by `seed`, in ascending order."""
    if most < 1:
        raise BadInput(f"a bank of at most {most} entries: at least 1 is needed")
    return np.arange(m) if m <= most else np.sort(np.random.default_rng(seed).choice(m, most, replace=False))


GENTLE = 0.1
"""Largest exponent that is computed as a difference from 1."""


def log_mean_exp(bank: Bank, beta: float) -> PerItem:
    """Return (1/β) log mean_b e^{βB_bj}: the bias of the inverted softmax, between the mean and the largest score.

    Relations: β = 0 → the mean; β = ∞ → the largest. Raises `BadInput` for β < 0.
    """
    if not beta >= 0:
        raise BadInput(f"beta = {beta}; an inverse temperature is at least 0")

    def of(scores: Float[np.ndarray, "m b"]) -> Float[np.ndarray, " b"]:
        top = scores.max(axis=0)
        if beta == np.inf:
            return np.asarray(top)
        heard = np.isfinite(scores)
        if beta == 0:
            return np.asarray(np.mean(scores, axis=0, where=heard, dtype=np.float64).astype(scores.dtype))
        scores -= top
        if beta * -float(np.min(scores, where=heard, initial=0.0)) < GENTLE:
            # e^{βB} is 1 to all of float32's digits, so that the mean is taken of what is left over
            left = np.expm1(beta * scores.astype(np.float64))
            return np.asarray((top + np.log1p(np.mean(left, axis=0, where=heard)) / beta).astype(scores.dtype))
        scores *= beta
        np.exp(scores, out=scores)
        mean = scores.sum(axis=0, dtype=np.float64) / heard.sum(axis=0)
        return np.asarray((top + np.log(mean) / beta).astype(scores.dtype))

    return bank.known("log_mean_exp", beta, lambda: bank.reduced(of))


def mean_of_largest(bank: Bank, k: int) -> PerItem:
    """Return the mean of the k largest bank scores of each item, of all that there are when they are fewer."""
    if k < 1:
        raise BadInput(f"k = {k}; expected at least 1")

    def of(scores: Float[np.ndarray, "m b"]) -> Float[np.ndarray, " b"]:
        if k < len(scores):
            scores = np.partition(scores, len(scores) - k, axis=0)[-k:]
        mean = np.mean(scores, axis=0, where=np.isfinite(scores), dtype=np.float64)
        return np.asarray(mean.astype(scores.dtype))

    return bank.known("mean_of_largest", k, lambda: bank.reduced(of))


def active_items(bank: Bank, k: int = 1) -> Bool[np.ndarray, " n"]:
    """Return which items are among the first k of any bank entry: QB-Norm's activation set."""
    if k < 1:
        raise BadInput(f"k = {k}; expected at least 1")
    n = bank.shape[1]

    def found() -> Bool[np.ndarray, " n"]:
        active = np.zeros(n, dtype=np.bool_)
        for _, scores in bank.rows():
            first = (
                scores.argmax(1)[:, None] if k == 1 else np.argpartition(scores, -min(k, n), axis=1)[:, -min(k, n) :]
            )
            active[first[np.isfinite(np.take_along_axis(scores, first, axis=1))]] = True  # −∞ says nothing
        return active

    return bank.known("active_items", k, found)


def inverted_softmax(scores: Any, bank: Bank, *, beta: float) -> Scores:
    """Return S_qj − (1/β) log mean_b e^{βB_bj}; orders as η = e^{βS_qj} / Σ_b e^{βB_bj}."""
    return np.asarray(_table(scores, bank) - log_mean_exp(bank, beta))


def dynamic_inverted_softmax(scores: Any, bank: Bank, *, beta: float, k: int = 1) -> Scores:
    """Return the inverted softmax for the queries whose best item is active, and the others' rows as they are.

    Relations: no active item → the scores; all active → `inverted_softmax`.
    """
    table = _table(scores, bank)
    gate = active_items(bank, k)[table.argmax(1)]
    return np.where(gate[:, None], table - log_mean_exp(bank, beta), table)


def csls(scores: Any, bank: Bank, *, k: int = 10) -> Scores:
    """Return 2S_qj − mean of the k largest of S_q· − mean of the k largest of B_·j.

    Relation: twice `nnn` with α = ½, up to the query's own term, which does not change its order.
    """
    table = _table(scores, bank)
    own = mean_of_largest(Bank.of(table.T), k)
    return np.asarray(2 * table - own[:, None] - mean_of_largest(bank, k))


def nnn(scores: Any, bank: Bank, *, k: int = 128, alpha: float = 0.75) -> Scores:
    """Return S_qj − α · mean of the k largest of B_·j."""
    return np.asarray(_table(scores, bank) - alpha * mean_of_largest(bank, k))


def distribution_normalised(
    queries: Any, gallery: Any, query_bank: Any, gallery_bank: Any, *, weight: float = 0.5
) -> Scores:
    """Return (q − λ · mean of the query bank) · (g − λ · mean of the gallery bank), λ = `weight`.

    The only one that needs vectors: queries (q, d), gallery (n, d), banks (m, d).
    Relation: orders as `nnn` with α = λ and k the whole query bank.
    """
    q, g = pair(queries, gallery, ("queries", "gallery"))
    of_queries, of_gallery = pair(query_bank, gallery_bank, ("query bank", "gallery bank"))
    if of_queries.shape[1] != q.shape[1]:
        raise BadInput(f"vectors have width {q.shape[1]} and banks {of_queries.shape[1]}")
    return np.asarray((q - weight * of_queries.mean(0)) @ (g - weight * of_gallery.mean(0)).T)


def globally_corrected(scores: Any, bank: Bank) -> Float[np.ndarray, "q n"]:
    """Return − #{b: B_bj > S_qj}, with ties ordered by S_qj (a term within ±¼). float64, for the sake of the ties.

    Of an item that some entries say nothing of, the share of the others counts, times the size of the bank.
    """
    table = _table(scores, bank)
    ranks = np.empty(table.shape)
    for part, columns in bank.columns():
        columns.sort(axis=0)
        heard = np.isfinite(columns).sum(axis=0)
        for j, column in enumerate(columns.T, start=part.start):
            above = len(column) - np.searchsorted(column, table[:, j], side="right")
            ranks[:, j] = above * (len(column) / heard[j - part.start])
    longest = np.abs(table).max(1, keepdims=True)
    return table / (4.0 * np.where(longest > 0, longest, 1)) - ranks


def dual_softmax(scores: Any, *, beta: float) -> Scores:
    """Return S_qj · e^{βS_qj} / Σ_i e^{βS_ij}, the sum over the queries of the batch.

    Transductive: a query's scores depend on the queries that it is asked with, so that it has no meaning for one
    query alone, and its figures must be reported apart. Relation: a single query → its scores as they are.
    """
    table = matrix(scores, "scores")
    if not beta >= 0:
        raise BadInput(f"beta = {beta}; an inverse temperature is at least 0")
    weights = np.exp(beta * (table - table.max(0)))
    return np.asarray(table * (weights / weights.sum(0)))


def _table(scores: Any, bank: Bank) -> Scores:
    table = matrix(scores, "scores")
    if table.shape[1] != bank.shape[1]:
        raise BadInput(f"scores {table.shape} and the bank's {bank.shape} need the same number of gallery items")
    return table


def _codes(groups: tuple[Any, Any], lengths: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    of_bank, of_gallery = (np.asarray(each) for each in groups)
    if (of_bank.shape, of_gallery.shape) != ((lengths[0],), (lengths[1],)):
        raise BadInput(f"groups have shapes {of_bank.shape} and {of_gallery.shape}; expected lengths {lengths}")
    names, codes = np.unique(np.concatenate([of_bank, of_gallery]), return_inverse=True)
    in_bank, in_gallery = codes[: lengths[0]], codes[lengths[0] :]
    if (in_bank == in_bank[0]).all() and (in_gallery == in_bank[0]).any():
        raise BadInput(
            f"the bank holds the group {names[in_bank[0]]!r} alone, and the gallery holds it too: it cannot say how "
            f"popular that group is; bring a bank of at least two groups"
        )
    return in_bank, in_gallery
