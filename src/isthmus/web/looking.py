"""What the page shows of a whole index: a map of a sample of its items, and its health."""

import hashlib
import weakref
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np

from isthmus.index.index import Index
from isthmus.metrics.geometry import modality_gap
from isthmus.metrics.vectors import unit
from isthmus.workbench.hubs import of_counts
from isthmus.workbench.report_page.flat import flat_map, kept

__all__ = ["diagnosed", "mapped"]

ON_MAP = 600
"""Items of a map: its work grows with their square."""
ASKED = 1000
"""Items of one modality that ask for those of another, and items that a gap is measured on."""
K = 10
HUBS = 12

_kept: "weakref.WeakKeyDictionary[Index, dict[str, dict[str, Any]]]" = weakref.WeakKeyDictionary()


def mapped(index: Index) -> dict[str, Any]:
    """Return a sample of the items of every modality on a plane: {points: [{id, modality, x, y, says}], kept}.

    As many of each modality, drawn by a hash, laid out with the gap between modalities set aside, as a search does.
    `kept` is the share of ten nearest neighbours that are neighbours on the map too.
    """
    return _once(index, "map", _map)


def diagnosed(index: Index) -> dict[str, Any]:
    """Return gaps between modalities and, for each pair, hubs: who is among the first ten of how many questions.

    Questions are items of one modality, drawn by a hash; `before` has the plain scores, `after` those that the index
    corrects, and is None where it corrects none.
    """
    return _once(index, "diagnosis", _diagnosis)


def _once(index: Index, what: str, make: Callable[[Index], dict[str, Any]]) -> dict[str, Any]:
    """Return what was made for this state of an index, or make it."""
    known = _kept.setdefault(index, {})
    if what not in known:
        known[what] = make(index)
    return known[what]


def _map(index: Index) -> dict[str, Any]:
    filled = [m for m in index.modalities if len(index.items(m))]
    if not filled:
        return {"points": [], "kept": 1.0}
    points: list[dict[str, Any]] = []
    drawn = []
    for m in filled:
        rows = _sample(index, m, ON_MAP // len(filled))
        drawn.append(unit(index.vectors(m)[rows]))
        rows_of = index.items(m).take(rows).to_pylist()
        points += [{"id": row["id"], "modality": m, "says": row["text"] or row["key"]} for row in rows_of]
    z = np.concatenate(drawn)
    kinds = np.array([point["modality"] for point in points])
    flat = flat_map(z, kinds=kinds if len(filled) > 1 else None)
    for point, (x, y) in zip(points, flat.tolist(), strict=True):
        point |= {"x": round(x, 4), "y": round(y, 4)}
    return {"points": points, "kept": round(kept(z, flat), 3)}


def _diagnosis(index: Index) -> dict[str, Any]:
    drawn = {m: index.vectors(m)[_sample(index, m, ASKED)] for m in index.modalities if len(index.items(m)) > 1}
    gaps = {f"{a} and {b}": modality_gap(drawn[a], drawn[b]) for a, b in permutations(drawn, 2) if a < b}
    hubs = [_hubs(index, asking, offered, drawn[asking]) for asking, offered in permutations(drawn, 2)]
    return {"modality_gap": gaps, "hubs": hubs, "k": K}


def _hubs(index: Index, asking: str, offered: str, x: np.ndarray) -> dict[str, Any]:
    items = index.items(offered)
    ids = items["id"].to_pylist()
    place = {name: i for i, name in enumerate(ids)}
    told: dict[str, Any] = {"asking": asking, "offered": offered, "questions": len(x), "items": len(ids)}
    counts: dict[str, np.ndarray] = {}
    for when, corrected in (("before", False), ("after", True)):
        if corrected and offered not in (index.correction or {}):
            continue
        found = index.search(x, k=K, modality=offered, corrected=corrected)
        hit = [place[hit.id] for hits in found for hit in hits]
        counts[when] = np.bincount(hit, minlength=len(ids)).astype(np.float64)
    told |= {when: of_counts(counts[when]) if when in counts else None for when in ("before", "after")}
    largest = np.argsort(-counts["before"], kind="stable")[:HUBS].tolist()
    told["top"] = [
        {
            "id": ids[i],
            "says": items["text"][i].as_py() or items["key"][i].as_py(),
            **{when: int(n[i]) for when, n in counts.items()},
        }
        for i in largest
    ]
    return told


def _sample(index: Index, modality: str, n: int) -> np.ndarray:
    """Return at most n rows by a hash of their ids, ascending: arbitrary, and the same everywhere."""
    ids = index.items(modality)["id"].to_pylist()
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())
    return np.array(sorted(order[:n]), dtype=np.int64)
