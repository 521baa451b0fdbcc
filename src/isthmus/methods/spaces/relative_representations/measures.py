"""How far two spaces agree in the coordinates at hand, a guess at a model's quality without labels, and a picture."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix, pair, unit

__all__ = ["agreement", "proxy", "side_by_side"]

COLOURS = ("#3b6fb6", "#d1603d", "#3f9b6c", "#8a5fb0", "#b59b2f", "#4aa3b8", "#b8517f", "#6b6b6b")


def agreement(a: Any, b: Any, *, k: int = 10) -> dict[str, float]:
    """Return how well rows of b (n, d) find their counterparts in a (n, d), by cosine.

    "jaccard": overlap of the k rows of a nearest to b_i and nearest to a_i, shared by all; "mrr": the mean of one
    over the rank of a_i for b_i, ties against it; "cosine": the mean of cos(a_i, b_i).
    Relations: a = b → 1 each. Raises `BadInput` for other shapes than (n, d) twice, or k outside of 1 to n.
    """
    x, y = pair(a, b, ("a", "b"), paired=True)
    if x.shape != y.shape or not 1 <= k <= len(x):
        raise BadInput(f"a {x.shape} and b {y.shape} must be of one shape, and k = {k} between 1 and {len(x)}")
    u, v = unit(x.astype(np.float64), "a"), unit(y.astype(np.float64), "b")
    cross = (v @ u.T).round(12)
    own = cross.diagonal()[:, None]
    near = [np.argsort(-s, axis=1, kind="stable")[:, :k] for s in (cross, (u @ u.T).round(12))]
    shared = np.array([len(np.intersect1d(i, j)) for i, j in zip(*near, strict=True)])
    return {
        "jaccard": float((shared / (2 * k - shared)).mean()),
        "mrr": float((1 / (cross >= own).sum(1)).mean()),
        "cosine": float(own.mean()),
    }


def proxy(coordinates: Any, best: Any) -> float:
    """Return the mean cosine between a model's relative coordinates of items and those of a reference model.

    The paper finds that it goes with the model's accuracy, so that models can be ranked without labels. Both need the
    same items and the same anchors, hence one shape.
    """
    x, y = matrix(coordinates, "coordinates"), matrix(best, "best")
    if x.shape != y.shape:
        raise BadInput(f"coordinates {x.shape} and best {y.shape} must be of the same items and anchors")
    return float((unit(x.astype(np.float64)) * unit(y.astype(np.float64))).sum(1).mean())


def side_by_side(spaces: Mapping[str, Any], labels: Any, *, size: int = 220) -> str:
    """Return an SVG with the first two principal components of each space, items coloured by their labels (n,).

    Each picture has its own axes, except spaces of one width: they share those of the first, so that what two
    encoders call the same place is seen at the same place.
    """
    _, number = np.unique(np.asarray(labels), return_inverse=True)
    axes: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}
    parts = []
    for i, (name, given) in enumerate(spaces.items()):
        x = matrix(given, name, rows=2).astype(np.float64)
        if len(x) != len(number) or x.shape[1] < 2:
            raise BadInput(f"{name} has shape {x.shape}; expected {len(number)} labelled rows of at least 2 columns")
        if x.shape[1] not in axes:
            mean = x.mean(0)
            directions = np.linalg.svd(x - mean, full_matrices=False)[2][:2].T
            axes[x.shape[1]] = (mean, directions, float(np.abs((x - mean) @ directions).max()) or 1.0)
        mean, directions, reach = axes[x.shape[1]]
        places = size * (0.5 + 0.45 * np.clip((x - mean) @ directions / reach, -1, 1)) + [i * size, 18]
        parts.append(f'<text x="{i * size + 6}" y="13" font-size="12">{escape(name)}</text>')
        parts += [
            f'<circle cx="{u:.1f}" cy="{v:.1f}" r="2" fill="{COLOURS[c % len(COLOURS)]}"/>'
            for (u, v), c in zip(places.tolist(), number.tolist(), strict=True)
        ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{size * len(spaces)}" height="{size + 18}">'
    return "\n".join([head, *parts, "</svg>"])
