"""`diagnose`: the health of a space, with the vectors before it beside it where the two compare."""

import contextlib
from collections.abc import Collection, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.core.files import atomic
from isthmus.core.progress import Progress, silent
from isthmus.metrics.gap import separability
from isthmus.metrics.gap_view import plane_view, spectrum_plot
from isthmus.metrics.geometry import alignment, effective_rank, modality_gap, uniformity
from isthmus.metrics.hubness import hubness_skewness, k_occurrence, orphan_share, robin_hood
from isthmus.metrics.similarity import linear_cka
from isthmus.metrics.vectors import unit
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench.hubs import hub_report
from isthmus.workbench.sides import Side, in_space, variant_rows
from isthmus.workbench.spaces import opened

__all__ = ["diagnose"]

SAMPLE = 5000
"""Vectors, pairs or queries of one figure at most: its cost grows with their number, its precision hardly."""
NEIGHBOURS = 10
HUBS = 8


def diagnose(
    store: Store | str | Path,
    *,
    space: Space | str | Path | None = None,
    modalities: Sequence[str] | None = None,
    keys: Collection[str] | None = None,
    correct: str = "none",
    draw: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return what the space looks like on the stored records, as JSON values.

    - ``modalities``: {name: {n, width, raw, mapped}}, where raw (the encoder's vectors) and mapped (in the space)
      hold ``effective_rank`` and ``uniformity``;
    - ``pairs``: {``text:image``: {items, pairs, raw, mapped, hubness}} for every two modalities. mapped holds
      ``modality_gap``, ``separability`` (whether a plane tells the modalities apart), ``alignment`` (of pairs of equal
      key), ``alignment_of_strangers`` (of pairs of different key, the yardstick), ``cross_uniformity`` (of the same
      strangers, log mean exp(−2 ‖x − y‖²)) and ``linear_cka`` (unbiased, over the mean vector of each item); raw holds
      the same where both come from one encoder, otherwise ``linear_cka`` alone: two encoders share no axes. hubness
      holds, for
      each direction, ``k``, ``hubness_skewness``, ``orphan_share``, ``max_count``, ``robin_hood`` (means over variants,
      which are cut as `evaluate` does) and ``top``, the most frequent hubs [{id, key, text, uri, count, evenly}];
    - ``hubs``, with a correction to `correct` by: {``text:image``: `workbench.hubs.hub_report`}, the hubs before and
      after it, on `keys` or on the items that the space was not trained on;
    - ``drawn``, with a folder to `draw` into: the files, for each two modalities ``text-image.svg`` (pairs on the
      principal axes of both) and ``text-image-spectrum.svg`` (how much of the variance how many axes hold), in the
      space. What is there under these names is replaced.

    Lengths are on the unit sphere (`metrics.geometry`). At most 5,000 vectors, pairs or queries (of a variant), drawn
    by `seed`, make one figure; galleries and effective rank are whole. A figure that is not defined (the CKA of fewer
    than 4 items) is None.

    Raises `BadInput` for fewer than two modalities or 2 records, vectors of zero length or of another encoder than
    the space accepts, or modalities without a common item; `NotFound` for modalities that are not there.
    """
    store, space = opened(store, space)
    names = [m for m in store.modalities() if m in space.maps] if modalities is None else list(modalities)
    if len(set(names)) != len(names) or len(names) < 2:
        raise BadInput(
            f"diagnose needs at least two different modalities, got {names}; the store has {store.modalities()}, "
            f"the space maps {sorted(space.maps)}"
        )
    sides = {name: in_space(store, space, name, keys) for name in names}
    if few := {name: len(v) for name, (v, _) in sides.items() if len(v) < 2}:
        raise BadInput(f"{few}: a diagnosis needs at least 2 records of each modality")
    pairs = list(combinations(names, 2))
    steps = len(names) + len(pairs) * (1 if correct == "none" else 2)
    folder = None if draw is None else drawing_folder(draw)
    report: dict[str, Any] = {"modalities": {}, "pairs": {}}
    hubs: dict[str, Any] = {}
    if correct != "none":  # first, because it has more to refuse
        for a, b in pairs:
            hubs[f"{a}:{b}"] = hub_report(store, space=space, pair=f"{a}:{b}", keys=keys, correct=correct)
            progress("diagnose", len(hubs), steps)
    for name in names:
        report["modalities"][name] = _of_modality(sides[name], seed)
        progress("diagnose", len(hubs) + len(report["modalities"]), steps)
    for a, b in pairs:
        report["pairs"][f"{a}:{b}"] = _of_pair(sides[a], sides[b], f"{a}:{b}", seed)
        progress("diagnose", len(hubs) + len(names) + len(report["pairs"]), steps)
    drawn = [] if folder is None else [str(f) for a, b in pairs for f in _drawn(folder, sides[a], sides[b], seed)]
    return report | ({"hubs": hubs} if hubs else {}) | ({"drawn": drawn} if drawn else {})


def drawing_folder(place: str | Path) -> Path:
    """Make the folder that is drawn into; `BadInput` when it is a file."""
    folder = Path(place)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; drawings are put into a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _drawn(folder: Path, first: Side, second: Side, seed: int) -> list[Path]:
    """Draw the pairs of two modalities in the space, and their spectra."""
    (a, x), (b, y) = first, second
    i, j = _pairs(a.keys, b.keys, np.random.default_rng(seed))
    names = (a.modality, b.modality)
    kinds = {"": plane_view(x[i], y[j], names=names)}
    with contextlib.suppress(BadInput):  # all vectors of a modality are one: no variance to show
        kinds["-spectrum"] = spectrum_plot({a.modality: x, b.modality: y})
    files = []
    for kind, document in kinds.items():
        files.append(folder / f"{'-'.join(names)}{kind}.svg")
        with atomic(files[-1]) as partial:
            partial.write_text(document, encoding="utf-8")
    return files


def _of_modality(side: Side, seed: int) -> dict[str, Any]:
    vectors, mapped = side
    return {
        "n": len(vectors),
        "width": vectors.fingerprint.dim,
        "raw": _spread(vectors.x, f"{vectors.modality} before the space", seed),
        "mapped": _spread(mapped, f"{vectors.modality} in the space", seed),
    }


def _spread(x: Float[np.ndarray, "n d"], what: str, seed: int) -> dict[str, float]:
    x = unit(x, what)
    return {"effective_rank": effective_rank(x), "uniformity": uniformity(x, sample=SAMPLE, seed=seed)}


def _of_pair(first: Side, second: Side, name: str, seed: int) -> dict[str, Any]:
    (a, in_a), (b, in_b) = first, second
    rng = np.random.default_rng(seed)
    i, j = _pairs(a.keys, b.keys, rng)
    if not len(i):
        raise BadInput(f"{name}: no item has both; records belong together when their keys are equal")
    strangers = _strangers(a.keys, b.keys, len(i), rng)
    items = np.intersect1d(a.keys, b.keys)
    items = items[np.sort(rng.permutation(len(items))[:SAMPLE])]
    one_encoder = (a.fingerprint.encoder, a.fingerprint.dim) == (b.fingerprint.encoder, b.fingerprint.dim)

    def figures(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m e"], comparable: bool) -> dict[str, float | None]:
        similar = {"linear_cka": _similarity(_by_item(x, a.keys, items), _by_item(y, b.keys, items))}
        if not comparable:
            return similar
        return {
            "modality_gap": modality_gap(x, y),
            "separability": separability(x, y, sample=SAMPLE, seed=seed) if min(len(x), len(y)) >= 5 else None,
            "alignment": alignment(x[i], y[j]),
            "alignment_of_strangers": alignment(x[strangers[0]], y[strangers[1]]) if len(strangers[0]) else None,
            "cross_uniformity": _near(x[strangers[0]], y[strangers[1]]) if len(strangers[0]) else None,
            **similar,
        }

    forward, backward = f"{a.modality}_to_{b.modality}", f"{b.modality}_to_{a.modality}"
    rows = variant_rows(a, b)
    flipped = {variant: (of_b, of_a) for variant, (of_a, of_b) in rows.items()}
    return {
        "items": len(np.intersect1d(a.keys, b.keys)),
        "pairs": len(i),
        "raw": figures(a.x, b.x, one_encoder),
        "mapped": figures(in_a, in_b, True),
        "hubness": {
            forward: _hubness(first, second, rows, rng),
            backward: _hubness(second, first, flipped, rng),
        },
    }


def _pairs(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Return the rows of all pairs of equal key, or of a sample of them."""
    order = np.argsort(b, kind="stable")
    start, stop = (np.searchsorted(b[order], a, side=side) for side in ("left", "right"))
    count = stop - start
    total = int(count.sum())
    # numbers of the pairs, so that a sample is drawn before any pair is built
    number = np.arange(total) if total <= SAMPLE else np.sort(rng.choice(total, SAMPLE, replace=False))
    ends = np.cumsum(count)
    i = np.searchsorted(ends, number, side="right")
    return i, order[start[i] + number - (ends[i] - count[i])]


def _strangers(
    a: np.ndarray, b: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Return up to n random pairs of different key."""
    i, j = rng.integers(len(a), size=n), rng.integers(len(b), size=n)
    other = a[i] != b[j]
    return i[other], j[other]


def _near(x: Float[np.ndarray, "p d"], y: Float[np.ndarray, "p d"]) -> float:
    """Return log mean exp(−2 ‖x − y‖²) over pairs."""
    cosine = (unit(x).astype(np.float64) * unit(y)).sum(1)
    return float(np.log(np.exp(4 * (cosine - 1)).mean()))


def _by_item(x: Float[np.ndarray, "n d"], keys: np.ndarray, items: np.ndarray) -> Float[np.ndarray, "k d"]:
    """Return the mean direction of the records of each item."""
    place = np.searchsorted(items, keys)
    rows = np.flatnonzero(items[np.minimum(place, len(items) - 1)] == keys)
    rows = rows[np.argsort(place[rows], kind="stable")]
    count = np.bincount(place[rows], minlength=len(items))
    total = np.add.reduceat(unit(x[rows]), np.cumsum(count) - count, dtype=np.float64)
    return np.asarray(total / count[:, None])


def _similarity(x: Float[np.ndarray, "k d"], y: Float[np.ndarray, "k e"]) -> float | None:
    try:
        return linear_cka(x, y, unbiased=True)
    except BadInput:  # too few items, or a collapsed side: nothing to compare
        return None


def _hubness(
    asking: Side, offered: Side, rows: dict[str, tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> dict[str, Any]:
    (_, queries), (vectors, gallery) = asking, offered
    counts, evenly = np.zeros(len(vectors)), np.zeros(len(vectors))
    figures = []
    for of_queries, of_gallery in rows.values():
        asked = rng.permutation(of_queries)[:SAMPLE]
        found = k_occurrence(queries[asked], gallery[of_gallery], NEIGHBOURS)
        figures.append((hubness_skewness(found), orphan_share(found), robin_hood(found), found.max()))
        counts[of_gallery] += found
        evenly[of_gallery] += found.mean()
    skewness, orphans, uneven, most = np.mean(figures, axis=0)
    return {
        "k": NEIGHBOURS,
        "hubness_skewness": float(skewness),
        "orphan_share": float(orphans),
        "max_count": float(most),
        "robin_hood": float(uneven),
        "top": [
            {
                "id": str(vectors.ids[hub]),
                "key": str(vectors.keys[hub]),
                "text": vectors.texts[hub],
                "uri": vectors.uris[hub],
                "count": float(counts[hub]),
                "evenly": float(evenly[hub]),
            }
            for hub in np.argsort(-counts, kind="stable")[:HUBS]
        ],
    }
