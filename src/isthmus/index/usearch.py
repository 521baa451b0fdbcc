"""Approximate search by usearch: a graph of near neighbours (HNSW) beside the vectors, opened as a memory map.

The graph proposes candidates, whose scores are then computed from the vectors as exact search does. It holds them in
16 bits, all of one length: with M the largest length of a vector,

    x ↦ (x, √(M² − ‖x‖²)) / M,   q ↦ (q, 0) / ‖q‖,

so that the inner product, by which neighbours are chosen, keeps its order and becomes a metric. That holds for
corrected vectors too, which a bias makes unequally long.

How many places a search looks at is chosen when the graph is built: as few as give a recall@10 of at least 0.99 on a
sample of queries from all modalities of the index, because texts lie elsewhere than pictures do.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.index.exact import exact_search, rescored

__all__ = ["build", "candidates"]

NEIGHBOURS = 16
"""Links of a vector to others; twice as many on the ground level."""
EFFORTS = (64, 128, 256, 512, 1024)
"""Places looked at in a search."""
RECALL = 0.99
K = 10
SPARE = 8
"""Candidates beyond twice the hits that are wanted: in 16 bits, vectors that are nearly alike change places."""
BLOCK = 16384
"""Vectors put into the graph at a time."""


def build(path: Path, vectors: np.ndarray, queries: np.ndarray, *, progress: Progress = silent) -> dict[str, Any]:
    """Write the graph of `vectors` (n, d) to a file, and return what a search must know.

    ``effort``: places to look at, chosen on the sample of `queries` (q, d); ``recall``: the recall@10 that this reached
    there; ``longest``: M. The recall is below 0.99 where no effort reaches it.
    """
    from usearch.index import Index

    n, d = vectors.shape
    squares = np.concatenate([(np.asarray(x, np.float64) ** 2).sum(1) for x in _blocks(vectors)] or [np.empty(0)])
    longest = float(np.sqrt(squares.max(initial=0.0))) or 1.0
    graph: Any = Index(ndim=d + 1, metric="ip", dtype="f16", connectivity=NEIGHBOURS)
    for start in range(0, n, BLOCK):
        x = vectors[start : start + BLOCK]
        rest = np.sqrt(np.maximum(longest**2 - squares[start : start + len(x)], 0))
        level = (np.column_stack([x, rest]) / longest).astype(np.float32)
        graph.add(np.arange(start, start + len(x)), level)
        progress("graph", start + len(x), n)
    k = min(K, n)
    effort, recall = EFFORTS[0], 1.0
    if k and len(queries):
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        worst = exact_search(queries, vectors, k=k)[0][:, -1:]
        for effort in EFFORTS:
            graph.expansion_search = effort
            ids = _found(graph, queries, k)
            recall = float((rescored(queries, vectors, ids, k)[0] >= worst).mean())
            if recall >= RECALL:
                break
    graph.save(path)
    return {"effort": effort, "recall": round(recall, 4)}


def candidates(content: Any, settings: Mapping[str, Any], shape: tuple[int, int]) -> Callable[[np.ndarray, int], Any]:
    """Open a graph of vectors of a `shape`, the mapped `content` of its file.

    What is returned gives the ids (q, c) of candidates, ascending, −1 for none, when called with queries (q, d) and how
    many of the best are wanted. Raises `BadInput` for a content that is no graph, or of other vectors.
    """
    from usearch.index import Index

    try:
        graph: Any = Index.restore(memoryview(content), view=True)
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"it is no graph of usearch: {error}") from error
    if graph is None or (len(graph), graph.ndim) != (shape[0], shape[1] + 1):
        raise BadInput(f"it is no graph of {shape[0]} vectors of {shape[1]} numbers")
    graph.expansion_search = int(settings["effort"])

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        assert len(content)  # held here, because the graph reads it
        return _found(graph, queries, k)

    return search


def _found(graph: Any, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the ids (q, c) of candidates for the k best, ascending, −1 where there are fewer."""
    length = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    level = queries / np.where(length > 0, length, 1)
    asked = np.column_stack([level, np.zeros(len(level))]).astype(np.float32)
    found = graph.search(asked, min(2 * k + SPARE, len(graph)))
    if len(asked) == 1:  # usearch takes it for a single query
        return np.sort(np.asarray(found.keys).astype(np.int64))[None]
    ids, counts = np.asarray(found.keys).astype(np.int64), np.asarray(found.counts)[:, None]
    return np.sort(np.where(np.arange(ids.shape[1]) < counts, ids, -1), axis=1)


def _blocks(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]
