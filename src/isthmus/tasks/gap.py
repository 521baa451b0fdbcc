"""gap.v1: two modalities in one space that lie apart as little as they can, on concepts that were held out.

The data are those of retrieval.v1 with one row a concept and modality. An answer is ``{modality: (n, d)}`` for the test
rows of both, row i of both being one concept.

Figures (`isthmus.metrics.gap.gap_report`): ``separability`` (0.5 mixed, 1 apart), ``centroid distance``, ``matched
cosine``, ``alignment``, ``uniformity`` (the mean of both), ``cross uniformity``, and ``r@1`` (the mean of both ways),
so that nobody closes a gap by losing what is in it.

Relations: both the same vectors → separability 0.5, distance 0, alignment 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.gap import gap_report
from isthmus.tasks.retrieval import Held
from isthmus.tasks.retrieval import make as held_out

__all__ = ["TASK", "make", "score"]


def make(seed: int, size: int, *, keys: Mapping[str, Any], groups: Mapping[str, Any] | None = None) -> Held:
    """Hold out `size` concepts by `seed`, as `retrieval.make`.

    Raises `BadInput` for another number of modalities than two, keys of other concepts in the two or in another order,
    fewer than 5 concepts held out, and what `retrieval.make` refuses.
    """
    named = [np.asarray(k, dtype=str) for k in keys.values()]
    if len(named) != 2 or not np.array_equal(named[0], named[1]) or len(np.unique(named[0])) != len(named[0]):
        raise BadInput(f"the gap is that of pairs: two modalities with the same keys in one order, got {list(keys)}")
    data = held_out(seed, size, keys=keys, groups=groups)
    if len(next(iter(data.rows.values()))) < 5:
        raise BadInput(f"size = {size}; at least 5 concepts must be held out")
    return data


def score(data: Held, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return every figure; see the module. Raises `BadInput` for other modalities or numbers of rows."""
    if set(answer) != set(data.keys):
        raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for {sorted(data.keys)}")
    first, second = (np.asarray(answer[m]) for m in data.keys)
    if len(first) != len(next(iter(data.keys.values()))):
        raise BadInput(f"{len(first)} vectors for {len(next(iter(data.keys.values())))} test rows")
    found = gap_report(first, second)
    return {
        **{name: found[name] for name in ("separability", "centroid distance", "matched cosine", "alignment")},
        "uniformity": (found["uniformity a"] + found["uniformity b"]) / 2,
        "cross uniformity": found["cross uniformity"],
        "r@1": (found["a to b r@1"] + found["b to a r@1"]) / 2,
    }


def best(data: Held) -> dict[str, Float[np.ndarray, "n n"]]:
    """Return the best possible answer: one direction a concept, in both modalities."""
    return {m: np.eye(len(keys), dtype=np.float32) for m, keys in data.keys.items()}


def chance(data: Held, seed: int, *, width: int = 64) -> dict[str, Float[np.ndarray, "n d"]]:
    """Return an answer that knows nothing and lies apart: random directions, each modality about an axis of its own."""
    rng = np.random.default_rng(seed)
    axes = np.eye(2, width, dtype=np.float32)
    return {
        m: 2 * axis + rng.standard_normal((len(keys), width), dtype=np.float32) / width**0.5
        for (m, keys), axis in zip(data.keys.items(), axes, strict=True)
    }


TASK = Task(
    name="gap.v1",
    ranges={
        "separability": (0.0, 1.0),
        "centroid distance": (0.0, 2.0),
        "matched cosine": (-1.0, 1.0),
        "alignment": (0.0, 4.0),
        "uniformity": (-8.0, 1e-9),
        "cross uniformity": (-8.0, 1e-9),
        "r@1": (0.0, 1.0),
    },
    make=make,
    score=score,
    best=best,
    chance=chance,
)
