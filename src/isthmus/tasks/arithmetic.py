"""arithmetic.v1: change one word of an item, and find the item that has the other word.

The picture of "woman running", plus the text "man", less the text "woman", should lie nearest the picture of "man
running" (SIMAT, couairon2021, on any items with names). `make` finds the edits in the names themselves: two names that
differ in one word are an edit of one into the other.

An answer is one of

- ``{"item": (n, d), "word": (w, d)}``: vectors of all items and of all words, compared by cosine after the edit

      x = item_i / ‖item_i‖ + λ (t_to − t_from),   t = word / ‖word‖

- the (q, n) scores of the edits themselves.

The item that is edited is no answer. Figures lie in [0, 1]: ``accuracy`` over the edits, ``by edit`` the mean over
pairs of words (a common edit counts as much as a rare one), ``mrr``. Ties count against the answer.

Relations: λ = 0 → the nearest other item of the query.  ·  scores that are largest at the answers → 1.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.vectors import matrix, pair, unit

__all__ = ["STRENGTHS", "TASK", "Edits", "edited", "make", "score", "sweep"]

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""The λ that `sweep` tries."""


@dataclass(frozen=True)
class Edits:
    """q edits: item ``query[i]`` with the word ``source[i]`` for ``target[i]`` is one of the items ``right[i]``.

    `words` are all words that are edited; `right` (q, n) are booleans over the items.
    """

    words: tuple[str, ...]
    query: Int[np.ndarray, " q"]
    source: Int[np.ndarray, " q"]
    target: Int[np.ndarray, " q"]
    right: Bool[np.ndarray, "q n"]


def make(seed: int, size: int, *, names: Sequence[str], groups: Any = None, least: int = 3) -> Edits:
    """Find the edits in the (n,) `names` of items and draw at most `size` of them by `seed`.

    An edit is from one name to another that has one other word in the same place. Only pairs of words that are
    exchanged in `least` places are taken, which leaves kinds (colours, persons) and not chance. Items of one near-
    duplicate group (n,) are no edits of one another.

    Raises `BadInput` for lengths that do not fit, or names without any edit.
    """
    grouped = np.arange(len(names)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if grouped.shape != (len(names),):
        raise BadInput(f"{len(names)} names need as many groups, got shape {grouped.shape}")
    frames: dict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for i, name in enumerate(names):
        said = tuple(re.findall(r"[^\W\d_]+", name.casefold()))
        for place, word in enumerate(said if len(said) > 1 else ()):
            frames[(*said[:place], "", *said[place + 1 :])].append((i, word))
    found: dict[tuple[int, str, str], set[int]] = defaultdict(set)
    for held in frames.values():
        for i, word in held:
            for j, other in held:
                if word != other and grouped[i] != grouped[j]:
                    found[i, word, other].add(j)
    often = Counter((word, other) for _, word, other in found)
    kept = sorted(edit for edit in found if often[edit[1:]] >= least)
    if not kept:
        raise BadInput(f"the {len(names)} names hold no pair of words that is exchanged in {least} places")
    rng = np.random.default_rng(seed)
    if len(kept) > size:
        kept = [kept[i] for i in np.sort(rng.choice(len(kept), size, replace=False))]
    words = sorted({word for edit in kept for word in edit[1:]})
    right = np.zeros((len(kept), len(names)), dtype=bool)
    for row, edit in zip(right, kept, strict=True):
        row[sorted(found[edit])] = True
    query, source, target = (np.array(column) for column in zip(*kept, strict=True))
    return Edits(tuple(words), query, np.searchsorted(words, source), np.searchsorted(words, target), right)


def edited(data: Edits, answer: Mapping[str, Any], strength: float = 1.0) -> Float[np.ndarray, "q n"]:
    """Return the cosine of every edit with every item, for vectors of items and words and a strength λ.

    Raises `BadInput` for vectors of other names, numbers or widths.
    """
    if set(answer) != {"item", "word"}:
        raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for item and word")
    item, word = pair(answer["item"], answer["word"], ("item", "word"))
    if len(item) != data.right.shape[1] or len(word) != len(data.words):
        raise BadInput(
            f"{len(item)} items and {len(word)} words; the task has {data.right.shape[1]}, {len(data.words)}"
        )
    x, t = unit(item, "item"), unit(word, "word")
    moved = x[data.query] + strength * (t[data.target] - t[data.source])
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray((moved / np.maximum(length, np.finfo(moved.dtype).tiny)) @ x.T)


def score(data: Edits, answer: Any, strength: float = 1.0) -> dict[str, float]:
    """Return every figure; see the module. `strength` λ is for answers that are vectors."""
    scores = edited(data, answer, strength) if isinstance(answer, Mapping) else matrix(answer, "scores")
    if scores.shape != data.right.shape:
        raise BadInput(f"scores have shape {scores.shape}; expected {data.right.shape}")
    own = np.arange(len(scores))
    scores = scores.astype(np.float64)
    scores[own, data.query] = -np.inf
    first = np.where(data.right, scores, -np.inf).max(1)
    place = 1 + (np.where(data.right, -np.inf, scores) >= first[:, None]).sum(1)
    hit = place == 1
    kinds = list(zip(data.source.tolist(), data.target.tolist(), strict=True))
    each: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for kind, right in zip(kinds, hit.tolist(), strict=True):
        each[kind].append(right)
    return {
        "accuracy": float(hit.mean()),
        "by edit": float(np.mean([np.mean(right) for right in each.values()])),
        "mrr": float((1 / place).mean()),
    }


def sweep(data: Edits, answer: Mapping[str, Any], strengths: Sequence[float] = STRENGTHS) -> dict[float, float]:
    """Return the accuracy at each strength λ."""
    return {strength: score(data, answer, strength)["accuracy"] for strength in strengths}


def best(data: Edits) -> Float[np.ndarray, "q n"]:
    """Return the best possible answer: the items that are right."""
    return data.right.astype(np.float32)


def chance(data: Edits, seed: int) -> Float[np.ndarray, "q n"]:
    """Return an answer that knows nothing: random scores."""
    return np.random.default_rng(seed).standard_normal(data.right.shape, dtype=np.float32)


TASK = Task(
    name="arithmetic.v1",
    ranges={"accuracy": (0.0, 1.0), "by edit": (0.0, 1.0), "mrr": (0.0, 1.0)},
    make=make,
    score=score,
    best=best,
    chance=chance,
)
