"""A task: data, a score, the best possible answer and a chance answer. Its name carries a version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """`make(seed, size)` draws the data, `score(data, answer)` gives plain numbers.

    `best(data)` and `chance(data, seed)` are answers to be scored like any other. `ranges` declares the closed
    range of each metric. A task is superseded by a new version (``retrieval.v2``), never changed.
    """

    name: str
    ranges: Mapping[str, tuple[float, float]]
    make: Callable[..., Any]
    score: Callable[..., Mapping[str, float]]
    best: Callable[..., Any]
    chance: Callable[..., Any]
