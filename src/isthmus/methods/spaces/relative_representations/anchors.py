"""Which samples are the anchors, and finding the same samples in another space."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from isthmus.core.errors import BadInput, NotFound
from isthmus.metrics.vectors import matrix, unit
from isthmus.store.disk import read_json, write_json

__all__ = ["Anchors", "How", "choose_anchors"]

How = Literal["uniform", "per_class", "farthest", "kmeans", "frequent"]
FORMAT_VERSION = 1


def choose_anchors(
    x: Any, k: int, how: How = "uniform", *, labels: Any = None, counts: Any = None, seed: int = 0
) -> Int[np.ndarray, " k"]:
    """Return the rows of k anchors among the vectors (n, d), in ascending order.

    "uniform" draws them; "per_class" as equally many of each class in `labels` (n,) as there are; "farthest" takes
    the row farthest from those taken before, from a random first; "kmeans" the rows nearest to k centres, filled up
    by the farthest where two centres have one nearest row; "frequent" those with the largest `counts` (n,).
    The last four go by cosine where they measure.

    Raises `BadInput` for more anchors than rows, or a choice without the labels or counts that it needs.
    """
    table = matrix(x, "x")
    n, rng = len(table), np.random.default_rng(seed)
    if not 1 <= k <= n:
        raise BadInput(f"{k} anchors among {n} rows: expected 1 to {n}")
    for name, needed, given in (("labels", "per_class", labels), ("counts", "frequent", counts)):
        if how == needed and np.shape(given) != (n,):
            raise BadInput(f"{how} anchors need {name} of {n} rows, got shape {np.shape(given)}")
    if how == "uniform":
        return np.sort(rng.permutation(n)[:k])
    if how == "per_class":
        return np.sort(_per_class(np.asarray(labels), k, rng))
    if how == "frequent":
        return np.sort(np.argsort(-np.asarray(counts, dtype=np.float64), kind="stable")[:k])
    z = unit(table.astype(np.float64), "x")
    if how == "farthest":
        return np.sort(_farthest(z, [int(rng.integers(n))], k))
    if how == "kmeans":
        from scipy.cluster.vq import kmeans2

        centres, _ = kmeans2(z, k, minit="++", seed=rng, missing="warn")
        nearest = np.unique((z @ centres.T - (centres**2).sum(1) / 2).argmax(0)).tolist()
        return np.sort(_farthest(z, nearest, k))
    raise BadInput(f"how = {how!r} is none of uniform, per_class, farthest, kmeans, frequent")


def _per_class(labels: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Take one row of each class in turn until there are k."""
    _, number = np.unique(labels, return_inverse=True)
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), int)
    seen = np.zeros(number.max() + 1, int)
    for row in order:
        turn[row] = seen[number[row]]
        seen[number[row]] += 1
    return order[np.argsort(turn[order], kind="stable")[:k]]


def _farthest(z: np.ndarray, taken: list[int], k: int) -> np.ndarray:
    """Add rows to those taken, each the one whose nearest taken row is farthest."""
    nearest = (z @ z[taken].T).max(1)
    nearest[taken] = np.inf
    while len(taken) < k:
        row = int(nearest.argmin())
        taken.append(row)
        nearest = np.maximum(nearest, z @ z[row])
        nearest[row] = np.inf
    return np.array(taken)


@dataclass(frozen=True)
class Anchors:
    """The names of the samples that are anchors, in the order of the coordinates; what two spaces must share.

    Raises `BadInput` for no names, or a name twice.
    """

    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise BadInput(f"anchors need different names, got {len(self.ids)}, {len(set(self.ids))} of them different")

    @classmethod
    def of(cls, keys: Sequence[Any], rows: Any) -> "Anchors":
        """Return the anchors that stand in some rows of the keys (n,)."""
        return cls(tuple(str(keys[row]) for row in rows))

    def rows(self, keys: Sequence[Any], *, parallel: Mapping[str, str] | None = None) -> Int[np.ndarray, " k"]:
        """Return where each anchor stands among the keys (n,) of a space, the first of several.

        `parallel` {name here: name there} is for spaces of other samples that mean the same: a translated sentence,
        a sentence of Wikipedia in another language.

        Raises `NotFound` naming how many anchors the space lacks.
        """
        place: dict[str, int] = {}
        for i, key in enumerate(keys):
            place.setdefault(str(key), i)
        named = [name if parallel is None else parallel.get(name, "") for name in self.ids]
        if absent := [name for name, there in zip(self.ids, named, strict=True) if there not in place]:
            raise NotFound(
                f"{len(absent)} of {len(self.ids)} anchors are not among the {len(keys)} samples of the space, first "
                f"is {absent[0]!r}: encode them, or name their counterparts in parallel="
            )
        return np.array([place[there] for there in named])

    def save(self, path: str | Path) -> Path:
        """Write the names as JSON and return the path."""
        write_json(Path(path), {"format_version": FORMAT_VERSION, "anchors": list(self.ids)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Anchors":
        """Read what `save` wrote; `NotFound` where there is nothing, `BadInput` for what are no anchors."""
        head = read_json(Path(path), kind="a list of anchors", format_version=FORMAT_VERSION)
        ids = head.get("anchors")
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise BadInput(f"{path} holds no list of names: {json.dumps(ids)[:60]}")
        return cls(tuple(ids))
