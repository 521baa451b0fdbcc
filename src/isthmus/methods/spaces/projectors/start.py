"""A closed-form start for projectors: regularised correlation analysis of the items that modalities share.

Random projectors must find from a thousand pairs what second moments already say. So the linear branch starts
at (generalised) canonical correlation analysis: with item means x̄_m, covariances C_ml between modalities m ≠ l,

    maximise  Σ_{m≠l} P_mᵀ C_ml P_l   subject to  Σ_m P_mᵀ (C_mm + W_m + ρ·tr(C_mm)/k_m · I) P_m = I,

where W_m is the covariance *within* items: how the records of one item (its names in several languages) differ.
Putting it into the constraint shrinks the directions that tell languages rather than items apart. Column j of
P_m is scaled by its eigenvalue (the canonical correlation), which damps what is not shared.

Features are standardised first, so that those of any scale (statistics of several network stages) may stand side by
side, and a modality is rotated to its k_m ≤ 700 leading components.

Source: Hotelling 1936; Kettenring 1971 for more than two sets; Vinod 1976 for the ridge.
"""

from collections.abc import Mapping

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

__all__ = ["canonical_start"]

COMPONENTS = 700
"""Leading components that a modality keeps: the trailing ones of a thousand pairs are noise."""
SMALL = 1e-12
EPSILON = 1e-3
"""Added to standard deviations, as a share of their mean."""

Table = Float[np.ndarray, "n d"]


def canonical_start(
    vectors: Mapping[str, Table],
    items: Mapping[str, Int[np.ndarray, " n"]],
    weights: Mapping[str, Float[np.ndarray, " n"]],
    *,
    width: int,
    ridge: float,
    counts: Float[np.ndarray, " n"] | None = None,
) -> dict[str, tuple[Float[np.ndarray, " d"], Float[np.ndarray, "w d"]]]:
    """Return {modality: (mean (d,), weight (w, d))}; w is `width`, or less where the data have fewer directions.

    `items` numbers the item of each record from 0, −1 for one that no other modality has; `weights` says how much
    each record counts within its item, `counts` how much each item counts, equal by default. Projected training items
    have a root mean square of 1 in each modality.
    """
    n = 1 + max(int(i.max()) for i in items.values())
    counted = np.ones(n) if counts is None else counts
    means, whiten, centres, present, bases = {}, {}, {}, {}, {}
    for m, x in vectors.items():
        shared = items[m] >= 0
        x, own = x[shared].astype(np.float64), items[m][shared]
        total = np.bincount(own, weights[m][shared], minlength=n)
        share = (weights[m][shared] / total[own])[:, None]
        present[m] = np.where(total > 0, counted, 0.0)
        average = np.zeros((n, x.shape[1]))
        np.add.at(average, own, share * x)
        centres[m] = present[m] @ average / present[m].sum()
        means[m] = np.where(present[m][:, None] > 0, average - centres[m], 0)
        spread = x - average[own]
        share *= present[m][own, None]
        deviation = np.sqrt((share * (x - centres[m]) ** 2).sum(0) / present[m].sum())
        # A feature that does not vary says nothing; any positive number keeps it from dividing by 0.
        deviation += EPSILON * deviation.mean() or 1.0
        basis = _leading(np.sqrt(present[m])[:, None] * means[m] / deviation) / deviation[:, None]
        means[m], spread = means[m] @ basis, spread @ basis
        between = (present[m][:, None] * means[m]).T @ means[m] / present[m].sum()
        within = (share * spread).T @ spread / present[m].sum()
        k = len(between)
        constraint = between + within + ridge * (float(np.trace(between)) / k or 1.0) * np.eye(k)
        bases[m] = basis
        whiten[m] = scipy.linalg.solve_triangular(np.linalg.cholesky(constraint), np.eye(k), lower=True)
    names = list(vectors)
    edges = np.cumsum([0, *(len(whiten[m]) for m in names)])
    table = np.zeros((edges[-1], edges[-1]))
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            both = np.minimum(present[a], present[b])
            cross = whiten[a] @ ((both[:, None] * means[a]).T @ means[b] / max(both.sum(), SMALL)) @ whiten[b].T
            table[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = cross
            table[edges[j] : edges[j + 1], edges[i] : edges[i + 1]] = cross.T
    width = min(width, *(len(whiten[m]) for m in names), n - 1)
    values, directions = scipy.linalg.eigh(table, subset_by_index=(len(table) - width, len(table) - 1))
    started = {}
    for i, m in enumerate(names):
        weight = (directions[edges[i] : edges[i + 1], ::-1] * values[::-1].clip(min=0)).T @ whiten[m]
        squares = present[m] @ (means[m] @ weight.T) ** 2 / present[m].sum()
        scale = float(np.sqrt(squares.mean())) or 1.0
        started[m] = (centres[m].astype(np.float32), (weight / scale @ bases[m].T).astype(np.float32))
    return started


def _leading(x: Table) -> Float[np.ndarray, "d k"]:
    """Return the `COMPONENTS` leading right singular vectors of a table, by the smaller of its two Gram matrices."""
    n, d = x.shape
    if n <= d:
        return np.linalg.svd(x, full_matrices=False)[2][:COMPONENTS].T
    k = min(d, COMPONENTS)
    vectors: Float[np.ndarray, "d k"] = scipy.linalg.eigh(x.T @ x, subset_by_index=(d - k, d - 1))[1][:, ::-1]
    return vectors
