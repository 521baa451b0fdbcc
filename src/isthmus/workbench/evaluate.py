"""`evaluate`: how well items of one modality find their partners of another, with intervals, both ways.

Scores are inner products in the space, as search ranks. Records of one modality may come in variants (a name in
fourteen languages): the variants of the modality that has more of them are measured apart, each with its own
queries or its own gallery; those of the other modality stay together, all right when their key is right.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.metrics.bootstrap import Paired, bootstrap_means, paired_test, percentiles
from isthmus.metrics.retrieval import per_query, retrieval_ranks
from isthmus.space import Space
from isthmus.store.disk import atomic, write_json
from isthmus.store.rows import Vectors
from isthmus.store.store import Store

__all__ = ["FIGURES", "Evaluation", "Measured", "compare", "evaluate", "in_space", "opened", "variant_rows"]

FIGURES = ("r@1", "r@5", "r@10", "mrr", "map", "ndcg@10")
LEVEL = 0.95
ALL = "all"
"""Name of the only variant, where records have none."""


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
        }


def evaluate(
    store: Store | str | Path,
    *,
    space: Space | str | Path,
    pair: str = "text:image",
    keys: Collection[str] | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    n_boot: int = 1000,
    depth: int = 100,
    progress: Progress = silent,
) -> Evaluation:
    """Measure retrieval between the two modalities of `pair`, in both directions, for each variant.

    The positives of a query are the records of the other modality with its key; the candidates are all records of
    the other modality among `keys` (None: the whole store). Ties count against the space. Intervals are 95 %
    percentile bootstraps over keys, `n_boot` draws of `seed`, the same draws for all figures and variants.
    `ndcg@10`, `map` and `mrr` beside R@k, all in [0, 1].

    With `out` the folder gets ``metrics.json`` and, for each direction and variant, a TREC ``.run`` (the first
    `depth` candidates of each query) and ``.qrels``; white space and % in ids are percent-encoded there.

    Raises `BadInput` for a pair that is not two modalities, vectors the space does not accept, or fewer than two
    items that both modalities have; `NotFound` for a modality that the store or the space lacks.
    """
    store, space = opened(store, space)
    a, b = _two(pair)
    sides = {m: in_space(store, space, m, keys) for m in (a, b)}
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
        folder.mkdir(parents=True, exist_ok=True)
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
    tables = {name: _table(variants, seed, n_boot) for name, variants in queries.items()}
    evaluation = Evaluation(
        pair=pair,
        directions={name: variants for name, (variants, _) in tables.items()},
        mean={name: mean for name, (_, mean) in tables.items()},
        skipped=skipped,
        notes=_notes(store, space, keys),
        store=str(store.manifest["source"].get("name", store.path)),
        space=space.digest,
        seed=seed,
        queries=queries,
    )
    if folder is not None:
        # last: where there is a metrics.json, the run and qrels are whole
        write_json(folder / "metrics.json", evaluation.to_json())
    return evaluation


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


# ------------------------------------------------------------------ what diagnose needs too


def opened(store: Store | str | Path, space: Space | str | Path) -> tuple[Store, Space]:
    """Return the store and the space, opened where paths were given."""
    return (
        store if isinstance(store, Store) else Store.open(store),
        space if isinstance(space, Space) else Space.load(space),
    )


def in_space(
    store: Store, space: Space, modality: str, keys: Collection[str] | None
) -> tuple[Vectors, Float[np.ndarray, "n d"]]:
    """Return the stored records of a modality and their vectors in the space.

    Of several encoders the one that the space accepts is taken. Raises `NotFound` for a modality that the store or
    the space lacks, `WrongFingerprint` for vectors the space does not accept, `BadInput` when no record has a key
    of `keys`.
    """
    if modality not in store.modalities():
        raise NotFound.named("modality", modality, store.modalities(), f"in {store.path}")
    if modality not in space.maps:
        raise NotFound.named("modality", modality, space.maps, "in this space")
    accepted = space.maps[modality].fingerprint.column
    has = any(part["column"] == accepted and part["modality"] == modality for part in store.parts)
    if not has:
        space.accepts(modality, store.fingerprint(modality))
    vectors = store.vectors(modality, accepted, keys)
    if not len(vectors):
        raise BadInput(f"{store.path} has no {modality} record of the {len(keys or ())} keys given")
    return vectors, space.transform(modality, vectors.x, fingerprint=vectors.fingerprint)


def variant_rows(first: Vectors, second: Vectors) -> dict[str, tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]]:
    """Cut two modalities by the variants of the one that has more: {variant: (rows of first, rows of second)}."""
    names = [sorted(set(v.variants.tolist())) for v in (first, second)]
    side = int(len(names[1]) > len(names[0]))
    cut = {}
    for name in names[side]:
        rows = [np.arange(len(first)), np.arange(len(second))]
        rows[side] = np.flatnonzero((first, second)[side].variants == name)
        cut[name or ALL] = (rows[0], rows[1])
    return cut


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


def _two(pair: str) -> tuple[str, str]:
    names = pair.split(":")
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise BadInput(f"pair {pair!r} must be two different modalities, such as text:image")
    return names[0], names[1]


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


def _notes(store: Store, space: Space, keys: Collection[str] | None) -> tuple[str, ...]:
    trained_on = space.card.get("training", {}).get("source", {}).get("name")
    if keys is None and trained_on is not None and trained_on == store.manifest["source"].get("name"):
        return (
            f"no keys were given, and the space was trained on {trained_on!r} too: items it was trained on may be "
            f"among those measured, and the figures then say little about new items",
        )
    return ()


def _write_trec(stem: Path, asking: _Part, offered: _Part, depth: int) -> None:
    """Write what was found (``qid Q0 docid rank score tag``) and what is right (``qid 0 docid 1``)."""
    from isthmus.index.exact import exact_search

    known = asking.matched(offered)
    scores, found = exact_search(known.x[known.rows], offered.x[offered.rows], k=depth)
    names, docs = _trec_names(known.ids), _trec_names(offered.ids)
    with atomic(stem.with_name(stem.name + ".run")) as path, path.open("w", encoding="utf-8") as file:
        for query, row, columns in zip(names, scores.tolist(), found.tolist(), strict=True):
            file.writelines(
                f"{query} Q0 {docs[j]} {rank} {score:.9g} isthmus\n"
                for rank, (j, score) in enumerate(zip(columns, row, strict=True), start=1)
            )
    order = np.argsort(offered.keys, kind="stable")
    ordered = offered.keys[order]
    starts, stops = (np.searchsorted(ordered, known.keys, side=side) for side in ("left", "right"))
    with atomic(stem.with_name(stem.name + ".qrels")) as path, path.open("w", encoding="utf-8") as file:
        for query, start, stop in zip(names, starts, stops, strict=True):
            file.writelines(f"{query} 0 {docs[j]} 1\n" for j in order[start:stop])


def _trec_names(ids: Sequence[str] | np.ndarray) -> list[str]:
    """Return ids without white space, which separates the columns of a TREC file."""
    return ["".join(quote(c) if c.isspace() or c == "%" else c for c in str(i)) for i in ids]
