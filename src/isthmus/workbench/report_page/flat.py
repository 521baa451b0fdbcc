"""A flat map of a space: two coordinates a vector, such that near vectors stay near.

The two first principal axes show a few per cent of such a space, and most neighbours on them are strangers.
`flat_map` therefore starts from them and lets every vector look for its neighbours (t-SNE; van der Maaten and
Hinton 2008), exactly and without any random number. `kept` says how far the picture can be believed.
"""

from itertools import product

import numpy as np
from jaxtyping import Float, Shaped

__all__ = ["MOST", "flat_map", "kept", "principal_axes"]

MOST = 1500
"""The map is exact, so its work grows with the square of the items."""


def flat_map(
    x: Float[np.ndarray, "n d"],
    *,
    kinds: Shaped[np.ndarray, " n"] | None = None,
    perplexity: float = 30.0,
    steps: int = 400,
) -> Float[np.ndarray, "n 2"]:
    """Return two coordinates a vector, in [0, 1], by exact t-SNE on cosines from the principal axes.

    With `kinds` (n,) the cosines between every two kinds are brought to mean 0 and deviation 1 first: vectors of one
    modality are all closer to one another than to those of the next, and a search never compares the two.
    The same vectors give the same map. For fewer than 8 vectors the principal axes themselves are returned.

    Raises `ValueError` for more than 1,500 vectors: draw a sample.
    """
    if len(x) > MOST:
        raise ValueError(f"{len(x)} vectors are too many for an exact map; give at most {MOST}")
    if len(x) < 8:
        return _fit(principal_axes(x))
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    similarity, spread = (x @ x.T).astype(np.float64), x
    if kinds is not None:
        for a, b in product(np.unique(kinds), repeat=2):
            block = np.ix_(kinds == a, kinds == b)
            similarity[block] -= similarity[block].mean()
            similarity[block] /= max(float(similarity[block].std()), 1e-12)
        spread = x - np.stack([x[kinds == kind].mean(axis=0) for kind in kinds])
    start = principal_axes(spread)
    p = _affinities(similarity.max() - similarity, min(perplexity, (len(x) - 1) / 3)).astype(np.float32)
    y: np.ndarray = (1e-2 * start / max(float(start[:, 0].std()), 1e-12)).astype(np.float32)
    velocity, gain = np.zeros_like(y), np.ones_like(y)
    rate = max(len(x) / 48.0, 50.0)
    for step in range(steps):
        early = step < steps // 4
        # differences an axis, not matrix products: those of two columns wake every thread for no work
        across, down = y[:, None, 0] - y[None, :, 0], y[:, None, 1] - y[None, :, 1]
        closeness = 1.0 / (1.0 + across * across + down * down)
        np.fill_diagonal(closeness, 0.0)
        # attraction is exaggerated at first so that groups find each other before they settle
        pull = ((12.0 if early else 1.0) * p - closeness / closeness.sum()) * closeness
        gradient = 4.0 * np.stack([(pull * across).sum(axis=1), (pull * down).sum(axis=1)], axis=1)
        agrees = np.sign(gradient) == np.sign(velocity)
        gain = np.maximum(np.where(agrees, gain * 0.8, gain + 0.2), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gain * gradient
        y = y + velocity
        y -= y.mean(axis=0)
    return _fit(y)


def principal_axes(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Return the coordinates on the two axes of largest variance, with the sign of each axis fixed."""
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    flat = centred @ axes.T
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def kept(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n 2"], *, k: int = 10) -> float:
    """Return the share of the k nearest neighbours (by cosine) that are among the k nearest on the map."""
    k = min(k, len(x) - 1)
    if k < 1:
        return 1.0
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    similar, distance = x @ x.T, _squared_distances(y)
    np.fill_diagonal(similar, -np.inf)
    np.fill_diagonal(distance, np.inf)
    near, shown = np.argsort(-similar, axis=1)[:, :k], np.argsort(distance, axis=1)[:, :k]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(near, shown, strict=True)]))


def _affinities(distance: Float[np.ndarray, "n n"], perplexity: float) -> Float[np.ndarray, "n n"]:
    """Return symmetric neighbour probabilities; each row's width is found by bisection on its entropy."""
    n = len(distance)
    distance = distance.astype(np.float64)
    off = ~np.eye(n, dtype=bool)
    # a row is shifted by its nearest neighbour, so that its largest weight is 1 and none overflows
    shifted = np.where(off, distance - np.where(off, distance, np.inf).min(axis=1, keepdims=True), 0.0)
    low, high, beta = np.zeros((n, 1)), np.full((n, 1), np.inf), np.ones((n, 1))
    weight = np.zeros_like(shifted)
    for _ in range(64):
        weight = np.exp(np.maximum(-beta * shifted, -80.0)) * off  # what underflows is slow to compute with
        total = weight.sum(axis=1, keepdims=True)
        entropy = np.log(total) + beta * (weight * shifted).sum(axis=1, keepdims=True) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2.0, (low + high) / 2.0)
    p = weight / weight.sum(axis=1, keepdims=True)
    return np.asarray((p + p.T) / (2.0 * n))


def _squared_distances(y: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
    square = (y * y).sum(axis=1)
    return np.asarray(np.maximum(square[:, None] + square[None, :] - 2.0 * y @ y.T, 0.0))


def _fit(y: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Spread each axis over [0, 1]: the page has its own proportions, and lengths on such a map mean nothing."""
    span = np.ptp(y, axis=0)
    return np.asarray((y - y.min(axis=0)) / np.where(span > 0, span, 1.0))
