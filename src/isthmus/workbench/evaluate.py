"""`evaluate`: how well items of one modality find their partners of another, with intervals, both ways.

Scores are inner products in the space, as search ranks. Records of one modality may come in variants (a name in
fourteen languages): the variants of the modality that has more of them are measured apart, each with its own
queries or its own gallery; those of the other modality stay together, all right when their key is right.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.metrics.bootstrap import Paired, bootstrap_means, paired_test, percentiles
from isthmus.metrics.retrieval import per_query, rank_positives, retrieval_ranks
from isthmus.metrics.vectors import blocks
from isthmus.space import Space
from isthmus.store.disk import atomic, write_json
from isthmus.store.rows import Vectors
from isthmus.store.store import Store
from isthmus.workbench.correct import Direction, Piece, cross_fitted, untrained
from isthmus.workbench.sides import Side, in_space, two, variant_rows
from isthmus.workbench.spaces import opened

__all__ = ["FIGURES", "Evaluation", "Measured", "compare", "evaluate"]

FIGURES = ("r@1", "r@5", "r@10", "mrr", "map", "ndcg@10")
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One direction of one variant: the figures (q,) of each scored query, and what was searched."""

    ids: np.ndarray
    keys: np.ndarray
    figures: Mapping[str, Float[np.ndarray, " q"]]
    gallery: int
    unmatched: int
    """Queries that were left out, because nothing in the gallery belongs to them."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` found.

    `directions` maps a direction (``text_to_image``) to its variants, each a record of the figures, ``n`` (queries),
    ``gallery`` (candidates), ``unmatched`` (queries without a partner, left out) and ``intervals`` {figure: [low,
    high]}. `mean` holds the mean over variants of each direction with its intervals. `skipped` says why a variant
    was not measured, `notes` what a reader must know. `queries` holds the figures of each query, for `compare`.
    """

    pair: str
    directions: Mapping[str, Mapping[str, Mapping[str, Any]]]
    mean: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]
    store: str
    space: str
    seed: int
    queries: Mapping[str, Mapping[str, Measured]] = field(repr=False, compare=False)
    correction: Mapping[str, Any] | None = None
    """What the scores were corrected by, with the means without it (``raw``), or None."""

    def to_json(self) -> dict[str, Any]:
        """Return everything but the figures of single queries, as JSON values."""
        return {
            "format_version": 1,
            "pair": self.pair,
            "store": self.store,
            "space": self.space,
            "seed": self.seed,
            "level": LEVEL,
            "directions": {d: {v: dict(m) for v, m in variants.items()} for d, variants in self.directions.items()},
            "mean": {d: dict(m) for d, m in self.mean.items()},
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            **({} if self.correction is None else {"correction": dict(self.correction)}),
        }


def evaluate(
    store: Store | str | Path,
    *,
    space: Space | str | Path | None = None,
    pair: str = "text:image",
    keys: Collection[str] | None = None,
    correct: str = "none",
    out: str | Path | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    depth: int = 100,
    progress: Progress = silent,
) -> Evaluation:
    """Measure retrieval between the two modalities of `pair`, in both directions, for each variant.

    The positives of a query are the records of the other modality with its key; the candidates are all records of
    the other modality among `keys`. Without `keys` these are the items that `align` held out; where it held out none,
    those that the space was not trained on, if it was trained on this store and there are such; otherwise all. Ties
    count against the space. Intervals are 95 % percentile bootstraps over keys, `n_boot` draws of `seed`, the same
    draws for all figures and variants.
    `ndcg@10`, `map` and `mrr` beside R@k, all in [0, 1].

    `correct` takes hubs out of the scores by name (``is``, ``dual_is``, ``nnn``, …; `workbench.correct`). Its banks are
    the items that the space was trained on, never those measured, so that without `keys` the others are measured. Each
    half of the queries is corrected with settings chosen on the other half; ``correction`` says which, and holds the
    means of the plain scores on the same queries.

    With `out` the folder gets ``metrics.json`` and, for each direction and variant, a TREC ``.run`` (the first
    `depth` candidates of each query) and ``.qrels``; white space and % in ids are percent-encoded there.

    Raises `BadInput` for a pair that is not two modalities, vectors the space does not accept, or fewer than two
    items that both modalities have, and with `correct` for a space that does not name its training items; `NotFound`
    for a modality that the store or the space lacks, or an unknown correction.
    """
    store, space = opened(store, space)
    a, b = two(pair)
    if correct != "none":
        return _corrected(store, space, (a, b), keys, correct, out, seed, n_boot, depth, progress)
    sides: Mapping[str, Side] = {m: in_space(store, space, m, keys) for m in (a, b)}
    notes: tuple[str, ...] = ()
    if keys is None:
        sides, notes = _new(store, space, sides)
    (first, x), (second, y) = sides[a], sides[b]
    shared = set(first.keys.tolist()) & set(second.keys.tolist())
    if len(shared) < 2:
        raise BadInput(
            f"{pair}: {len(shared)} items have both a {a} and a {b} record, of {len(set(first.keys))} and "
            f"{len(set(second.keys))}; at least 2 are needed, and records belong together when their keys are equal"
        )
    skipped: dict[str, str] = {}
    rows = dict(_measurable(variant_rows(first, second), first, second, skipped))
    if not rows:
        raise BadInput(f"{pair}: no variant can be measured: {skipped}")
    forward, backward = f"{a}_to_{b}", f"{b}_to_{a}"
    queries: dict[str, dict[str, Measured]] = {forward: {}, backward: {}}
    folder = None if out is None else Path(out)
    if folder is not None:
        _claim(folder)
    done = 0
    for variant, (of_first, of_second) in rows.items():
        for name, asking, offered in (
            (forward, _Part(first, x, of_first), _Part(second, y, of_second)),
            (backward, _Part(second, y, of_second), _Part(first, x, of_first)),
        ):
            queries[name][variant] = _measure(asking, offered)
            if folder is not None:
                _write_trec(folder / f"{quote(name, safe='')}.{quote(variant, safe='')}", asking, offered, depth)
            done += 1
            progress("evaluate", done, 2 * len(rows))
    return _finished(store, space, pair, queries, skipped, notes, seed, n_boot, folder)


def _finished(
    store: Store,
    space: Space,
    pair: str,
    queries: Mapping[str, Mapping[str, Measured]],
    skipped: Mapping[str, str],
    notes: tuple[str, ...],
    seed: int,
    n_boot: int,
    folder: Path | None,
    correction: Mapping[str, Any] | None = None,
) -> Evaluation:
    tables = {name: _table(variants, seed, n_boot) for name, variants in queries.items()}
    evaluation = Evaluation(
        pair=pair,
        directions={name: variants for name, (variants, _) in tables.items()},
        mean={name: mean for name, (_, mean) in tables.items()},
        skipped=skipped,
        notes=notes,
        store=str(store.manifest["source"].get("name", store.path)),
        space=space.digest,
        seed=seed,
        queries=queries,
        correction=correction,
    )
    if folder is not None:
        # last: where there is a metrics.json, the run and qrels are whole
        write_json(folder / "metrics.json", evaluation.to_json())
    return evaluation


def _corrected(
    store: Store,
    space: Space,
    modalities: tuple[str, str],
    keys: Collection[str] | None,
    name: str,
    out: str | Path | None,
    seed: int,
    n_boot: int,
    depth: int,
    progress: Progress,
) -> Evaluation:
    """Measure with the scores corrected, on `keys` or on all items that the space was not trained on."""
    a, b = modalities
    sides = {m: in_space(store, space, m, None) for m in modalities}
    measured = untrained(space, sides) if keys is None else set(keys)
    if len(measured) < 2:
        raise BadInput(f"{a}:{b}: the space was trained on all but {len(measured)} items that have both; 2 are needed")
    folder = None if out is None else Path(out)
    if folder is not None:
        _claim(folder)
    after: dict[str, dict[str, Measured]] = {}
    before: dict[str, dict[str, Measured]] = {}
    record: dict[str, Any] = {"name": name, "directions": {}}
    skipped: dict[str, str] = {}
    for done, (asking, offered) in enumerate(((a, b), (b, a)), start=1):
        way = f"{asking}_to_{offered}"
        found = cross_fitted(name, space, sides, asking, offered, measured)
        record["directions"][way] = found.to_json()
        after[way], before[way] = {}, {}
        for variant in dict.fromkeys(piece.variant for piece in found.pieces):
            pieces = [piece for piece in found.pieces if piece.variant == variant]
            if sum(len(piece.rows) for piece in pieces) < 2:
                skipped[variant] = "1 item has both modalities, at least 2 are needed"
                continue
            after[way][variant] = _merged(found, pieces, "after")
            before[way][variant] = _merged(found, pieces, "before")
            if folder is not None:
                _write_corrected(folder / f"{quote(way, safe='')}.{quote(variant, safe='')}", found, pieces, depth)
        progress("evaluate", done, 2)
    record["raw"] = {way: _table(variants, seed, n_boot)[1] for way, variants in before.items()}
    notes: tuple[str, ...] = ()
    if keys is None:
        how = "were held out" if "held_out" in space.card["training"] else "the space was not trained on"
        notes = (f"measured are the {len(measured)} items that {how}: those of the training are the banks",)
    return _finished(store, space, f"{a}:{b}", after, skipped, notes, seed, n_boot, folder, record)


def _merged(found: Direction, pieces: Sequence[Piece], when: Literal["before", "after"]) -> Measured:
    """Return the figures of the queries of both halves."""
    ids, keys, figures = [], [], []
    for piece in pieces:
        of = found.asking.keys[piece.rows]
        ranks = rank_positives(getattr(piece, when), of, found.offered.keys[piece.offered], tie=piece.tie)
        ids.append(found.asking.ids[piece.rows])
        keys.append(of)
        figures.append(per_query(ranks))
    rows = np.concatenate([piece.rows for piece in pieces])
    order = np.argsort(rows)
    variants = found.asking.variants[rows[0]] if len(set(found.asking.variants.tolist())) > 1 else None
    asked = len(found.asking) if variants is None else int((found.asking.variants == variants).sum())
    return Measured(
        ids=np.concatenate(ids)[order],
        keys=np.concatenate(keys)[order],
        figures={name: np.concatenate([f[name] for f in figures])[order] for name in figures[0]},
        gallery=len(pieces[0].offered),
        unmatched=asked - len(rows),
    )


def compare(
    first: Evaluation, second: Evaluation, *, figure: str = "r@1", seed: int = 0
) -> dict[str, dict[str, Paired]]:
    """Test, for each direction and variant, whether `first` differs from `second` in a figure.

    A paired sign-flip test over keys (`metrics.bootstrap.paired_test`) on the queries that both have measured.
    Raises `NotFound` for an unknown figure, `BadInput` when the two have measured different queries.
    """
    if figure not in FIGURES:
        raise NotFound.named("figure", figure, FIGURES)
    found: dict[str, dict[str, Paired]] = {}
    for name, variants in first.queries.items():
        for variant, one in variants.items():
            other = second.queries.get(name, {}).get(variant)
            if other is None or not np.array_equal(one.ids, other.ids):
                raise BadInput(f"{name} of {variant!r}: the two evaluations have measured different queries")
            test = paired_test(one.figures[figure], other.figures[figure], clusters=one.keys, seed=seed)
            found.setdefault(name, {})[variant] = test
    return found


# ------------------------------------------------------------------ steps


@dataclass(frozen=True)
class _Part:
    """Some rows of a modality."""

    of: Vectors
    x: Float[np.ndarray, "n d"]
    rows: Int[np.ndarray, " m"]

    @property
    def keys(self) -> np.ndarray:
        return np.asarray(self.of.keys[self.rows])

    @property
    def ids(self) -> np.ndarray:
        return np.asarray(self.of.ids[self.rows])

    def matched(self, other: "_Part") -> "_Part":
        """Leave out what has no partner in the other part."""
        return _Part(self.of, self.x, self.rows[np.isin(self.keys, other.keys)])


def _measurable(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray]], first: Vectors, second: Vectors, skipped: dict[str, str]
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Give the variants of at least two shared items; of a single one every ranking is right."""
    for variant, (i, j) in rows.items():
        shared = len(set(first.keys[i].tolist()) & set(second.keys[j].tolist()))
        if shared >= 2:
            yield variant, (i, j)
        else:
            skipped[variant] = f"{shared} items have both modalities, at least 2 are needed"


def _measure(asking: _Part, offered: _Part) -> Measured:
    known = asking.matched(offered)
    ranks = retrieval_ranks(known.x[known.rows], offered.x[offered.rows], known.keys, offered.keys)
    return Measured(
        ids=known.ids,
        keys=known.keys,
        figures=per_query(ranks),
        gallery=len(offered.rows),
        unmatched=len(asking.rows) - len(known.rows),
    )


def _table(
    variants: Mapping[str, Measured], seed: int, n_boot: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the record of each variant and that of their mean, with intervals."""
    keys = np.unique(np.concatenate([m.keys for m in variants.values()]))
    clusters = [np.searchsorted(keys, m.keys) for m in variants.values()]
    sizes = np.stack([np.bincount(c, minlength=len(keys)) for c in clusters], axis=1).astype(np.float64)
    records: dict[str, dict[str, Any]] = {
        v: {"n": len(m.ids), "gallery": m.gallery, "unmatched": m.unmatched, "intervals": {}}
        for v, m in variants.items()
    }
    mean: dict[str, Any] = {"variants": len(variants), "intervals": {}}
    for figure in FIGURES:
        columns = [m.figures[figure] for m in variants.values()]
        sums = [np.bincount(c, weights=v, minlength=len(keys)) for c, v in zip(clusters, columns, strict=True)]
        # one seed, so one set of draws: a resample is the same items for every figure and variant
        drawn = bootstrap_means(np.stack(sums, axis=1), sizes, seed=seed, n_boot=n_boot)
        low, high = percentiles(np.column_stack([drawn, drawn.mean(axis=1)]), LEVEL)
        for number, (record, values) in enumerate(zip(records.values(), columns, strict=True)):
            record[figure] = float(values.mean())
            record["intervals"][figure] = [float(low[number]), float(high[number])]
        mean[figure] = float(np.mean([record[figure] for record in records.values()]))
        mean["intervals"][figure] = [float(low[-1]), float(high[-1])]
    return records, mean


def _new(store: Store, space: Space, sides: Mapping[str, Side]) -> tuple[Mapping[str, Side], tuple[str, ...]]:
    """Return the sides without what the space was trained on, and what a reader must know of it."""
    training = space.card.get("training", {})
    trained_on = training.get("source", {}).get("name")
    if trained_on is None or trained_on != store.manifest["source"].get("name"):
        return sides, ()
    fresh = untrained(space, sides) if "keys" in training else set()
    if len(fresh) < 2:
        return sides, (
            f"the space was trained on {trained_on!r} too, so that items it was trained on are among those measured, "
            f"and the figures say little about new ones: `isthmus align --hold-out N` keeps some apart",
        )
    kept = {}
    for m, (vectors, z) in sides.items():
        rows = np.flatnonzero(np.isin(vectors.keys, list(fresh)))
        kept[m] = (vectors.take(rows), z[rows])
    how = "held out of the training" if "held_out" in training else "not trained on"
    return kept, (f"measured are the {len(fresh):,} items that were {how}",)


def _claim(folder: Path) -> None:
    """Make the folder of the results, unless it holds somebody else's metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "metrics.json"
    try:
        ours = not file.exists() or "directions" in json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        ours = False
    if not ours:
        raise BadInput(f"{file} is not one of `isthmus evaluate`: choose another folder")


def _write_trec(stem: Path, asking: _Part, offered: _Part, depth: int) -> None:
    """Write what was found (``qid Q0 docid rank score tag``) and what is right (``qid 0 docid 1``)."""
    from isthmus.index.exact import exact_search

    known = asking.matched(offered)
    scores, found = exact_search(known.x[known.rows], offered.x[offered.rows], k=depth)
    _write_run(stem, scores, found, (known.ids, known.keys), (offered.ids, offered.keys))


def _write_corrected(stem: Path, found: Direction, pieces: Sequence[Piece], depth: int) -> None:
    offered = pieces[0].offered
    scores, ids = [], []
    for piece in pieces:
        for part in blocks(len(piece.rows), len(offered)):
            table = piece.after(part)
            best = np.argsort(-table, axis=1, kind="stable")[:, :depth]
            ids.append(best)
            scores.append(np.take_along_axis(table, best, axis=1))
    rows = np.concatenate([piece.rows for piece in pieces])
    asked, docs = ((v.ids[i], v.keys[i]) for v, i in ((found.asking, rows), (found.offered, offered)))
    _write_run(stem, np.concatenate(scores), np.concatenate(ids), asked, docs)


def _write_run(
    stem: Path,
    scores: np.ndarray,
    found: np.ndarray,
    asked: tuple[np.ndarray, np.ndarray],
    offered: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write scores and places (q, k) of what was found; `asked` and `offered` are (ids, keys)."""
    names, docs = _trec_names(asked[0]), _trec_names(offered[0])
    with atomic(stem.with_name(stem.name + ".run")) as path, path.open("w", encoding="utf-8") as file:
        for query, row, columns in zip(names, scores.tolist(), found.tolist(), strict=True):
            file.writelines(
                f"{query} Q0 {docs[j]} {rank} {score:.9g} isthmus\n"
                for rank, (j, score) in enumerate(zip(columns, row, strict=True), start=1)
            )
    order = np.argsort(offered[1], kind="stable")
    ordered = offered[1][order]
    starts, stops = (np.searchsorted(ordered, asked[1], side=side) for side in ("left", "right"))
    with atomic(stem.with_name(stem.name + ".qrels")) as path, path.open("w", encoding="utf-8") as file:
        for query, start, stop in zip(names, starts, stops, strict=True):
            file.writelines(f"{query} 0 {docs[j]} 1\n" for j in order[start:stop])


def _trec_names(ids: Sequence[str] | np.ndarray) -> list[str]:
    """Return ids without white space, which separates the columns of a TREC file."""
    return ["".join(quote(c) if c.isspace() or c == "%" else c for c in str(i)) for i in ids]
