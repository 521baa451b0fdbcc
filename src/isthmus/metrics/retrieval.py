"""Where the right answers stand in each query's ranking, and the figures made of that.

`rank_positives` and `retrieval_ranks` find the rank of **every** positive of every query (an item of the gallery
with the query's key), block by block, so that memory does not grow with queries × gallery. The figures are
then functions of `Ranks`, one number a query, to be averaged, bootstrapped or tested.

**Ties.** A negative that ties with a positive stands before it: the rank of the j-th best positive with score s is
``j + #{negatives with score ≥ s}``. So the result depends on neither the order of the gallery nor that of the
queries, and an encoder that gives every item the same vector ranks every positive last: it scores at chance or
below and cannot profit from where the positives happen to lie. For vectors, scores closer than the rounding of
the product count as tied, since matrix products round equal rows differently.

Relations: no ties → the figures of trec_eval (`success_k`, `recall_k`, `recip_rank`, `map`, `ndcg_cut_k`);
one positive a query → average precision = reciprocal rank, and nDCG@k = 1/log₂(1 + rank) within k, else 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks, pair

__all__ = [
    "CUTOFFS",
    "Ranks",
    "ScoreBlocks",
    "average_precision",
    "ndcg_at_k",
    "per_query",
    "rank_positives",
    "recall_at_k",
    "reciprocal_rank",
    "retrieval_ranks",
    "share_at_k",
    "tie_width",
]

ScoreBlocks = Callable[[slice], np.ndarray]
"""Returns the (b, n) scores of a slice of the queries. Higher is better."""
CUTOFFS = (1, 5, 10)
FEW = 16
"""Up to this many positives a query, counting once a positive is quicker than sorting the row."""


@dataclass(frozen=True)
class Ranks:
    """Ranks of all positives, query after query.

    `values` (p,) holds 1-based ranks, ascending within a query; the positives of query i are
    ``values[offsets[i]:offsets[i + 1]]``, at least one each. `size` is the number of gallery items.
    """

    values: Int[np.ndarray, " p"]
    offsets: Int[np.ndarray, " q+1"]
    size: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> Int[np.ndarray, " m"]:
        if not 0 <= query < len(self):
            raise IndexError(f"query {query} of {len(self)}")
        return self.values[self.offsets[query] : self.offsets[query + 1]]

    @property
    def first(self) -> Int[np.ndarray, " q"]:
        """The rank of the best positive of each query."""
        return np.asarray(self.values[self.offsets[:-1]])

    @property
    def positives(self) -> Int[np.ndarray, " q"]:
        """The number of positives of each query."""
        return np.diff(self.offsets)


def retrieval_ranks(
    queries: Any, gallery: Any, query_keys: Any, gallery_keys: Any, *, exclude_self: bool = False
) -> Ranks:
    """Rank the gallery by inner product with each query; the positives of a query share its key.

    `queries` (q, d), `gallery` (n, d), keys (q,) and (n,), strings or integers. For cosine, normalise first.
    With `exclude_self` the two are the same items, and an item is neither candidate nor positive for itself.
    Ties as in the module's docstring, within `tie_width`. Runs in blocks of queries: O(block · n) memory.

    Raises `BadInput` for unequal widths, NaN or infinity, keys that do not fit, a query without any positive.
    """
    a, b = pair(queries, gallery, ("queries", "gallery"))
    if exclude_self and len(a) != len(b):
        raise BadInput(f"exclude_self needs queries {a.shape} and gallery {b.shape} to be the same items")
    return _ranks(lambda rows: a[rows] @ b.T, tie_width(a, b), query_keys, gallery_keys, (len(a), len(b)), exclude_self)


def rank_positives(
    scores: np.ndarray | ScoreBlocks,
    query_keys: Any,
    gallery_keys: Any,
    *,
    tie: float = 0.0,
    exclude_self: bool = False,
) -> Ranks:
    """Rank the gallery by given scores: a (q, n) array, or a function from a slice of the queries to its rows.

    As `retrieval_ranks`, for scores that are no plain inner product (corrected, late interaction, distances
    negated). Scores within `tie` of each other are tied. −∞ puts an item last. Raises `BadInput` for NaN.
    """
    shape = (len(np.asarray(query_keys)), len(np.asarray(gallery_keys)))
    rows_of: ScoreBlocks
    if callable(scores):
        rows_of = scores
    else:
        table = np.asarray(scores)
        if table.shape != shape:
            raise BadInput(f"scores have shape {table.shape}; {shape[0]} query keys and {shape[1]} gallery keys given")
        rows_of = table.__getitem__
    if not tie >= 0:
        raise BadInput(f"tie {tie} must not be negative")
    return _ranks(
        lambda rows: _fresh(rows_of(rows)), np.full(shape[0], tie), query_keys, gallery_keys, shape, exclude_self
    )


def tie_width(queries: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " q"]:
    """Return how far apart rounding may put equal scores: 8 units in the last place of ‖query‖ · max ‖item‖."""
    precision = 8 * float(np.finfo(np.result_type(queries, gallery)).eps)
    longest = max(float(np.linalg.norm(gallery[part], axis=1).max()) for part in blocks(*gallery.shape))
    return np.asarray(precision * longest * np.linalg.norm(queries, axis=1))


def recall_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " q"]:
    """Return 1 where any positive is among the first k, else 0.

    This is the R@k of the cross-modal literature (trec_eval: `success_k`). The share of the positives found is
    `share_at_k`; with one positive a query the two agree.
    """
    return (ranks.first <= _cutoff(k)).astype(np.float64)


def share_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " q"]:
    """Return the share of each query's positives that are among the first k (trec_eval: `recall_k`)."""
    return np.asarray(_sums(ranks, (ranks.values <= _cutoff(k)).astype(np.float64)) / ranks.positives)


def reciprocal_rank(ranks: Ranks) -> Float[np.ndarray, " q"]:
    """Return 1 / rank of the best positive; the mean over queries is MRR."""
    return np.asarray(1.0 / ranks.first)


def average_precision(ranks: Ranks) -> Float[np.ndarray, " q"]:
    """Return the mean over positives j of j / rankⱼ; the mean over queries is mAP."""
    return np.asarray(_sums(ranks, _place(ranks) / ranks.values) / ranks.positives)


def ndcg_at_k(ranks: Ranks, k: int) -> Float[np.ndarray, " q"]:
    """Return Σ_{rankⱼ ≤ k} 1/log₂(1 + rankⱼ) over its largest possible value Σ_{j ≤ min(m, k)} 1/log₂(1 + j)."""
    gains = np.where(ranks.values <= _cutoff(k), 1 / np.log2(1.0 + ranks.values), 0.0)
    ideal = np.where((place := _place(ranks)) <= k, 1 / np.log2(1.0 + place), 0.0)
    return np.asarray(_sums(ranks, gains) / _sums(ranks, ideal))


def per_query(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, Float[np.ndarray, " q"]]:
    """Return the usual figures of each query: ``r@k`` for the cut-offs, ``mrr``, ``map`` and ``ndcg@10``."""
    return {f"r@{k}": recall_at_k(ranks, k) for k in cutoffs} | {
        "mrr": reciprocal_rank(ranks),
        "map": average_precision(ranks),
        "ndcg@10": ndcg_at_k(ranks, 10),
    }


def _ranks(
    rows_of: ScoreBlocks,
    tie: Float[np.ndarray, " q"],
    query_keys: Any,
    gallery_keys: Any,
    shape: tuple[int, int],
    exclude_self: bool,
) -> Ranks:
    order, starts, counts = _positives(query_keys, gallery_keys, shape)
    found = counts - exclude_self
    if not found.all():
        bad = np.flatnonzero(found == 0)
        raise BadInput(
            f"{len(bad)} of {shape[0]} queries have no positive in the gallery, first key "
            f"{np.asarray(query_keys)[bad[0]]!r}: leave them out, or add their items"
        )
    offsets = np.concatenate([[0], np.cumsum(found)])
    values = np.empty(offsets[-1], dtype=np.int64)
    for rows in blocks(*shape):
        scores = rows_of(rows)
        if scores.shape != (rows.stop - rows.start, shape[1]):
            raise BadInput(f"scores of queries {rows.start}:{rows.stop} have shape {scores.shape}, gallery {shape[1]}")
        if np.isnan(scores).any():
            raise BadInput(f"scores of queries {rows.start}:{rows.stop} hold NaN")
        # NaN takes an item out of every comparison below, so what is left are the negatives
        if exclude_self:
            scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)] = np.nan
        place = np.arange(counts[rows].max())
        real = place < counts[rows, None]
        columns = order[np.where(real, starts[rows, None] + place, starts[rows, None])]
        best = np.where(real, np.take_along_axis(scores, columns, axis=1), np.nan)
        np.put_along_axis(scores, columns, np.nan, axis=1)
        best = -np.sort(-best, axis=1)[:, : found[rows].max()]  # best first, NaN last
        ahead = _count_at_least(scores, best - tie[rows, None].astype(scores.dtype))
        values[offsets[rows.start] : offsets[rows.stop]] = (ahead + np.arange(1, best.shape[1] + 1))[~np.isnan(best)]
    return Ranks(values, offsets, shape[1] - exclude_self)


def _fresh(scores: Any) -> Float[np.ndarray, "b n"]:
    """Return a copy in floating point, because the caller writes NaN into it."""
    copy = np.array(scores)
    return copy if copy.dtype in (np.float32, np.float64) else copy.astype(np.float64)


def _count_at_least(scores: Float[np.ndarray, "b n"], thresholds: Float[np.ndarray, "b m"]) -> Int[np.ndarray, "b m"]:
    """Count the scores of each row that are ≥ each of its thresholds; NaN scores are never counted."""
    if thresholds.shape[1] <= FEW:
        counted = [np.count_nonzero(scores >= thresholds[:, j, None], axis=1) for j in range(thresholds.shape[1])]
        return np.stack(counted, axis=1)
    scores = np.sort(scores, axis=1)  # NaN last
    sizes = scores.shape[1] - np.count_nonzero(np.isnan(scores), axis=1)
    below = [np.searchsorted(row[:n], t, side="left") for row, n, t in zip(scores, sizes, thresholds, strict=True)]
    return np.asarray(sizes[:, None] - np.stack(below))


def _positives(
    query_keys: Any, gallery_keys: Any, shape: tuple[int, int]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """Return the gallery sorted by key, and where in it the positives of each query start and how many they are."""
    asked, offered = _keys(query_keys, "query_keys", shape[0]), _keys(gallery_keys, "gallery_keys", shape[1])
    if (asked.dtype.kind == "U") != (offered.dtype.kind == "U"):
        raise BadInput(f"query_keys are {asked.dtype} and gallery_keys {offered.dtype}; both must be of one kind")
    order = np.argsort(offered, kind="stable")
    ordered = offered[order]
    starts = np.searchsorted(ordered, asked, side="left")
    return order, starts, np.searchsorted(ordered, asked, side="right") - starts


def _keys(keys: Any, name: str, n: int) -> np.ndarray:
    array = np.asarray(keys)
    if array.dtype.kind in "OT":
        array = array.astype(str)
    if array.shape != (n,) or n == 0 or array.dtype.kind not in "Uiu":
        raise BadInput(f"{name} are {array.dtype} of shape {array.shape}; expected ({n},) strings or integers, n ≥ 1")
    return array


def _cutoff(k: int) -> int:
    if k < 1:
        raise BadInput(f"k = {k}; expected at least 1")
    return k


def _place(ranks: Ranks) -> Int[np.ndarray, " p"]:
    """Return 1, 2, … within each query."""
    return np.asarray(np.arange(1, len(ranks.values) + 1) - np.repeat(ranks.offsets[:-1], ranks.positives))


def _sums(ranks: Ranks, values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " q"]:
    return np.asarray(np.add.reduceat(values, ranks.offsets[:-1]))
