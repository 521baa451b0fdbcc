"""Hubs: items of a gallery that come up for far too many queries, and orphans that never do.

N_k(j) is the number of queries that have item j among their k nearest. In many dimensions its distribution grows a
long right tail (radovanovic2010, JMLR 11). All figures are over **all** items, those never retrieved included.

Ties: where several items share the last places among the k, they share them equally, so that N_k depends on neither
the order of the gallery nor rounding, and always sums to k times the number of queries.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.retrieval import tie_width
from isthmus.metrics.vectors import blocks, matrix, pair

__all__ = ["hubness_skewness", "k_occurrence", "k_occurrence_of", "orphan_share", "robin_hood"]


def k_occurrence(queries: Any, gallery: Any, k: int = 10, *, exclude_self: bool = False) -> Float[np.ndarray, " n"]:
    """Return N_k (n,): for how many of the queries (q, d) each item of the gallery (n, d) is among the first k.

    Nearest by inner product, for cosine normalise first. Whole numbers unless items tie for the last places.
    With `exclude_self` the two are the same items, and none is its own neighbour. k above the number of candidates
    is cut to it. Runs in blocks of queries: O(block · n) memory.

    Relations: Σ N_k = k·q; k ≥ n → every N_k = q; all vectors equal → every N_k = k·q/n.
    Raises `BadInput` for unequal widths, k < 1, NaN, or `exclude_self` with other than the same items.
    """
    a, b = pair(queries, gallery, ("queries", "gallery"))
    if k < 1:
        raise BadInput(f"k = {k}; expected at least 1")
    if exclude_self and (len(a) != len(b) or len(a) < 2):
        raise BadInput(f"exclude_self needs queries {a.shape} and gallery {b.shape} to be the same 2 items or more")
    k = min(k, len(b) - exclude_self)
    tie = tie_width(a, b)
    counts = np.zeros(len(b))
    for rows in blocks(len(a), len(b)):
        scores = a[rows] @ b.T
        if exclude_self:
            scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)] = -np.inf
        counts += _places(scores, k, tie[rows])
    return counts


def k_occurrence_of(scores: Any, k: int = 10) -> Float[np.ndarray, " n"]:
    """Return N_k (n,) as `k_occurrence`, from scores (q, n) that are no plain inner product (corrected ones).

    Scores tie where they are equal. Raises `BadInput` for k < 1, NaN or infinity.
    """
    table = matrix(scores, "scores")
    if k < 1:
        raise BadInput(f"k = {k}; expected at least 1")
    counts = np.zeros(table.shape[1])
    for rows in blocks(*table.shape):
        counts += _places(table[rows], min(k, table.shape[1]), np.zeros(rows.stop - rows.start))
    return counts


def _places(scores: Float[np.ndarray, "b n"], k: int, tie: Float[np.ndarray, " b"]) -> Float[np.ndarray, " n"]:
    """Return how many of the first k places of the rows each item has; items that tie for the last ones share them."""
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    width = tie[:, None].astype(scores.dtype)
    above = scores > last + width
    tied = (scores >= last - width) & ~above
    left = (k - np.count_nonzero(above, axis=1)) / np.count_nonzero(tied, axis=1)
    return np.asarray(np.count_nonzero(above, axis=0) + left @ tied)


def hubness_skewness(counts: Any) -> float:
    """Return the skewness of N_k, E[(N − mean)³] / sd³ over all items. Above about 1 there are real hubs.

    Relations: every item equally often → 0; scaling → unchanged; one item of n takes all → (n − 2) / √(n − 1).
    """
    n = _counts(counts)
    deviation = n - n.mean()
    spread = float(np.mean(deviation**2))
    # counts that differ by rounding only are equal
    if spread <= (1e-9 * float(n.mean())) ** 2:
        return 0.0
    return float(np.mean(deviation**3) / spread**1.5)


def orphan_share(counts: Any) -> float:
    """Return the share of items that no query has among its first k (N_k = 0), in [0, 1]."""
    return float(np.mean(_counts(counts) == 0))


def robin_hood(counts: Any) -> float:
    """Return ½ Σ|N − mean| / Σ N: the share of all places that would have to move to make N_k even, in [0, 1).

    Relations: every item equally often → 0; one item of n takes all → 1 − 1/n.
    """
    n = _counts(counts)
    return float(np.abs(n - n.mean()).sum() / (2 * n.sum()))


def _counts(counts: Any) -> Float[np.ndarray, " n"]:
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or not np.isfinite(n).all() or (n < 0).any() or not n.any():
        raise BadInput(f"counts of shape {n.shape}: expected (n,) numbers ≥ 0, not all 0")
    return n
