"""stitching.v1: classify with a head that was trained on another encoder.

The data are the classes of items and the names of the encoders. `make` holds out items by seed, with their
near-duplicates kept from the training side. An answer is ``{(encoder, head): scores (n, c)}`` for every pair of an
encoder and the encoder that the head was trained with, itself among them. Figures lie in [0, 1]:

    stitched    accuracy, averaged over the pairs of two different encoders
    own         accuracy of the heads on the encoder that they were trained with
    worst       accuracy of the worst pair of two different encoders
    a → b       accuracy of the head of b on encoder a

Ties count against the answer.

Relations: one-hot scores of the true classes → 1 each; equal scores → 0; the same scores for all pairs → stitched =
own = worst.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.splits import holdout
from isthmus.metrics.vectors import matrix

__all__ = ["TASK", "Grid", "make", "score"]


@dataclass(frozen=True)
class Grid:
    """Held-out items, item i of the class ``names[labels[i]]``, and the encoders that see them.

    `rows` are the indices of the test items in what was given to `make`, `train` those of the training items.
    """

    encoders: tuple[str, ...]
    names: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]
    train: Int[np.ndarray, " m"]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs of an encoder and the encoder of a head."""
        return [(a, b) for a in self.encoders for b in self.encoders]


def make(seed: int, size: int, *, keys: Any, groups: Any, labels: Any, encoders: Sequence[str]) -> Grid:
    """Hold out `size` items by `seed` (`data.splits.holdout`) from `keys`, `groups` and `labels` (n,).

    Items that share a near-duplicate group with a held-out one are on neither side.
    Raises `BadInput` for fewer than two encoders or classes, lengths that do not fit, or a class without a training
    item.
    """
    named, grouped, classes = (np.asarray(x, dtype=str) for x in (keys, groups, labels))
    if named.ndim != 1 or named.shape != grouped.shape or named.shape != classes.shape:
        raise BadInput(f"keys, groups and labels have the shapes {named.shape}, {grouped.shape} and {classes.shape}")
    if len(set(encoders)) < 2 or len(set(encoders)) < len(encoders):
        raise BadInput(f"stitching needs at least two encoders of different names, got {list(encoders)}")
    split = holdout(named.tolist(), grouped.tolist(), split=seed, n=size)
    test, train = (np.flatnonzero(np.isin(named, sorted(part))) for part in (split.test, split.train))
    known, number = np.unique(classes, return_inverse=True)
    if len(known) < 2 or len(np.unique(number[train])) < len(known):
        raise BadInput(f"{len(np.unique(number[train]))} of {len(known)} classes have a training item: all must, and 2")
    return Grid(tuple(encoders), tuple(known.tolist()), number[test], test, train)


def score(data: Grid, answer: Mapping[tuple[str, str], Any]) -> dict[str, float]:
    """Return stitched, own, worst and the accuracy of every pair of an answer; `BadInput` for a pair too few."""
    if absent := [pair for pair in data.pairs if pair not in answer]:
        raise BadInput(f"the answer lacks {len(absent)} of {len(data.pairs)} pairs of encoder and head: {absent[0]}")
    found = {}
    for a, b in data.pairs:
        scores = matrix(answer[a, b], f"scores of {a} with the head of {b}")
        if scores.shape != (len(data.labels), len(data.names)):
            raise BadInput(f"scores have shape {scores.shape}; expected {(len(data.labels), len(data.names))}")
        own = scores[np.arange(len(scores)), data.labels]
        found[a, b] = float(((scores >= own[:, None]).sum(1) == 1).mean())
    apart = [value for (a, b), value in found.items() if a != b]
    return {
        "stitched": float(np.mean(apart)),
        "own": float(np.mean([found[a, a] for a in data.encoders])),
        "worst": min(apart),
        **{f"{a} → {b}": value for (a, b), value in found.items()},
    }


def best(data: Grid) -> dict[tuple[str, str], Float[np.ndarray, "n c"]]:
    """Return the best possible answer: the class of each item, one-hot."""
    return dict.fromkeys(data.pairs, np.eye(len(data.names), dtype=np.float32)[data.labels])


def chance(data: Grid, seed: int) -> dict[tuple[str, str], Float[np.ndarray, "n c"]]:
    """Return an answer that knows nothing: random scores."""
    rng = np.random.default_rng(seed)
    return {pair: rng.standard_normal((len(data.labels), len(data.names)), dtype=np.float32) for pair in data.pairs}


TASK = Task(
    name="stitching.v1",
    ranges=dict.fromkeys(("stitched", "own", "worst"), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
