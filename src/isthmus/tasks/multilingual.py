"""multilingual.v1: find items with texts in several languages, and texts with items, and find the same in each of them.

As retrieval.v1, on concepts that were held out, one item and one text a language of each. An answer is
``{"item": (n, d), "text": (n, K, d)}`` for the n test items: vectors, compared by cosine. In language k the query of
text to item is asked among all items, that of item to text among the texts of language k.

Figures are means over the two directions: ``r@1``, ``r@5``, ``r@10`` and ``mrr`` over languages, in [0, 1]; ``worst
r@1`` of the language that is served worst; ``mrv`` and ``mrv std``, how far the rank of an item moves between languages
(`isthmus.metrics.consistency`), at least 0; ``LANGUAGE r@1`` of each.

Relations: the same text vectors in all languages → mrv 0.  ·  vectors equal exactly for equal items → every recall 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.consistency import by_variant, mean_rank_variance
from isthmus.metrics.retrieval import CUTOFFS, retrieval_ranks
from isthmus.metrics.vectors import matrix, unit
from isthmus.tasks import retrieval

__all__ = ["TASK", "Multilingual", "make", "ranks", "score"]


@dataclass(frozen=True)
class Multilingual:
    """Held-out items: their `keys` (n,), the `rows` (n,) they were and the rows to `train` on, and the `languages`."""

    keys: Shaped[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]
    train: Int[np.ndarray, " m"]
    languages: tuple[str, ...]


def make(seed: int, size: int, *, keys: Any, languages: Sequence[str], groups: Any | None = None) -> Multilingual:
    """Hold out `size` of the items with the (n,) `keys` by `seed`, as `retrieval.make`, near-duplicates with them.

    Raises `BadInput` for fewer than two languages, keys that occur twice, and what `retrieval.make` refuses.
    """
    named = np.asarray(keys, dtype=str)
    if len(languages) < 2 or len(set(languages)) != len(languages):
        raise BadInput(f"at least two languages are needed, all different, got {list(languages)}")
    if len(set(named.tolist())) != len(named):
        raise BadInput(f"{len(named) - len(set(named.tolist()))} keys occur twice; one row an item")
    both = None if groups is None else {"item": groups, "text": groups}
    held = retrieval.make(seed, size, keys={"item": named, "text": named}, groups=both)
    return Multilingual(held.keys["item"], held.rows["item"], held.train["item"], tuple(languages))


def ranks(data: Multilingual, answer: Mapping[str, Any]) -> dict[str, Int[np.ndarray, "n k"]]:
    """Return the rank of each item's answer in each language, from 1: ``text_to_item`` and ``item_to_text``."""
    if set(answer) != {"item", "text"}:
        raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for item and text")
    text, wanted = np.asarray(answer["text"]), (len(data.keys), len(data.languages))
    item = unit(matrix(answer["item"], "item"), "item")
    if text.ndim != 3 or text.shape[:2] != wanted or len(item) != wanted[0]:
        raise BadInput(f"item {item.shape} and text {text.shape} must be ({wanted[0]}, d) and {(*wanted, 'd')}")
    said = [unit(matrix(text[:, k], name), name) for k, name in enumerate(data.languages)]
    return {
        "text_to_item": np.stack([retrieval_ranks(t, item, data.keys, data.keys).first for t in said], 1),
        "item_to_text": np.stack([retrieval_ranks(item, t, data.keys, data.keys).first for t in said], 1),
    }


def score(data: Multilingual, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return every figure; see the module."""
    tables = list(ranks(data, answer).values())
    found = {f"r@{k}": [by_variant(table, data.languages, k)["mean"] for table in tables] for k in CUTOFFS}
    first = [by_variant(table, data.languages) for table in tables]
    found |= {
        "mrr": [float((1 / table).mean()) for table in tables],
        "worst r@1": [each["worst"] for each in first],
        "mrv": [mean_rank_variance(table) for table in tables],
        "mrv std": [mean_rank_variance(table, "std") for table in tables],
    }
    found |= {f"{name} r@1": [each[name] for each in first] for name in data.languages}
    return {name: float(np.mean(values)) for name, values in found.items()}


def best(data: Multilingual) -> dict[str, Float[np.ndarray, "..."]]:
    """Return the best possible answer: one direction an item."""
    own = np.eye(len(data.keys), dtype=np.float32)
    return {"item": own, "text": np.repeat(own[:, None], len(data.languages), 1)}


def chance(data: Multilingual, seed: int, *, width: int = 64) -> dict[str, Float[np.ndarray, "..."]]:
    """Return an answer that knows nothing: random directions."""
    rng = np.random.default_rng(seed)
    shape = (len(data.keys), len(data.languages), width)
    return {
        "item": rng.standard_normal((len(data.keys), width), dtype=np.float32),
        "text": rng.standard_normal(shape, dtype=np.float32),
    }


TASK = Task(
    name="multilingual.v1",
    ranges={
        **dict.fromkeys((*(f"r@{k}" for k in CUTOFFS), "mrr", "worst r@1"), (0.0, 1.0)),
        **dict.fromkeys(("mrv", "mrv std"), (0.0, float("inf"))),
    },
    make=make,
    score=score,
    best=best,
    chance=chance,
)
