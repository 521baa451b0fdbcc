"""How sure a mean over queries is, and whether two systems differ on the same queries.

Queries that share a key (fourteen names of one picture, five captions) are not independent observations, so the
unit that is drawn, or whose sign is flipped, is the **cluster** of all queries with one key. The mean stays the mean
over queries: of a resample it is Σ sums / Σ sizes over the clusters drawn.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks

__all__ = ["Paired", "bootstrap_ci", "bootstrap_means", "paired_test", "percentiles"]


class Paired(NamedTuple):
    """Outcome of a paired comparison: mean of a − b, its bootstrap interval, two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_ci(
    values: Any, *, clusters: Any = None, seed: int = 0, n_boot: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of (n,) per-query values.

    `clusters` (n,) are the keys that bind queries together; None draws each query by itself.
    Raises `BadInput` for NaN, or fewer than two clusters (nothing to resample).
    """
    sums, sizes = _clustered(_column(values, "values"), clusters)
    low, high = percentiles(bootstrap_means(sums[:, None], sizes[:, None], seed=seed, n_boot=n_boot), level)
    return float(low[0]), float(high[0])


def bootstrap_means(
    sums: Float[np.ndarray, "c m"], sizes: Float[np.ndarray, "c m"], *, seed: int = 0, n_boot: int = 1000
) -> Float[np.ndarray, "b m"]:
    """Return resampled means of m figures at once, over the same draws of c clusters.

    `sums` and `sizes` hold, for each cluster and figure, the sum of the values and how many they are (0 where the
    cluster has none). A resample that draws no value of a figure gives NaN there; `percentiles` leaves it out.
    Drawing is shared, so that figures may be averaged or compared within a resample. Memory is O(block · c).
    """
    if sums.ndim != 2 or sums.shape != sizes.shape or len(sums) < 2:
        raise BadInput(f"sums {sums.shape} and sizes {sizes.shape}: expected one shape (c, m) with c ≥ 2 clusters")
    if n_boot < 1:
        raise BadInput(f"n_boot = {n_boot}; expected at least 1")
    rng = np.random.default_rng(seed)
    c = len(sums)
    means = np.full((n_boot, sums.shape[1]), np.nan)
    for part in blocks(n_boot, c):
        b = part.stop - part.start
        drawn = rng.integers(c, size=(b, c)) + c * np.arange(b)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=b * c).reshape(b, c).astype(np.float64)
        total = counts @ sizes
        np.divide(counts @ sums, total, out=means[part], where=total > 0)
    return means


def percentiles(
    means: Float[np.ndarray, "b m"], level: float = 0.95
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the lower and upper end of the central `level` of each column, NaN left out."""
    if not 0 < level < 1:
        raise BadInput(f"level {level} must lie between 0 and 1")
    if np.isnan(means).all(axis=0).any():
        raise BadInput("a figure has no value in any resample")
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def paired_test(
    a: Any, b: Any, *, clusters: Any = None, seed: int = 0, n_flips: int = 10_000, n_boot: int = 1000
) -> Paired:
    """Compare two systems on the same queries: does the mean of `a` differ from that of `b`?

    Under the hypothesis that the two are exchangeable, each cluster's total difference may as well have the other
    sign. p is the share of sign flips whose |Σ| reaches the observed one: over all 2ᶜ of them where that is at most
    `n_flips`, otherwise over `n_flips` random ones, counting the observed one, so that p is never 0.
    The interval is the clustered bootstrap of the mean difference at 95 %.

    Relations: `a` = `b` → difference 0, p 1; swapping them → the difference changes sign, p stays.
    Raises `BadInput` for unequal lengths, NaN, or fewer than two clusters.
    """
    x, y = _column(a, "a"), _column(b, "b")
    if x.shape != y.shape:
        raise BadInput(f"a {x.shape} and b {y.shape} must be values of the same queries")
    sums, sizes = _clustered(x - y, clusters)
    low, high = percentiles(bootstrap_means(sums[:, None], sizes[:, None], seed=seed, n_boot=n_boot))
    moved = sums[sums != 0]  # flipping a zero changes nothing, and would only blur the enumeration
    # equal up to rounding counts as reached: sums of the same numbers in another order differ in the last place
    reach = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if 2 ** len(moved) <= n_flips:
        flips = 1 - 2 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
        p = float(np.mean(np.abs(flips @ moved) >= reach))
    else:
        rng = np.random.default_rng(seed)
        reached = 1
        for part in blocks(n_flips, len(moved)):
            flips = 1 - 2 * rng.integers(2, size=(part.stop - part.start, len(moved)), dtype=np.int8)
            reached += int(np.count_nonzero(np.abs(flips.astype(np.float64) @ moved) >= reach))
        p = reached / (n_flips + 1)
    return Paired(float(sums.sum() / sizes.sum()), float(low[0]), float(high[0]), p)


def _column(values: Any, name: str) -> Float[np.ndarray, " n"]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise BadInput(f"{name} of shape {column.shape}: expected (n,) finite numbers, one a query")
    return column


def _clustered(
    values: Float[np.ndarray, " n"], clusters: Any
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Return the sum and the size of each cluster."""
    if clusters is None:
        sums, sizes = values, np.ones(len(values))
    else:
        keys = np.asarray(clusters)
        if keys.shape != values.shape:
            raise BadInput(f"clusters have shape {keys.shape}; {len(values)} values given")
        _, member = np.unique(keys.astype(str) if keys.dtype == object else keys, return_inverse=True)
        sums, sizes = np.bincount(member, weights=values), np.bincount(member).astype(np.float64)
    if len(sums) < 2:
        raise BadInput(f"{len(values)} queries in {len(sums)} cluster: at least 2 clusters are needed to resample")
    return sums, sizes
