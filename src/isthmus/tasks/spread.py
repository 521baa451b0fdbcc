"""spread.v1: pairs close by, everything else far: relative alignment and the uniformity of both modalities together.

The data are those of gap.v1, and so are the answers, ``{modality: (n, d)}``. Figures, of unit vectors x_i, y_i:

    relative alignment = mean_i [ min_{j≠i} ‖x_i − y_j‖² − ‖x_i − y_i‖² ],  in [−4, 4]
    joint uniformity   = −log mean exp(−2 ‖u − v‖²) over all pairs of the 2n vectors,  in [0, 8]

More is better of both. Source: oh2023 (arXiv 2203.03897), whose uniformity has the sign turned.

Relations: a pair nearer than all strangers throughout → relative alignment above 0; all vectors equal → both 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.geometry import uniformity
from isthmus.metrics.vectors import blocks, matrix, unit
from isthmus.tasks import gap
from isthmus.tasks.retrieval import Held

__all__ = ["TASK", "relative_alignment", "score"]


def relative_alignment(a: Any, b: Any) -> float:
    """Return how much nearer, in squared distance, a pair is than the nearest stranger, from a to b.

    Raises `BadInput` for unequal shapes, fewer than 2 pairs, NaN, or a zero vector.
    """
    x, y = matrix(a, "a", rows=2), matrix(b, "b", rows=2)
    if x.shape != y.shape:
        raise BadInput(f"a {x.shape} and b {y.shape} must be pairs in one space")
    x, y, total = unit(x, "a"), unit(y, "b"), 0.0
    for rows in blocks(len(x), len(x)):
        cosine = (x[rows] @ y.T).astype(np.float64)
        own = np.arange(len(x))[rows]
        pair = cosine[np.arange(len(own)), own]
        cosine[np.arange(len(own)), own] = -np.inf
        total += float((2 * (pair - cosine.max(1))).sum())
    return total / len(x)


def score(data: Held, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return both figures; see the module. Raises `BadInput` for other modalities or numbers of rows."""
    if set(answer) != set(data.keys):
        raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for {sorted(data.keys)}")
    first, second = (np.asarray(answer[m]) for m in data.keys)
    if len(first) != len(next(iter(data.keys.values()))):
        raise BadInput(f"{len(first)} vectors for {len(next(iter(data.keys.values())))} test rows")
    both = np.concatenate([unit(matrix(first, "a"), "a"), unit(matrix(second, "b"), "b")])
    return {"relative alignment": relative_alignment(first, second), "joint uniformity": -uniformity(both)}


TASK = Task(
    name="spread.v1",
    ranges={"relative alignment": (-4.0, 4.0), "joint uniformity": (-1e-6, 8.0)},
    make=gap.make,
    score=score,
    best=gap.best,
    chance=gap.chance,
)
