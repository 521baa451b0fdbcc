"""retrieval.v1: find the items of one modality with an item of another, on concepts that were held out.

The data are keys: which item each row of each modality is. `make` holds out concepts by seed, with their
near-duplicates kept from the training side. An answer is one of

- ``{modality: (n, d) vectors}`` for the test rows, compared by cosine;
- a function ``(asking, offered) -> scores`` that gives the (q, n) scores of one direction, or a function from a slice
  of its queries to their rows, for methods that correct or compute scores.

Every direction between two modalities is scored (`text_to_image`, `image_to_text`, …). All rows with the query's
key are positives, ties count against the answer (`isthmus.metrics.retrieval`). Figures lie in [0, 1]; the plain names
are means over directions, ``rsum`` is r@1 + r@5 + r@10 summed over both directions of a pair, in [0, 6].

Relations: vectors that are equal exactly for equal keys → every figure at its maximum; vectors without any
relation to the keys → r@k about k · positives / rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.splits import holdout
from isthmus.metrics.retrieval import CUTOFFS, Ranks, ScoreBlocks, per_query, rank_positives, retrieval_ranks
from isthmus.metrics.vectors import matrix, unit

__all__ = ["TASK", "Answer", "Held", "direction_name", "make", "ranks", "score"]

Answer = Mapping[str, Any] | Callable[[str, str], "np.ndarray | ScoreBlocks"]
FIGURES = (*(f"r@{k}" for k in CUTOFFS), "mrr", "map", "ndcg@10")


@dataclass(frozen=True)
class Held:
    """Held-out data: for each modality the `keys` (n,) of its test rows.

    `rows` are the indices of the test rows in what was given to `make`, `train` those of the training rows.
    """

    keys: Mapping[str, Shaped[np.ndarray, " n"]]
    rows: Mapping[str, Int[np.ndarray, " n"]]
    train: Mapping[str, Int[np.ndarray, " m"]]

    @property
    def directions(self) -> list[tuple[str, str]]:
        """All ordered pairs of modalities: who asks, what is offered."""
        return list(permutations(self.keys, 2))


def make(seed: int, size: int, *, keys: Mapping[str, Any], groups: Mapping[str, Any] | None = None) -> Held:
    """Hold out `size` concepts by `seed` (`data.splits.holdout`): their rows are the test, the rest the training.

    `keys` maps each modality to the (n,) keys of its rows, `groups` likewise to near-duplicate groups. Concepts that
    share a group with a held-out one are on neither side. Only keys that occur in every modality are held out.

    Raises `BadInput` for fewer than two modalities, lengths that do not fit, or fewer than 2 shared concepts held out.
    """
    named = {m: np.asarray(k, dtype=str) for m, k in keys.items()}
    if groups is not None and set(groups) != set(named):
        raise BadInput(f"groups are of {sorted(groups)} and keys of {sorted(named)}")
    grouped = named if groups is None else {m: np.asarray(groups[m], dtype=str) for m in named}
    if len(named) < 2 or any(named[m].ndim != 1 or named[m].shape != grouped[m].shape for m in named):
        shapes = {m: (named[m].shape, grouped[m].shape) for m in named}
        raise BadInput(f"keys and groups have the shapes {shapes}; expected (n,) for at least two modalities")
    if size < 2:
        raise BadInput(f"size = {size}; at least 2 concepts must be held out to tell them apart")
    shared = set.intersection(*(set(k.tolist()) for k in named.values()))
    group_of = {k: g for m in named for k, g in zip(named[m].tolist(), grouped[m].tolist(), strict=True)}
    both = [(k, g) for m in named for k, g in zip(named[m].tolist(), grouped[m].tolist(), strict=True) if k in shared]
    split = holdout([k for k, _ in both], [g for _, g in both], split=seed, n=size)
    tested = {group_of[k] for k in split.test}
    rows = {m: np.flatnonzero([k in split.test for k in named[m].tolist()]) for m in named}
    train = {m: np.flatnonzero([group_of[k] not in tested for k in named[m].tolist()]) for m in named}
    return Held({m: named[m][rows[m]] for m in named}, rows, train)


def ranks(data: Held, answer: Answer) -> dict[str, Ranks]:
    """Return the ranks of all positives in each direction, for figures a query, intervals and paired tests."""
    if callable(answer):
        return {
            direction_name(a, b): rank_positives(answer(a, b), data.keys[a], data.keys[b]) for a, b in data.directions
        }
    vectors = _vectors(data, answer)
    return {
        direction_name(a, b): retrieval_ranks(vectors[a], vectors[b], data.keys[a], data.keys[b])
        for a, b in data.directions
    }


def score(data: Held, answer: Answer) -> dict[str, float]:
    """Return every figure of every direction (``text_to_image r@1``), their means (``r@1``) and ``rsum``."""
    found = {name: {k: float(v.mean()) for k, v in per_query(r).items()} for name, r in ranks(data, answer).items()}
    means = {figure: sum(f[figure] for f in found.values()) / len(found) for figure in FIGURES}
    return (
        {f"{name} {figure}": value for name, figures in found.items() for figure, value in figures.items()}
        | means
        | {"rsum": 2 * sum(means[f"r@{k}"] for k in CUTOFFS)}
    )


def best(data: Held) -> dict[str, Float[np.ndarray, "n d"]]:
    """Return the best possible answer: the key of each row, one-hot."""
    known = np.unique(np.concatenate(list(data.keys.values())))
    return {m: np.eye(len(known), dtype=np.float32)[np.searchsorted(known, k)] for m, k in data.keys.items()}


def chance(data: Held, seed: int, *, width: int = 64) -> dict[str, Float[np.ndarray, "n d"]]:
    """Return an answer that knows nothing: random directions."""
    rng = np.random.default_rng(seed)
    return {m: rng.standard_normal((len(k), width), dtype=np.float32) for m, k in data.keys.items()}


def direction_name(asking: str, offered: str) -> str:
    """Return the name of a direction, such as ``text_to_image``."""
    return f"{asking}_to_{offered}"


def _vectors(data: Held, answer: Mapping[str, Any]) -> dict[str, Float[np.ndarray, "n d"]]:
    if set(answer) != set(data.keys):
        raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for {sorted(data.keys)}")
    vectors = {m: unit(matrix(x, m), m) for m, x in answer.items()}
    if wrong := {m: (v.shape, len(data.keys[m])) for m, v in vectors.items() if len(v) != len(data.keys[m])}:
        raise BadInput(f"the answer has other rows than the test: {wrong} (shape, test rows)")
    return vectors


TASK = Task(
    name="retrieval.v1",
    ranges=dict.fromkeys(FIGURES, (0.0, 1.0)) | {"rsum": (0.0, 6.0)},
    make=make,
    score=score,
    best=best,
    chance=chance,
)
