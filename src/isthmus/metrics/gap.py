"""Whether two modalities lie apart in one space: can a plane part them, do strangers keep a distance, and all the rest.

Source: fahim2024 (arXiv 2405.18570), which reads the gap off both; `modality_gap` in `metrics.geometry` is its
distance of the centroids.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.geometry import alignment, effective_rank, modality_gap, spectrum, uniformity
from isthmus.metrics.neighbours import rsa
from isthmus.metrics.retrieval import retrieval_ranks
from isthmus.metrics.vectors import blocks, matrix, pair, unit

__all__ = ["cross_uniformity", "gap_report", "separability"]

MOST = 2000
"""Pairs that `gap_report` looks at: some of its figures compare all with all."""

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


def gap_report(a: Any, b: Any, *, seed: int = 0) -> dict[str, float]:
    """Return the figures of the gap between pairs (n, d) and (n, d) in one space, n ≥ 5.

    ``centroid distance``, ``centroid cosine``, ``matched cosine`` (mean over pairs), ``separability``, ``alignment``,
    ``uniformity a``, ``uniformity b``, ``cross uniformity``, ``rank a``, ``rank b`` (singular values above 1, the
    vectors not centred, as the official code counts), ``effective rank a``, ``effective rank b``, ``a to b r@1``,
    ``b to a r@1``, and ``rsa`` (0 where a side has collapsed). All of unit vectors; at most 2,000 pairs, drawn by
    `seed`, for what compares all with all.

    Relations: a = b → distance, alignment 0; matched cosine, rsa 1; separability 0.5.
    Raises `BadInput` for unequal shapes, fewer than 5 pairs, NaN, or a zero vector.
    """
    x, y = pair(a, b, ("a", "b"), rows=5, paired=True)
    if x.shape != y.shape:
        raise BadInput(f"a {x.shape} and b {y.shape} must be pairs in one space")
    x, y = unit(x, "a"), unit(y, "b")
    if len(x) > MOST:
        some = np.sort(np.random.default_rng(seed).choice(len(x), MOST, replace=False))
        x, y = x[some], y[some]
    centres = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    lengths = float(np.linalg.norm(centres[0]) * np.linalg.norm(centres[1]))
    keys = np.arange(len(x))
    try:
        likeness = rsa(x, y)
    except BadInput:  # all vectors of a side are one
        likeness = 0.0
    return {
        "centroid distance": modality_gap(x, y),
        "centroid cosine": float(centres[0] @ centres[1]) / lengths if lengths else 0.0,
        "matched cosine": float((x * y).sum(1).mean()),
        "separability": separability(x, y, seed=seed),
        "alignment": alignment(x, y),
        "uniformity a": uniformity(x),
        "uniformity b": uniformity(y),
        "cross uniformity": cross_uniformity(x, y),
        **{f"rank {name}": float((spectrum(z, centred=False) > 1).sum()) for name, z in (("a", x), ("b", y))},
        **{f"effective rank {name}": effective_rank(z) for name, z in (("a", x), ("b", y))},
        "a to b r@1": float((retrieval_ranks(x, y, keys, keys).first == 1).mean()),
        "b to a r@1": float((retrieval_ranks(y, x, keys, keys).first == 1).mean()),
        "rsa": likeness,
    }
