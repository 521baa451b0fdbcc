"""What a space looks like: how far apart modalities lie, how close pairs are, how the directions are used.

All lengths are of vectors on the unit sphere unless a function says otherwise, so values of different spaces compare.

Sources: modality gap, liang2022 (arXiv 2203.02053); alignment and uniformity, wang2020 (arXiv 2005.10242);
effective rank, Roy and Vetterli 2007 (EUSIPCO).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import blocks, matrix, pair, unit

__all__ = ["alignment", "effective_rank", "modality_gap", "spectrum", "uniformity"]


def modality_gap(a: Any, b: Any, *, sphere: bool = True) -> float:
    """Return the distance of the centroids of two modalities (n, d) and (m, d), ‖mean a − mean b‖.

    On the unit sphere it lies in [0, 2]; with `sphere=False` the vectors are taken as they are.

    Relations: the same set → 0; b shifted by v (`sphere=False`) → ‖v‖; two opposite points → 2.
    Raises `BadInput` for unequal widths, NaN, or with `sphere` a zero vector.
    """
    x, y = pair(a, b, ("a", "b"))
    if sphere:
        x, y = unit(x, "a"), unit(y, "b")
    return float(np.linalg.norm(x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)))


def alignment(a: Any, b: Any, *, power: float = 2.0) -> float:
    """Return the mean of ‖aᵢ − bᵢ‖^power over pairs (n, d) and (n, d) of normalised vectors. Less is closer.

    Relations: power 2 → 2 − 2 · mean cosine of the pairs; equal → 0; opposite → 2^power.
    Raises `BadInput` for unequal shapes, NaN, or a zero vector.
    """
    x, y = pair(a, b, ("a", "b"), paired=True)
    if x.shape != y.shape:
        raise BadInput(f"a {x.shape} and b {y.shape} must lie in one space: map them into it first")
    distance = np.linalg.norm(unit(x, "a").astype(np.float64) - unit(y, "b"), axis=1)
    return float(np.mean(distance**power))


def uniformity(x: Any, *, t: float = 2.0, sample: int | None = None, seed: int = 0) -> float:
    """Return log mean_{i<j} exp(−t ‖xᵢ − xⱼ‖²) of normalised (n, d) vectors. Lower is more evenly spread.

    Runs over blocks of rows (O(block · n) memory, O(n² d) time); `sample` bounds n by a random subset of `seed`.

    Relations: all vectors equal → 0 (the largest value); two opposite points → −4t; a simplex of n points
    → −2t·n/(n−1); never below −4t.
    Raises `BadInput` for fewer than 2 rows, NaN, or a zero vector.
    """
    v = matrix(x, "x", rows=2)
    if sample is not None and len(v) > sample:
        if sample < 2:
            raise BadInput(f"sample = {sample}; uniformity needs at least 2 vectors")
        v = v[np.sort(np.random.default_rng(seed).choice(len(v), sample, replace=False))]
    v = unit(v, "x")
    n, total = len(v), 0.0
    for rows in blocks(n, n):
        # exp(−t‖x−y‖²) ≥ exp(−4t): nothing underflows for any t in use, so the plain sum is a log-sum-exp
        cosine = np.clip(v[rows] @ v[rows.start :].T, -1.0, 1.0)
        np.exp(2 * t * (cosine - 1), out=cosine)
        total += float(np.sum(np.triu(cosine, k=1), dtype=np.float64))
    return float(np.log(total / (n * (n - 1) / 2)))


def spectrum(x: Any, *, centred: bool = True) -> Float[np.ndarray, " r"]:
    """Return the min(n, d) singular values of (n, d) vectors, largest first; of the centred vectors by default.

    Through the eigenvalues of the smaller table of inner products in float64. Values below the rounding of the
    input (√n · eps · length) come out as 0. Raises `BadInput` for NaN.
    """
    given = matrix(x, "x")
    v = given.astype(np.float64)
    energy = float(np.vdot(v, v))
    if centred:
        v -= v.mean(axis=0)
    table = v.T @ v if v.shape[1] <= len(v) else v @ v.T
    squares = np.clip(np.linalg.eigvalsh(table)[::-1], 0.0, None)
    # what remains of a direction that is not there is rounding: of the input, and of the eigenvalues themselves
    floor = max(float(np.finfo(np.float64).eps) * len(table), float(np.finfo(given.dtype).eps) ** 2) * energy
    squares[squares <= floor] = 0.0
    return np.asarray(np.sqrt(squares))


def effective_rank(x: Any, *, centred: bool = True) -> float:
    """Return exp(−Σ pᵢ log pᵢ) with pᵢ = σᵢ / Σσ, the entropy of the singular values: how many directions are used.

    In [1, min(n, d)], and 0 where there is no variation at all. Centred by default, so that a common offset of all
    vectors does not hide what tells them apart. Scale and rotation change nothing.

    Relations: equal singular values (isotropic) → d; vectors on a line → 1; equal vectors → 0 (uncentred: 1).
    """
    sigma = spectrum(x, centred=centred)
    if not sigma.any():
        return 0.0
    p = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-np.sum(p * np.log(p))))
