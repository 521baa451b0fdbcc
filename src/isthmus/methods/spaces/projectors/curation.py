"""Concept-balanced curation: from a pool of embeddings, a set that serves every class alike.

The pool streams through `TopPerClass`, which keeps the best samples of each class; `balanced` then visits the
classes from the rarest to the commonest and gives each its best samples that no class has taken yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix, unit

__all__ = ["Selection", "TopPerClass", "balanced", "curate", "prototypes"]


def prototypes(x: Any, labels: Any, *, shots: int = 128, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (class names, unit prototypes (C, d)): the mean of up to `shots` random unit vectors of each class."""
    vectors, labels = unit(matrix(x, "x")), np.asarray(labels)
    if labels.shape != (len(vectors),):
        raise BadInput(f"labels have shape {labels.shape}; expected ({len(vectors)},)")
    if shots < 1:
        raise BadInput(f"shots must be at least 1, got {shots}")
    rng = np.random.default_rng(seed)
    names = np.unique(labels)
    rows = [np.flatnonzero(labels == name) for name in names]
    chosen = [r if len(r) <= shots else rng.choice(r, shots, replace=False) for r in rows]
    return names, unit(np.stack([vectors[r].mean(0) for r in chosen]), "prototypes")


class TopPerClass:
    """The running `keep` best samples of each class, over a pool that arrives in blocks.

    Memory is O(classes · keep), whatever the pool's size. Of equal scores the smaller id is kept, so that the
    result does not depend on how the pool was cut into blocks.

    >>> top = TopPerClass(np.eye(2), keep=1)
    >>> top.add([0, 1], np.array([[1.0, 0.1], [0.2, 1.0]]))
    >>> top.ids.tolist()
    [[0], [1]]
    """

    def __init__(self, prototypes: Any, *, keep: int = 50_000) -> None:
        if keep < 1:
            raise BadInput(f"keep must be at least 1, got {keep}")
        self.prototypes = unit(matrix(prototypes, "prototypes"), "prototypes")
        self.keep = keep
        self.ids: Int[np.ndarray, "c k"] = np.empty((len(self.prototypes), 0), np.int64)
        """(C, k) sample ids of each class, best first."""
        self.scores: Float[np.ndarray, "c k"] = np.empty((len(self.prototypes), 0))
        """(C, k) their cosines with the class's prototype."""

    def add(self, ids: Any, x: Any) -> None:
        """Take in a block: integer `ids` (n,) and embeddings (n, d). An id must not come twice."""
        vectors, ids = unit(matrix(x, "pool"), "pool"), np.asarray(ids, dtype=np.int64)
        if ids.shape != (len(vectors),):
            raise BadInput(f"ids have shape {ids.shape}; expected ({len(vectors)},)")
        if vectors.shape[1] != self.prototypes.shape[1]:
            raise BadInput(f"the pool has width {vectors.shape[1]}, the prototypes {self.prototypes.shape[1]}")
        scores = np.concatenate([self.scores, self.prototypes @ vectors.T], axis=1)
        named = np.concatenate([self.ids, np.broadcast_to(ids, (len(self.prototypes), len(ids)))], axis=1)
        order = np.lexsort((named, -scores), axis=1)[:, : self.keep]
        self.ids, self.scores = np.take_along_axis(named, order, 1), np.take_along_axis(scores, order, 1)


@dataclass(frozen=True)
class Selection:
    """A curated set: `ids` (m,), each once, with the `classes` (m,) that took them and their `scores` (m,)."""

    ids: Int[np.ndarray, " m"]
    classes: Int[np.ndarray, " m"]
    scores: Float[np.ndarray, " m"]
    order: Int[np.ndarray, " c"]
    """All classes in the order in which they were served, rarest first."""

    def histogram(self) -> Int[np.ndarray, " c"]:
        """Return how many samples each class took."""
        return np.bincount(self.classes, minlength=len(self.order))


def balanced(top: TopPerClass, *, per_class: int = 2_000) -> Selection:
    """Give each class its `per_class` best samples that are still free, the rarest class first.

    A class is the rarer the lower the score of its last kept sample (the score "at rank max"): a common class
    still has good samples there.

    Relations: classes that share no kept sample → each class's plain top `per_class`.
    """
    if per_class < 1:
        raise BadInput(f"per_class must be at least 1, got {per_class}")
    if not top.ids.size:
        raise BadInput("the pool is empty: add embeddings before selecting")
    order = np.argsort(top.scores[:, -1], kind="stable")
    taken: set[int] = set()
    rows: list[tuple[int, int, float]] = []
    for c in order.tolist():
        free = [(i, c, s) for i, s in zip(top.ids[c].tolist(), top.scores[c].tolist(), strict=True) if i not in taken]
        rows += free[:per_class]
        taken.update(i for i, _, _ in free[:per_class])
    ids, classes, scores = zip(*rows, strict=True)
    return Selection(np.array(ids), np.array(classes), np.array(scores), order)


def curate(
    pool: Iterable[tuple[Any, Any]] | Mapping[int, Any], prototypes: Any, *, keep: int = 50_000, per_class: int = 2_000
) -> Selection:
    """Select from a pool of (ids, embeddings) blocks: `TopPerClass` over all blocks, then `balanced`."""
    top = TopPerClass(prototypes, keep=keep)
    for ids, x in pool.items() if isinstance(pool, Mapping) else pool:
        top.add(np.atleast_1d(ids), np.atleast_2d(x))
    return balanced(top, per_class=per_class)
