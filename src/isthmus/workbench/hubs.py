"""`hub_report`: which items crowd into everybody's results, before and after a correction, as plain data."""

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.hubness import hubness_skewness, k_occurrence_of, orphan_share, robin_hood
from isthmus.metrics.vectors import blocks
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench.correct import Direction, cross_fitted, untrained
from isthmus.workbench.sides import in_space, two
from isthmus.workbench.spaces import opened

__all__ = ["hub_figures", "hub_report", "of_counts"]

NEIGHBOURS = 10
TOP = 12
"""Hubs that are named, before and after."""
EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Bounds of the histogram's bars: [0, 1) holds the items that nobody finds."""


def hub_report(
    store: Store | str | Path,
    *,
    space: Space | str | Path | None = None,
    pair: str = "text:image",
    keys: Collection[str] | None = None,
    correct: str = "dual_is",
    k: int = NEIGHBOURS,
    top: int = TOP,
) -> dict[str, Any]:
    """Return, for both directions of a pair of modalities, the hubs before and after a correction, as JSON values.

    Measured are the items of `keys`; without them, all that the space was not trained on. The banks are training
    items, and each half of the queries is corrected with settings that were chosen on the other half
    (`workbench.correct`). N_k(j) is the number of queries that have item j among their first k, summed over variants,
    whose galleries are apart as in `evaluate`.

    ``{pair, correct, k, items, directions: {name: {queries, gallery, chosen: [settings of each half], before, after,
    edges, top}}}``, where before and after hold the figures of `hub_figures` with ``histogram``, the items in each
    interval between two ``edges``; ``top`` are the largest hubs of either, [{id, key, text, uri, variant, before,
    after, evenly}] with their counts, ``evenly`` what each would have if all were found equally often.

    Raises `BadInput` for a space whose card does not name its training items, or with nothing else to measure;
    `NotFound` for unknown modalities or corrections.
    """
    store, space = opened(store, space)
    a, b = two(pair)
    sides = {m: in_space(store, space, m, None) for m in (a, b)}
    measured = untrained(space, sides) if keys is None else set(keys)
    if len(measured) < 2:
        raise BadInput(f"{pair}: {len(measured)} items are left to measure; the space was trained on all others")
    directions = {}
    for asking, offered in ((a, b), (b, a)):
        found = cross_fitted(correct, space, sides, asking, offered, measured)
        directions[f"{asking}_to_{offered}"] = _direction(found, k, top)
    return {"pair": pair, "correct": correct, "k": k, "items": len(measured), "directions": directions}


def hub_figures(scores: Any, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return the figures of the hubs of a score matrix (q, n): see `of_counts`."""
    return of_counts(k_occurrence_of(scores, k))


def of_counts(counts: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Return what N_k (n,), over all items, says of hubs.

    ``hubness_skewness``, ``orphan_share`` (the share of anti-hubs, N_k = 0), ``max_count`` and ``robin_hood``
    (`metrics.hubness`), and ``evenly``, the mean of N_k.
    """
    return {
        "hubness_skewness": hubness_skewness(counts),
        "orphan_share": orphan_share(counts),
        "max_count": float(counts.max()),
        "robin_hood": robin_hood(counts),
        "evenly": float(counts.mean()),
    }


def _direction(found: Direction, k: int, top: int) -> dict[str, Any]:
    n = len(found.offered)
    evenly = np.zeros(n)
    counts = {"before": np.zeros(n), "after": np.zeros(n)}
    for piece in found.pieces:
        for when, scores in (("before", piece.before), ("after", piece.after)):
            for rows in blocks(len(piece.rows), len(piece.offered)):
                counts[when][piece.offered] += k_occurrence_of(scores(rows), k)
        evenly[piece.offered] += min(k, len(piece.offered)) * len(piece.rows) / len(piece.offered)
    edges = [edge for edge in EDGES if edge <= max(c.max() for c in counts.values())]
    first = np.argsort(-np.maximum(counts["before"], counts["after"]), kind="stable")[:top]
    record = {when: {**of_counts(c), "histogram": _histogram(c, edges)} for when, c in counts.items()}
    offered = found.offered
    return {
        "queries": sum(len(piece.rows) for piece in found.pieces),
        "gallery": n,
        **found.to_json(),
        **record,
        "edges": edges,
        "top": [
            {
                "id": str(offered.ids[j]),
                "key": str(offered.keys[j]),
                "text": offered.texts[j],
                "uri": offered.uris[j],
                "variant": str(offered.variants[j]),
                "before": float(counts["before"][j]),
                "after": float(counts["after"][j]),
                "evenly": float(evenly[j]),
            }
            for j in first
        ],
    }


def _histogram(counts: Float[np.ndarray, " n"], edges: list[int]) -> list[int]:
    """Return how many items are in each interval between two edges; the last one is open."""
    return [int(((counts >= low) & (counts < high)).sum()) for low, high in pairwise([*edges, np.inf])]
