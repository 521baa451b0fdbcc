"""From a store, a space and the figures of an evaluation to the page dict that `render` takes.

Nothing here is chosen by hand: which queries are shown is decided by a hash of their ids and by whether they were
answered right, and the page says so.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.metrics.hubness import hubness_skewness, k_occurrence, orphan_share
from isthmus.metrics.retrieval import retrieval_ranks
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench.report_page.flat import MOST, flat_map, kept, principal_axes
from isthmus.workbench.report_page.held import Shelf, Side, by_hash, sides_of
from isthmus.workbench.report_page.hub_section import hub_parts
from isthmus.workbench.report_page.languages import labels

__all__ = ["METRICS", "page_of"]

METRICS = ("r@1", "r@5", "r@10")
HITS = 10
TOP = 7
"""Hubs shown: what fits in one line."""
ON_MAP = 400
"""Items on the map; beyond that the pictures cover one another."""

FIGURES = {
    "modality_gap": ("modality gap", "distance between the centres of the two clouds: 0 when they lie on one another"),
    "separability": ("told apart", "how often a plane tells the modality of an item: 0.5 when mixed, 1 when apart"),
    "alignment": ("distance of pairs", "mean squared distance of what belongs together: 0 when equal, 4 when opposite"),
    "alignment_of_strangers": ("distance of strangers", "the same for what does not belong together, the yardstick"),
    "cross_uniformity": ("nearness of strangers", "how evenly strangers of both modalities spread: lower is more even"),
    "linear_cka": ("linear CKA", "how alike the two geometries are: 0 unrelated, 1 equal up to rotation and scale"),
    "hubness_skewness": ("hubness", "skewness of how often items are found: above about 1 there are real hubs"),
    "orphan_share": ("orphans", "share of the items that no query finds among its first ten"),
    "robin_hood": ("Robin Hood", "share of all places that would have to move for all items to be found equally often"),
    "effective_rank": ("effective rank", "how many directions tell the items apart"),
    "uniformity": ("uniformity", "how evenly the directions are used: 0 is a single point, lower is more even"),
}
"""What the figures of `diagnose` are called on the page, and what each says."""

Direction = tuple[str, str]


def page_of(
    store: Store,
    space: Space,
    *,
    figures: Mapping[Direction, Mapping[str, Mapping[str, Any]]],
    means: Mapping[str, Mapping[str, Any]],
    keys: Collection[str],
    diagnosis: Mapping[str, Any],
    over_splits: Mapping[str, Any] | None = None,
    splits: int = 1,
    relatives: tuple[str, Mapping[str, Any]] = ("", {}),
    hub_reports: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
    split_rule: str = "",
) -> dict[str, Any]:
    """Return the page dict of a space, measured on `keys`.

    `figures` maps a direction (asking, offered) to {variant: {n, metric, intervals: {metric: [low, high]}}}, the most
    important variant first; `means` maps its name to the mean over variants, `over_splits` to {variant or
    "mean_over_languages": {metric, metric_sd}}; `relatives` says what relatives are and maps a direction to the
    figures of its first variant {"with", "without": {n, metric}}; `diagnosis` is what `diagnose` returns;
    `hub_reports` are those of `workbench.hubs.hub_report` on the same `keys`; `facts` are blocks of (term, text) on how
    it was made.
    """
    modalities = list(dict.fromkeys(m for direction in figures for m in direction))
    codes = list(dict.fromkeys(code for rows in figures.values() for code in rows))
    variants = labels(codes)
    sides = sides_of(store, space, modalities, keys)
    root = store.manifest["source"].get("root")
    shelf = Shelf(sides, variants, Path(root) if root else None)
    directions = [
        _direction(sides, d, rows, means[f"{d[0]}_to_{d[1]}"]) | {"relatives": _related(relatives, d, rows, variants)}
        for d, rows in figures.items()
    ]
    source = store.manifest["source"]
    page = {
        "title": source.get("title") or source.get("name") or "A space",
        "lede": _lede(store, space, modalities, keys),
        "variants": variants,
        "metrics": list(METRICS),
        "headline": _headline(directions, variants),
        "directions": directions,
        "over_splits": _over_splits(over_splits, splits, directions, variants) if over_splits else None,
        "gallery": _gallery(sides, shelf, figures, variants),
        "map": _map(sides, shelf, variants),
        "health": _health(diagnosis),
        "similarity": [_similarity(sides[a], sides[b], codes[0]) for a, b in combinations(modalities, 2)],
        "hubs": [_hubs(sides, shelf, d, next(iter(rows)), variants) for d, rows in figures.items()],
        "correction": [part for report in hub_reports for part in hub_parts(report, sides, shelf)],
        "training": _training(space.card),
        "made": [{"name": name, "rows": [list(row) for row in rows]} for name, rows in _made(space, split_rule, facts)],
    }
    # the sheet comes last, when every part has put its pictures on it
    return {**page, "thumbs": shelf.sheet.to_json()}


def _lede(store: Store, space: Space, modalities: Sequence[str], keys: Collection[str]) -> str:
    rows = store.status()["rows"]
    counts = {m: rows[m][space.maps[m].fingerprint.column] for m in modalities}
    records = " and ".join(f"{n:,} {m}" for m, n in counts.items())
    encoders = " and ".join(space.maps[m].fingerprint.encoder for m in modalities)
    name = store.manifest["source"].get("name", "Source")
    return (
        f"{name}: {records} records, embedded by {encoders}, encoders that were trained apart, and brought into one "
        f"space by {space.card.get('method', 'an alignment')}. Everything here is measured on {len(keys):,} items that "
        "were kept out of its training."
    )


def _direction(
    sides: Mapping[str, Side], direction: Direction, rows: Mapping[str, Any], mean: Mapping[str, Any]
) -> dict[str, Any]:
    asking, offered = direction
    first = next(iter(rows))
    asked, gallery = sides[asking].rows(first), sides[offered].rows(first)
    offered_keys = sides[offered].vectors.keys[gallery]
    positives = np.mean([np.count_nonzero(offered_keys == k) for k in sides[asking].vectors.keys[asked]])
    return {
        "name": f"{asking}_to_{offered}",
        "label": f"{asking} → {offered}",
        "from": asking,
        "to": offered,
        "candidates": len(gallery),
        "rows": {code: dict(row) for code, row in rows.items()},
        "mean": dict(mean),
        "chance": {m: _chance(len(gallery), round(float(positives)), int(m.removeprefix("r@"))) for m in METRICS},
    }


def _related(
    relatives: tuple[str, Mapping[str, Any]], direction: Direction, rows: Mapping[str, Any], variants: Mapping[str, Any]
) -> str:
    """Say what the figures are for items with and without relatives in the training."""
    what, found = relatives
    parts = found.get(f"{direction[0]}_to_{direction[1]}")
    if not parts:
        return ""
    near, far = parts["with"], parts["without"]
    which = f"{variants[next(iter(rows))]['label']}: of" if len(rows) > 1 else "Of"
    return (
        f"{which} {near['n']:,} queries the item has a relative in the training ({what}); {near['r@1']:.0%} of them "
        f"find their answer first, {near['r@10']:.0%} among the first ten. Of the other {far['n']:,} it is "
        f"{far['r@1']:.0%} and {far['r@10']:.0%}."
    )


def _chance(n: int, positives: int, k: int) -> float:
    """Return how often one of the positives is among the first k of n in random order."""
    return 1.0 - comb(n - positives, k) / comb(n, k) if k < n else 1.0


def _headline(directions: Sequence[Mapping[str, Any]], variants: Mapping[str, Any]) -> list[dict[str, Any]]:
    def figure(direction: Mapping[str, Any], metric: str, code: str | None) -> dict[str, Any]:
        row = direction["mean"] if code is None else direction["rows"][code]
        low, high = row.get("intervals", {}).get(metric, (None, None))
        among = "first" if metric == "r@1" else f"among the first {metric.removeprefix('r@')}"
        rows = direction["rows"]
        which = f"mean of {len(rows)}" if code is None else variants[code]["label"]
        return {
            "name": f"{direction['label']}, {which}" if len(rows) > 1 else direction["label"],
            "says": f"of {direction['from']} queries find their {direction['to']} {among}",
            "value": row[metric],
            "low": low,
            "high": high,
            "chance": direction["chance"][metric],
        }

    first, last = directions[0], directions[-1]
    code, other = (next(iter(direction["rows"])) for direction in (first, last))
    return [
        figure(first, METRICS[0], code),
        figure(first, METRICS[-1], code),
        figure(first, METRICS[-1], None) if len(first["rows"]) > 1 else figure(last, METRICS[-1], other),
        figure(last, METRICS[0], other),
    ]


def _over_splits(
    over: Mapping[str, Any], splits: int, directions: Sequence[Mapping[str, Any]], variants: Mapping[str, Any]
) -> dict[str, Any]:
    codes = [*variants, "mean_over_languages"] if len(variants) > 1 else list(variants)
    rows = []
    for code in codes:
        cells = {}
        for direction in directions:
            cell = over[direction["name"]].get(code)
            if cell is not None:
                cells[direction["label"]] = {m: {"mean": cell[m], "sd": cell[f"{m}_sd"]} for m in METRICS}
        of_mean = code == "mean_over_languages"
        rows.append({"label": "Mean" if of_mean else variants[code]["label"], "mean": of_mean, "cells": cells})
    return {"splits": splits, "rows": rows}


def _gallery(
    sides: Mapping[str, Side],
    shelf: Shelf,
    figures: Mapping[Direction, Mapping[str, Any]],
    variants: Mapping[str, Any],
) -> dict[str, Any]:
    several = max(len(rows) for rows in figures.values()) > 3
    each = 2 if several else 5
    shown = []
    for (asking, offered), rows in figures.items():
        for place, code in enumerate(rows):
            right, wrong = _answered(sides[asking], sides[offered], code, each)
            for is_right, found in ((True, right), (False, wrong)):
                for nth, query in enumerate(found):
                    mixed = not several or (nth == 0 and place < 8 and is_right == (place % 2 == 0))
                    row = _asked(sides, shelf, (asking, offered), code, query)
                    shown.append({**row, "variant": code, "mixed": mixed})
    count = {2: "two", 5: "five"}[each]
    kind = "language" if all(v["lang"] for v in variants.values()) else "variant"
    rule = (
        "Nobody picked these. The held-out queries stand in the order of a hash of their ids; shown are the first "
        f"{count} that found their answer first, and the first {count} that did not"
        + (f", in each {kind}" if several else "")
        + ". So this says nothing about how often each happens: that is measured below."
    )
    return {"rule": rule, "rows": shown}


def _answered(asking: Side, offered: Side, code: str, each: int) -> tuple[list[int], list[int]]:
    """Return the rows of the first queries, by hash, that were answered right, and of those that were not."""
    asked, gallery = asking.rows(code), offered.rows(code)
    asked = asked[np.isin(asking.vectors.keys[asked], offered.vectors.keys[gallery])]
    if not len(asked):
        return [], []
    ranks = retrieval_ranks(
        asking.z[asked], offered.z[gallery], asking.vectors.keys[asked], offered.vectors.keys[gallery]
    )
    order = by_hash(asking.vectors.ids[asked].tolist(), "gallery")
    right = [int(asked[i]) for i in order if ranks.first[i] == 1]
    wrong = [int(asked[i]) for i in order if ranks.first[i] > 1]
    return right[:each], wrong[:each]


def _asked(sides: Mapping[str, Side], shelf: Shelf, direction: Direction, code: str, query: int) -> dict[str, Any]:
    asking, offered = sides[direction[0]], sides[direction[1]]
    gallery = offered.rows(code)
    key = asking.vectors.keys[query]
    scores = offered.z[gallery] @ asking.z[query]
    order = np.argsort(-scores, kind="stable")
    right = offered.vectors.keys[gallery] == key
    first = int(np.flatnonzero(right[order])[0])
    hits = [
        {
            "item": shelf.item(direction[1], int(gallery[i])),
            "right": bool(right[i]),
            "score": round(float(scores[i]), 4),
        }
        for i in order[:HITS]
    ]
    return {
        "direction": f"{direction[0]}_to_{direction[1]}",
        "query": shelf.item(direction[0], query),
        "answer": shelf.item(direction[1], int(gallery[order[first]])),
        "rank": first + 1,
        "of": len(gallery),
        "hits": hits,
    }


def _map(sides: Mapping[str, Side], shelf: Shelf, variants: Mapping[str, Any]) -> dict[str, Any]:
    chosen_of = {m: next((c for c in variants if c in set(side.vectors.variants)), "") for m, side in sides.items()}
    rows = [(m, int(row)) for m, side in sides.items() for row in side.rows(chosen_of[m])]
    records = Counter(str(sides[m].vectors.keys[row]) for m, row in rows)
    every = sorted(records)
    order = [every[i] for i in by_hash(every, "map")]
    # an item comes with all its records, so the sum over items bounds the vectors that are laid out
    fitting = np.searchsorted(np.cumsum([records[key] for key in order]), MOST, side="right")
    chosen = set(order[: min(ON_MAP, int(fitting))])
    placed = [(m, row) for m, row in rows if sides[m].vectors.keys[row] in chosen]
    z = np.stack([sides[m].z[row] for m, row in placed])
    layouts = {"as it is": flat_map(z), "gap set aside": flat_map(z, kinds=np.array([m for m, _ in placed]))}
    points: list[dict[str, Any]] = [
        {
            "at": [[round(float(v), 4) for v in flat[i]] for flat in layouts.values()],
            "key": str(sides[m].vectors.keys[row]),
            "item": shelf.item(m, row),
        }
        for i, (m, row) in enumerate(placed)
    ]
    # what has no picture is drawn first, as a dot under the pictures
    points.sort(key=lambda p: p["item"]["thumb"] is not None)
    named = dict.fromkeys(variants[code]["label"] for code in chosen_of.values() if code)
    which = f" (of {len(variants)} variants {' and '.join(named)})" if len(variants) > 1 else ""
    count = f"{len(chosen):,} of the {len(every):,}" if len(chosen) < len(every) else f"{len(every):,}"
    says = (
        f"The {count} held-out items{which}: a tile is a picture, a dot an item without one. What is near in the space "
        f"is near here, as far as two dimensions can: {kept(z, layouts['as it is']):.0%} of each item's ten nearest "
        f"neighbours are among its ten nearest on this map (t-SNE; on the two principal axes it would be "
        f"{kept(z, principal_axes(z)):.0%}). Where the modalities lie apart, that is the modality gap; “gap set "
        "aside” takes the similarities of every two modalities on their own scale, as a search does. Point at an item "
        "to see its partner."
    )
    return {
        "says": says,
        "describe": f"A map of {count} held-out items",
        "layouts": list(layouts),
        "points": points,
    }


def _health(diagnosis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turn the diagnosis into rows: each figure in the space, and before it where it is defined there."""
    rows: list[dict[str, Any]] = []
    said: set[str] = set()

    def add(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for name, value in after.items():
            if name in FIGURES and value is not None:
                label, says = FIGURES[name]
                # an explanation is given once, where its figure first comes up
                says = "" if name in said else says
                rows.append({"name": f"{label}, {where}", "before": before.get(name), "value": value, "says": says})
                said.add(name)

    for pair, found in diagnosis.get("pairs", {}).items():
        add(pair.replace(":", " and "), found.get("raw", {}), found["mapped"])
        for direction, hubs in found.get("hubness", {}).items():
            add(direction.replace("_to_", " → "), {}, hubs)
    for modality, found in diagnosis.get("modalities", {}).items():
        add(modality, found.get("raw", {}), found["mapped"])
    return rows


def _similarity(a: Side, b: Side, code: str) -> dict[str, Any]:
    rows, columns = a.rows(code), b.rows(code)
    cosines = a.z[rows] @ b.z[columns].T
    pairs = a.vectors.keys[rows][:, None] == b.vectors.keys[columns][None, :]
    low = max(-1.0, float(np.floor(cosines.min() * 10) / 10))
    edges = np.linspace(low, 1.0, 45)
    matched, others = cosines[pairs], cosines[~pairs]
    # the chance that a matched pair is more alike than an unmatched one (the area under the ROC curve)
    order = np.searchsorted(np.sort(others), matched) if len(others) else np.zeros(1)
    area = float(order.mean() / max(len(others), 1))
    return {
        "label": f"{a.modality} and {b.modality}",
        "edges": edges.tolist(),
        "pairs": np.histogram(matched, edges)[0].tolist(),
        "others": np.histogram(others, edges)[0].tolist(),
        "says": f"Cosines between {a.modality} and {b.modality}, each hump scaled to its own height. A pair that "
        f"belongs together is more alike than one that does not in {area:.1%} of all comparisons.",
    }


def _hubs(
    sides: Mapping[str, Side], shelf: Shelf, direction: Direction, code: str, variants: Mapping[str, Any]
) -> dict[str, Any]:
    asking, offered = sides[direction[0]], sides[direction[1]]
    asked, gallery = asking.rows(code), offered.rows(code)
    counts = k_occurrence(asking.z[asked], offered.z[gallery], HITS)
    whole = np.rint(counts).astype(int)
    bars = np.bincount(whole)
    order = np.argsort(-counts, kind="stable")[:TOP]
    which = f", {variants[code]['label']}" if len(variants) > 1 else ""
    never = orphan_share(counts)
    return {
        "label": f"{direction[0]} → {direction[1]}{which}",
        "axis": f"times among the first {HITS} of {len(asked):,} queries",
        "says": f"Skewness {hubness_skewness(counts):.2f}; {never:.1%} of the items are found by no query, "
        f"the most frequent one by {whole.max():,}. Evenly it would be {counts.mean():.0f} each.",
        "edges": (np.arange(len(bars) + 1) - 0.5).tolist(),
        "counts": bars.tolist(),
        "top": [{"item": shelf.item(direction[1], int(gallery[i])), "count": int(whole[i])} for i in order],
    }


def _training(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the loss curve, where the method has put one into the space's card."""
    losses = card.get("training", {}).get("losses") or card.get("losses")
    if not losses or len(losses) < 2:
        return None
    return {"losses": [float(v) for v in losses], "label": "step", "says": "The training loss."}


def _made(
    space: Space, split_rule: str, facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    encoders = []
    for modality, fitted in space.maps.items():
        f = fitted.fingerprint
        prompt = f", prompt “{f.prompt}”" if f.prompt else ""
        encoders.append(
            (
                modality,
                f"{f.encoder}, {f.dim:,} wide; {f.preprocess}; {f.pooling}{prompt}; weights {f.weights[:12]}…; "
                f"fingerprint {f.digest}",
            )
        )
    training, settings = space.card.get("training", {}), space.card.get("settings", {})
    made = [("method", str(space.card.get("method", "")))]
    made += [(name, str(value)) for name, value in settings.items()]
    if "items" in training:
        made.append(("trained on", f"{training['items']:,} items"))
    if split_rule:
        made.append(("held out", split_rule))
    return [*((name, list(rows)) for name, rows in facts), ("Encoders", encoders), ("Space", made)]
