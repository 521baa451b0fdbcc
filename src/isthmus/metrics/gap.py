"""Whether two modalities lie apart in one space: can a plane part them, and do strangers of both keep a distance.

Source: fahim2024 (arXiv 2405.18570), which reads the gap off both; `modality_gap` in `metrics.geometry` is its
distance of the centroids.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks, matrix, pair, unit

__all__ = ["cross_uniformity", "separability"]

TEST = 0.2
"""The share of the rows that the plane is judged on."""


def separability(a: Any, b: Any, *, sample: int | None = None, seed: int = 0) -> float:
    """Return how well a plane tells the vectors of two modalities apart: its accuracy on rows it was not fitted to.

    Logistic regression as scikit-learn fits it by default (½‖w‖² + Σ log-loss) on 80 % of the unit vectors (n, d) and
    (m, d), with as many of either side, drawn by `seed`, at most `sample` of each. Tables of equal length are taken
    as pairs and cut alike, so that both partners are on one side of the cut.

    In [0, 1]: 0.5 when the modalities are mixed, 1 when they are apart.

    Relations: the same table twice → 0.5.  ·  clouds on either side of a plane → 1.  ·  a rotation → unchanged.
    Raises `BadInput` for unequal widths, fewer than 5 rows on a side, NaN, or a zero vector.
    """
    x, y = pair(a, b, ("a", "b"), rows=5)
    rng = np.random.default_rng(seed)
    n = min(len(x), len(y)) if sample is None else min(len(x), len(y), sample)
    if n < 5:
        raise BadInput(f"sample = {sample}; separability needs at least 5 vectors of each side")
    first = rng.permutation(len(x))[:n]
    second = first if len(x) == len(y) else rng.permutation(len(y))[:n]
    sides = [unit(side[rows], name).astype(np.float64) for side, rows, name in ((x, first, "a"), (y, second, "b"))]
    held = max(1, round(TEST * n))
    weight, offset = _plane(sides[0][held:], sides[1][held:])
    # a score of 0 counts as the side b
    called = [float((side[:held] @ weight + offset > 0).mean()) for side in sides]
    return (called[0] + 1 - called[1]) / 2


def _plane(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, ""]]:
    """Return w and c of the logistic regression, positive on the side of a."""
    from scipy.optimize import minimize
    from scipy.special import expit

    x, sign = np.concatenate([a, b]), np.repeat([1.0, -1.0], [len(a), len(b)])

    def cost(point: Float[np.ndarray, " e"]) -> tuple[float, Float[np.ndarray, " e"]]:
        margin = sign * (x @ point[:-1] + point[-1])
        pull = -sign * expit(-margin)
        value = float(np.logaddexp(0, -margin).sum() + point[:-1] @ point[:-1] / 2)
        return value, np.append(x.T @ pull + point[:-1], pull.sum())

    found = minimize(cost, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 400})
    return found.x[:-1], found.x[-1]


def cross_uniformity(a: Any, b: Any, *, t: float = 2.0, sample: int | None = None, seed: int = 0) -> float:
    """Return log mean_{i≠j} exp(−t ‖aᵢ − bⱼ‖²) of pairs (n, d) and (n, d) of normalised vectors.

    Lower means that an item keeps away from the strangers of the other modality, as `uniformity` says of its own;
    pairs themselves do not count. `sample` bounds n by a random subset of `seed`.

    Relations: a = b → `uniformity`.  ·  all vectors equal → 0.  ·  never below −4t.
    Raises `BadInput` for unequal shapes, fewer than 2 rows, NaN, or a zero vector.
    """
    x, y = matrix(a, "a", rows=2), matrix(b, "b", rows=2)
    if x.shape != y.shape:
        raise BadInput(f"a {x.shape} and b {y.shape} must be pairs in one space")
    if sample is not None and len(x) > sample:
        if sample < 2:
            raise BadInput(f"sample = {sample}; cross_uniformity needs at least 2 pairs")
        some = np.sort(np.random.default_rng(seed).choice(len(x), sample, replace=False))
        x, y = x[some], y[some]
    x, y = unit(x, "a"), unit(y, "b")
    n, total = len(x), 0.0
    for rows in blocks(n, n):
        near = np.exp(2 * t * (np.clip(x[rows] @ y.T, -1.0, 1.0) - 1))
        near[np.arange(len(near)), np.arange(n)[rows]] = 0
        total += float(np.sum(near, dtype=np.float64))
    return float(np.log(total / (n * (n - 1))))
