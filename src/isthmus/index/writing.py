"""How an index changes: new files beside the old ones, then the head that names them, in one rename.

A kill at any moment leaves the index as it was or as it was to be; what a killed writer left is removed by the next.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import isthmus
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress
from isthmus.index.backends import AUTO, backend, chosen
from isthmus.index.head import FILES, FORMAT_VERSION, HEAD, files, read
from isthmus.index.segment import Segment, items_of, write_dead, write_graph, write_segment
from isthmus.space import Space
from isthmus.store.disk import claim, clean, locked, write_json
from isthmus.store.rows import Vectors

__all__ = ["build", "change", "compact"]

BLOCK = 16384
"""Vectors mapped into the space and written at a time."""
SAMPLE = 256
"""Queries that a backend is tuned on."""
KIND = "an index"


def build(
    path: Path,
    space: Space,
    entries: Mapping[str, Vectors],
    bias: Mapping[str, Any],
    correction: Mapping[str, Any] | None,
    name: str,
    progress: Progress,
) -> None:
    """Write a whole index, in the place of one that may be there (`Index.build`)."""
    if not entries:
        raise BadInput(f"an index needs vectors of at least one modality; the space maps {space.modalities}")
    if name != AUTO:
        backend(name)
    _check(space, entries)
    biases = _checked(bias, entries)
    means = {m: float(b.mean()) if len(b) else 0.0 for m, b in biases.items()}
    claim(path, head=HEAD, leftovers=FILES, kind=KIND)
    with locked(path, kind=KIND):
        folder = f"space-{space.digest[:8]}"
        space.save(path / folder)
        record: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "isthmus_version": isthmus.__version__,
            "dim": space.dim,
            "backend": name,
            "space": {"folder": folder, "digest": space.digest},
            "modalities": {m: _shelf(v, means.get(m)) for m, v in sorted(entries.items())},
            **({} if correction is None else {"correction": dict(correction)}),
        }
        for modality, vectors in sorted(entries.items()):
            blocks = _mapped(space, modality, vectors, biases.get(modality), means.get(modality, 0.0), progress)
            shape = (len(vectors), space.dim + (modality in biases))
            if len(vectors):
                made = write_segment(path, _stem(modality), blocks, shape, [items_of(modality, vectors)])
                record["modalities"][modality]["segments"].append(made)
        _commit(path, record, space, progress)


def change(
    path: Path,
    entries: Mapping[str, Vectors],
    bias: Mapping[str, Any],
    gone: Collection[str],
    *,
    replace: bool,
    progress: Progress,
) -> None:
    """Add items, in the place of those of the same ids where `replace`, and remove those of the ids `gone`."""
    with locked(path, kind=KIND):
        record, space = read(path, None)
        _check(space, entries)
        biases = _checked(bias, entries)
        shelves = dict(record["modalities"])
        for modality, vectors in entries.items():
            has = modality in biases
            mean = float(np.mean(biases[modality])) if has and len(vectors) else 0.0
            shelf = shelves.setdefault(modality, _shelf(vectors, mean if has else None))
            _check_bias(path, modality, shelf, has)
        opened = {m: _opened(path, shelf, space) for m, shelf in shelves.items()}
        dying = {}
        for m, segments in opened.items():
            ids = {*gone, *(entries[m].ids.tolist() if m in entries else ())}
            dying[m] = [_rows_of(segment, ids) for segment in segments]
            _check_ids(path, m, segments, dying[m], () if replace or m not in entries else entries[m].ids)
        _check_gone(path, opened, dying, gone)
        for m in sorted(shelves):
            if m in entries or any(map(len, dying[m])):
                new = entries.get(m)
                again, kept = _plan(opened[m], dying[m], 0 if new is None else len(new))
                shelves[m] = {
                    **shelves[m],
                    "segments": [
                        write_dead(path, f"{_stem(m)}-dead", segment, rows) if len(rows) else segment.record
                        for segment, rows in kept
                    ]
                    + _merged(path, space, m, shelves[m], again, new, biases.get(m), progress),
                }
        _commit(path, {**record, "format_version": FORMAT_VERSION, "modalities": shelves}, space, progress)


def compact(path: Path, progress: Progress) -> None:
    """Write every modality as one segment, without the rows that are dead."""
    with locked(path, kind=KIND):
        record, space = read(path, None)
        shelves = dict(record["modalities"])
        for m, shelf in sorted(shelves.items()):
            segments = _opened(path, shelf, space)
            if len(segments) > 1 or any(segment.live is not None for segment in segments):
                again = [(segment, _live(segment)) for segment in segments]
                shelves[m] = {**shelf, "segments": _merged(path, space, m, shelf, again, None, None, progress)}
        _commit(path, {**record, "format_version": FORMAT_VERSION, "modalities": shelves}, space, progress)


# ------------------------------------------------------------------ the steps of a change

Kept = list[tuple[Segment, np.ndarray]]
"""Segments, each with some of its rows."""


def _plan(segments: Sequence[Segment], dying: Sequence[np.ndarray], new: int) -> tuple[Kept, Kept]:
    """Return the segments to write again with their rows that stay alive, and the others with their rows that die.

    Written again are the last ones while they are no more than twice as large as what follows, which keeps the number
    of segments below the logarithm of the number of items, and those that are more dead than alive.
    """
    staying = [np.setdiff1d(_live(s), rows, assume_unique=True) for s, rows in zip(segments, dying, strict=True)]
    again: list[int] = []
    size = new
    for i in reversed(range(len(segments))):
        if not size or len(staying[i]) > 2 * size:
            break
        again.append(i)
        size += len(staying[i])
    again += [i for i, s in enumerate(segments) if i not in again and 2 * len(staying[i]) < s.rows]
    kept = [(s, dying[i]) for i, s in enumerate(segments) if i not in again]
    return [(segments[i], staying[i]) for i in sorted(again) if len(staying[i])], kept


def _merged(
    path: Path,
    space: Space,
    modality: str,
    shelf: Mapping[str, Any],
    again: Kept,
    new: Vectors | None,
    bias: np.ndarray | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write old rows and new vectors as one segment, and return its entry; nothing when there are none."""
    n = sum(len(rows) for _, rows in again) + (0 if new is None else len(new))
    if not n:
        return []

    def blocks() -> Iterator[np.ndarray]:
        for segment, rows in again:
            for start in range(0, len(rows), BLOCK):
                yield segment.vectors[rows[start : start + BLOCK]]
        if new is not None:
            yield from _mapped(space, modality, new, bias, shelf["bias_mean"] or 0.0, progress)

    items = [segment.items.take(pa.array(rows)) for segment, rows in again]
    items += [] if new is None else [items_of(modality, new)]
    return [write_segment(path, _stem(modality), blocks(), (n, space.dim + shelf["corrected"]), items)]


def _mapped(
    space: Space, modality: str, vectors: Vectors, bias: np.ndarray | None, mean: float, progress: Progress
) -> Iterator[np.ndarray]:
    """Yield vectors in the space, block by block, with the dimension of the bias where there is one."""
    progress(f"index {modality}", 0, len(vectors))
    for start in range(0, len(vectors), BLOCK):
        mapped = space.transform(modality, vectors.x[start : start + BLOCK])
        if bias is not None:
            mapped = np.column_stack([mapped, mean - bias[start : start + BLOCK]]).astype(np.float32)
        yield mapped
        progress(f"index {modality}", start + len(mapped), len(vectors))


def _commit(path: Path, record: dict[str, Any], space: Space, progress: Progress) -> None:
    """Build what backends need and is not there yet, replace the head, and remove what it no longer names."""
    shelves = record["modalities"]
    opened = {m: _opened(path, shelf, space) for m, shelf in shelves.items()}
    for m, segments in opened.items():
        for i, segment in enumerate(segments):
            serving = chosen(record["backend"], segment.rows)
            if serving is not None and "graph" not in segment.record:
                queries = _sample(opened, space.dim)
                if shelves[m]["corrected"]:
                    queries = np.column_stack([queries, np.ones(len(queries), np.float32)])
                made = write_graph(path, _stem(m), segment, serving, queries, progress=progress)
                shelves[m]["segments"][i] = made
    write_json(path / HEAD, record)
    clean(path, FILES, {record["space"]["folder"], *(stored["file"] for stored in files(shelves))})


def _sample(opened: Mapping[str, Sequence[Segment]], dim: int) -> np.ndarray:
    """Return vectors of all modalities, as many of each, to try searches with."""
    filled = [segments for segments in opened.values() if segments]
    rng = np.random.default_rng(0)
    drawn = []
    for segments in filled:
        ends = np.cumsum([segment.rows for segment in segments])
        for place in rng.integers(0, ends[-1], -(-SAMPLE // len(filled))).tolist():
            i = int(np.searchsorted(ends, place, side="right"))
            drawn.append(segments[i].vectors[place - ends[i], :dim])
    return np.array(drawn, dtype=np.float32)


# ------------------------------------------------------------------ what is checked before anything is written


def _check(space: Space, entries: Mapping[str, Vectors]) -> None:
    """Raise unless the space accepts every modality's vectors, and their ids are unique."""
    for modality, vectors in entries.items():
        space.accepts(modality, vectors.fingerprint)
        ids, counts = np.unique(vectors.ids, return_counts=True)
        if len(ids) < len(vectors):
            raise BadInput(f"{modality}: the id {str(ids[counts > 1][0])!r} occurs {counts.max()} times")


def _checked(bias: Mapping[str, Any], entries: Mapping[str, Vectors]) -> dict[str, np.ndarray]:
    """Return the biases (n,) in float64."""
    if unknown := sorted(set(bias) - set(entries)):
        raise BadInput(f"biases are given for {unknown}, and the index has {sorted(entries)}")
    checked = {}
    for modality, values in bias.items():
        of_items = np.asarray(values, dtype=np.float64)
        if of_items.shape != (len(entries[modality]),) or not np.isfinite(of_items).all():
            raise BadInput(
                f"the biases of {modality} have shape {of_items.shape}; ({len(entries[modality])},) finite numbers are "
                f"expected, one an item"
            )
        checked[modality] = of_items
    return checked


def _check_bias(path: Path, modality: str, shelf: Mapping[str, Any], given: bool) -> None:
    """Raise unless a modality that is corrected gets biases of new items, and another none."""
    if shelf["corrected"] and (not given or shelf["bias_mean"] is None):
        raise BadInput(
            f"{path} corrects its {modality} items: give the bias of the new ones, or build the index again"
            if not given
            else f"{path} was written by an older isthmus, which did not note the mean of its biases: build it again"
        )
    if given and not shelf["corrected"]:
        raise BadInput(f"{path} does not correct its {modality} items: add them without a bias, or build it again")


def _check_ids(
    path: Path, modality: str, segments: Sequence[Segment], dying: Sequence[np.ndarray], new: Collection[str]
) -> None:
    """Raise if the index has one of the `new` ids."""
    wanted = set(new)
    for segment, rows in zip(segments, dying, strict=True):
        held = [name for name in segment.items["id"].take(pa.array(rows)).to_pylist() if name in wanted]
        if held:
            raise BadInput(
                f"{path} has {len(held)} of these {modality} items already, such as {held[0]!r}: upsert replaces them"
            )


def _check_gone(
    path: Path,
    opened: Mapping[str, Sequence[Segment]],
    dying: Mapping[str, Sequence[np.ndarray]],
    gone: Collection[str],
) -> None:
    """Raise if the index has not one of the ids to remove."""
    missing = set(gone)
    for m, segments in opened.items() if missing else ():
        for segment, rows in zip(segments, dying[m], strict=True):
            missing -= set(segment.items["id"].take(pa.array(rows)).to_pylist())
    if missing:
        raise NotFound(f"{path} has no item with the id {min(missing)!r}; an id is key|modality|variant")


def _rows_of(segment: Segment, ids: Collection[str]) -> np.ndarray:
    """Return the rows alive that have some ids."""
    if not ids:
        return np.empty(0, np.int64)
    has = pc.is_in(segment.items["id"], pa.array(sorted(ids), pa.string()))
    return segment.among(np.flatnonzero(np.asarray(has)))


def _live(segment: Segment) -> np.ndarray:
    return np.arange(segment.rows) if segment.live is None else segment.live


def _opened(path: Path, shelf: Mapping[str, Any], space: Space) -> list[Segment]:
    return [Segment(path, each, space.dim + shelf["corrected"]) for each in shelf["segments"]]


def _shelf(vectors: Vectors, bias_mean: float | None) -> dict[str, Any]:
    """Return the entry of a modality without a segment yet."""
    return {
        "fingerprint": vectors.fingerprint.to_json(),
        "corrected": bias_mean is not None,
        "bias_mean": bias_mean,
        "segments": [],
    }


def _stem(modality: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", modality)
