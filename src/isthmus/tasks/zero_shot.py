"""zero_shot.v1: say which class an item is, from descriptions of classes alone.

`make` holds out whole classes by seed, so that the answer can have seen no item of them; `unseen_items` holds out
items of every class instead, for methods that train on pairs without labels. An answer is one of

- ``(items (n, d), classes (c, d))``, compared by cosine: vectors of the test items and of the classes;
- the (n, c) scores themselves.

Figures lie in [0, 1]: ``top1``, ``top5`` over items, and ``mean_per_class``, top-1 averaged over classes. Ties count
against the answer.

Relations: scores that are largest exactly at the item's class → 1; equal scores → 0; scores without any relation to
the classes → about 1 / c.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.splits import holdout
from isthmus.metrics.vectors import matrix, pair, unit

__all__ = ["TASK", "Classes", "class_scores", "class_vectors", "make", "score", "unseen_items"]


@dataclass(frozen=True)
class Classes:
    """Test items and the classes to choose from: item i is ``names[labels[i]]``.

    `rows` are the indices of the test items in what was given to `make`, `train` those of the training items.
    """

    names: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]
    train: Int[np.ndarray, " m"]


def make(seed: int, size: int, *, labels: Sequence[Any] | np.ndarray, groups: Any = None) -> Classes:
    """Hold out `size` classes by `seed` (`data.splits.holdout`): all their items are the test, the rest the training.

    `labels` (n,) name the class of each item, `groups` (n,) its near-duplicate group. Items of other classes that
    share a group with a test item are on neither side.

    Raises `BadInput` for lengths that do not fit, and for fewer than 2 classes on either side.
    """
    named, grouped = _named(labels, groups)
    known = np.unique(named)
    if not 2 <= size < len(known):
        raise BadInput(f"cannot hold out {size} of {len(known)} classes: at least 2, and fewer than all")
    held = sorted(holdout(known.tolist(), known.tolist(), split=seed, n=size).test)
    rows = np.flatnonzero(np.isin(named, held))
    train = np.flatnonzero(~np.isin(named, held) & ~np.isin(grouped, grouped[rows]))
    return Classes(tuple(held), np.searchsorted(held, named[rows]), rows, train)


def unseen_items(seed: int, size: int, *, labels: Sequence[Any] | np.ndarray, groups: Any = None) -> Classes:
    """Hold out the items of `size` groups of each class by `seed`; every class is on both sides.

    Raises `BadInput` when a class has too few groups to be on both sides, or shares a group with another class.
    """
    named, grouped = _named(labels, groups)
    known = np.unique(named).tolist()
    held: set[str] = set()
    for name in known:
        own = np.unique(grouped[named == name]).tolist()
        if np.isin(grouped[named != name], own).any():
            raise BadInput(f"a near-duplicate group of class {name!r} holds items of other classes")
        if not 1 <= size < len(own):
            raise BadInput(f"cannot hold out {size} of the {len(own)} groups of class {name!r}")
        held |= holdout(own, own, split=seed, n=size).test
    inside = np.isin(grouped, sorted(held))
    rows = np.flatnonzero(inside)
    return Classes(tuple(known), np.searchsorted(known, named[rows]), rows, np.flatnonzero(~inside))


def class_vectors(vectors: Any) -> Float[np.ndarray, "c d"]:
    """Return one unit vector a class from the vectors of its prompts (c, p, d): the direction of their unit mean.

    Relations: one prompt → its direction. Raises `BadInput` for another shape, and for prompts that cancel out.
    """
    prompts = np.asarray(vectors)
    if prompts.ndim != 3 or 0 in prompts.shape:
        raise BadInput(f"class_vectors needs the prompts of every class, (c, p, d), got shape {prompts.shape}")
    flat = unit(matrix(prompts.reshape(-1, prompts.shape[2]), "prompts"), "prompts")
    return unit(flat.reshape(prompts.shape).mean(1), "classes")


def class_scores(data: Classes, answer: Any) -> Float[np.ndarray, "n c"]:
    """Return the scores of an answer; `BadInput` when they are not (n, c) finite numbers."""
    if isinstance(answer, tuple):
        items, classes = pair(answer[0], answer[1], ("items", "classes"))
        scores = unit(items, "items") @ unit(classes, "classes").T
    else:
        scores = matrix(answer, "scores")
    if scores.shape != (len(data.labels), len(data.names)):
        raise BadInput(f"scores have shape {scores.shape}; expected {(len(data.labels), len(data.names))}")
    return np.asarray(scores)


def score(data: Classes, answer: Any) -> dict[str, float]:
    """Return top1, top5 and mean_per_class of an answer."""
    scores = class_scores(data, answer)
    own = scores[np.arange(len(scores)), data.labels]
    # the item's own class counts itself, and others as high as it stand before it
    place = (scores >= own[:, None]).sum(1)
    right = place == 1
    return {
        "top1": float(right.mean()),
        "top5": float((place <= 5).mean()),
        "mean_per_class": float(np.mean([right[data.labels == c].mean() for c in np.unique(data.labels)])),
    }


def best(data: Classes) -> Float[np.ndarray, "n c"]:
    """Return the best possible answer: the class of each item, one-hot."""
    return np.asarray(np.eye(len(data.names), dtype=np.float32)[data.labels])


def chance(data: Classes, seed: int) -> Float[np.ndarray, "n c"]:
    """Return an answer that knows nothing: random scores."""
    return np.random.default_rng(seed).standard_normal((len(data.labels), len(data.names)), dtype=np.float32)


def _named(labels: Any, groups: Any) -> tuple[Shaped[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
    named = np.asarray(labels, dtype=str)
    grouped = np.arange(len(named)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if named.ndim != 1 or not len(named) or named.shape != grouped.shape:
        raise BadInput(f"labels and groups have the shapes {named.shape} and {grouped.shape}; expected (n,)")
    return named, grouped


TASK = Task(
    name="zero_shot.v1",
    ranges={"top1": (0.0, 1.0), "top5": (0.0, 1.0), "mean_per_class": (0.0, 1.0)},
    make=make,
    score=score,
    best=best,
    chance=chance,
)
