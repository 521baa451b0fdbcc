"""How far two representations of the same items agree on who is whose neighbour, and on what resembles what.

    mutual k-NN   mean over items of |N_k(x_i) ∩ N_k(y_i)| / k                            (huh2024)
    Jaccard       mean over items of |N_k(x_i) ∩ N_k(y_i)| / |N_k(x_i) ∪ N_k(y_i)|
    RSA           Spearman's ρ between the cosines of all pairs of items on either side     (kriegeskorte2008)
    SVCCA         mean canonical correlation of the leading components of each side       (raghu2017)

Neighbours go by cosine, an item is not its own neighbour, ties fall to the item that comes first.

Relations: the same representation → 1 each; rotations and scalings of either side, and one permutation of the rows
of both → unchanged; unrelated representations → mutual k-NN of k/(n−1) in the mean, and RSA of 0.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks, pair, unit

__all__ = ["jaccard_knn", "mutual_knn", "neighbours", "rsa", "shared_neighbours", "svcca"]


def neighbours(x: Float[np.ndarray, "n d"], k: int) -> Int[np.ndarray, "n k"]:
    """Return the k items whose directions are nearest to each, nearest first; `BadInput` unless 1 ≤ k < n."""
    n = len(x)
    if not 1 <= k < n:
        raise BadInput(f"k = {k}: among {n} items there are 1 to {n - 1} neighbours")
    z = unit(x.astype(np.float64))
    found = np.empty((n, k), np.int64)
    for part in blocks(n, n):
        scores = z[part] @ z.T
        scores[np.arange(part.stop - part.start), np.arange(part.start, part.stop)] = -np.inf
        # equal up to rounding counts as equal: a rotation must not change who is nearest
        found[part] = np.argsort(-scores.round(12), axis=1, kind="stable")[:, :k]
    return found


def shared_neighbours(x: Any, y: Any, k: int = 10) -> Int[np.ndarray, " n"]:
    """Return how many of the k nearest of each item are the same in (n, d) and (n, e)."""
    a, b = (neighbours(v, k) for v in pair(x, y, ("x", "y"), rows=2, paired=True))
    return np.array([len(np.intersect1d(i, j, assume_unique=True)) for i, j in zip(a, b, strict=True)])


def mutual_knn(x: Any, y: Any, k: int = 10) -> float:
    """Return the mean share of the k nearest items that both representations have; in [0, 1], chance k/(n−1)."""
    return float(shared_neighbours(x, y, k).mean() / k)


def jaccard_knn(x: Any, y: Any, k: int = 10) -> float:
    """Return the mean overlap of the two neighbourhoods, shared by all; in [0, 1], never above `mutual_knn`."""
    shared = shared_neighbours(x, y, k)
    return float((shared / (2 * k - shared)).mean())


def rsa(x: Any, y: Any) -> float:
    """Return Spearman's ρ between the item-to-item cosines of both sides; in [−1, 1], memory O(n²).

    Raises `BadInput` for fewer than 3 items, a row of zeros, or a side whose cosines are all equal.
    """
    from scipy.stats import rankdata

    ranks = []
    for side, name in zip(pair(x, y, ("x", "y"), rows=3, paired=True), "xy", strict=True):
        z = unit(side.astype(np.float64), name)
        rank = rankdata((z @ z.T)[np.triu_indices(len(z), 1)].round(12))
        rank -= rank.mean()
        if not rank.any():
            raise BadInput(f"all cosines between the {len(z)} items of {name} are equal: nothing to compare")
        ranks.append(rank / np.linalg.norm(rank))
    return float(ranks[0] @ ranks[1])


def svcca(x: Any, y: Any, *, kept: float = 0.99) -> float:
    """Return the mean canonical correlation of the components that hold the share `kept` of each side's variance.

    In [0, 1]; unrelated sides of k components each reach about √(k/n), so that n should be far above the widths.
    Raises `BadInput` for a share outside of (0, 1], or a side without variation.
    """
    if not 0 < kept <= 1:
        raise BadInput(f"kept = {kept}; expected a share of the variance in (0, 1]")
    bases = []
    for side, name in zip(pair(x, y, ("x", "y"), rows=2, paired=True), "xy", strict=True):
        centred = side.astype(np.float64) - side.mean(axis=0, dtype=np.float64)
        u, values, _ = np.linalg.svd(centred, full_matrices=False)
        if values[0] <= 1e-12 * np.linalg.norm(side):
            raise BadInput(f"the {len(side)} rows of {name} are equal: no variation to compare")
        share = np.cumsum(values**2) / np.sum(values**2)
        # what centring leaves of the last directions is rounding
        most = int((values > values[0] * 1e-10).sum())
        bases.append(u[:, : min(most, int(np.searchsorted(share, kept * (1 - 1e-12))) + 1)])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).clip(0, 1).mean())
