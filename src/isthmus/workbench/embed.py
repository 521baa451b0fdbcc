"""`embed`: read every record of a source, encode it, and keep the vectors in a store."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from isthmus import data
from isthmus.core.errors import BadInput, IsthmusError, MissingExtra
from isthmus.core.progress import Progress, silent
from isthmus.data import DataSet
from isthmus.data.records import Record
from isthmus.encoders import load as load_encoder
from isthmus.encoders import wrap
from isthmus.encoders.checks import checked
from isthmus.store.rows import to_arrow
from isthmus.store.store import Store
from isthmus.store.writer import Writer
from isthmus.workbench.spaces import ENCODERS

__all__ = ["embed"]

READERS = 2
"""Threads that read and decode the next batch while this one is encoded."""

T = TypeVar("T")


def embed(
    source: str | Path | DataSet,
    *,
    encoders: Mapping[str, str | Callable[..., Any]] | None = None,
    out: str | Path,
    batch_size: int = 64,
    device: str = "cpu",
    repair: bool = False,
    progress: Progress = silent,
) -> Store:
    """Encode a data set or folder into a store, and return the store.

    `encoders` maps a modality to the name of an encoder, to an encoder object, or to any callable from a list
    of items to an (n, d) array; without it every modality of the source that the default space knows gets the encoder
    of that space. What the store holds already, with the same content and the same encoder, is
    not encoded again: after a kill at any moment the same call goes on where it stopped. An item that cannot
    be read or encoded is set aside in ``rejected.parquet`` with its reason. With `repair` damaged parts of the store
    are dropped first, so that their vectors are made again. A source that is named by its path is mirrored: what
    is no longer there goes from the store too.

    Raises `BadInput` before any work when the source is empty or lacks a modality that an encoder wants, and
    `MissingExtra` when a package is absent that reads or encodes one of them.
    """
    if batch_size < 1:
        raise BadInput(f"batch_size = {batch_size}; expected at least 1")
    dataset = source if isinstance(source, DataSet) else data.load(source)
    if encoders is None:
        encoders = {m: name for m, name in ENCODERS.items() if m in dataset.modalities}
    if not encoders:
        raise BadInput("embed needs at least one encoder, such as image=efficientnet_lite0")
    if absent := sorted(set(encoders) - set(dataset.modalities)):
        raise BadInput(f"{dataset.name} has no {', '.join(absent)}; it has {', '.join(dataset.modalities)}")
    ready = {m: _ready(m, encoder, device) for m, encoder in encoders.items()}
    for modality in ready:  # the first modality may take an hour before the second one's package is missed
        _load(dataset.of(modality)[0])
    store = Store.open_or_create(out, source=dataset.describe())
    if repair:
        store.repair()
    if dataset.set_aside:
        store.set_aside(dataset.set_aside)
    if dataset.card.by_path:
        _forget(store, dataset)
    for modality, encoder in ready.items():
        _embed_modality(store, dataset.of(modality), encoder, batch_size, progress)
    return store


def _forget(store: Store, dataset: DataSet) -> None:
    """Take out of the store what the source no longer has."""
    there = {record.id for record in dataset.records}
    held = [*store.records(columns=("id",))["id"].to_pylist()]
    held += [row["id"] for row in store.rejected().to_pylist() if row["modality"] is not None]
    if gone := set(held) - there:
        store.remove(gone)


def _ready(modality: str, encoder: str | Callable[..., Any], device: str) -> Any:
    """Return an encoder object for a name, a callable, or an encoder."""
    if isinstance(encoder, str):
        return load_encoder(encoder, modality, device=device)
    if hasattr(encoder, "fingerprint"):
        return encoder
    return wrap(encoder, modality=modality)


def _embed_modality(store: Store, records: Sequence[Record], encoder: Any, batch_size: int, progress: Progress) -> None:
    stage = f"embed {encoder.modality}"
    with store.writer(encoder.fingerprint) as writer:
        missing = [r for r in records if not writer.has(r.id, r.digest())]
        done = len(records) - len(missing)
        progress(stage, done, len(records))
        _describe_anew(store, encoder, [r for r in records if writer.has(r.id, r.digest())], writer)
        for batch, loaded in _read_ahead(_batches(missing, batch_size)):
            good, items = [], []
            for record, item in zip(batch, loaded, strict=True):
                if isinstance(item, IsthmusError):
                    writer.reject(record, str(item))
                else:
                    good.append(record)
                    items.append(item)
            vectors, kept = _encode(encoder, good, items, writer.reject)
            if kept:
                writer.add(kept, vectors)
            done += len(batch)
            progress(stage, done, len(records))


def _describe_anew(store: Store, encoder: Any, known: Sequence[Record], writer: Writer) -> None:
    """Store again, with the vectors that they have, records of which something else is said now: the group, the place.

    A newer release may tell near-duplicates better, and what is held out depends on it.
    """
    if not known:
        return
    stored = store.records(encoder.modality)
    told = dict(zip(stored["id"].to_pylist(), stored.to_pylist(), strict=True))
    now = to_arrow(known, [r.digest() for r in known]).to_pylist()
    changed = {r.id: r for r, said in zip(known, now, strict=True) if said != told.get(r.id)}
    if not changed:
        return
    vectors = store.vectors(encoder.modality, encoder.fingerprint.column, {r.key for r in changed.values()})
    rows = [i for i, name in enumerate(vectors.ids.tolist()) if name in changed]
    writer.add([changed[str(vectors.ids[i])] for i in rows], vectors.x[rows], anew=True)


def _encode(
    encoder: Any, records: list[Record], items: list[Any], reject: Callable[[Record, str], None]
) -> tuple[np.ndarray, list[Record]]:
    """Encode a batch; when it fails on the input, encode one by one so that only the culprit is set aside."""
    if not records:
        return np.empty((0, encoder.fingerprint.dim), np.float32), []
    try:
        return checked(encoder.encode(encoder.modality, items), len(items), encoder.fingerprint), records
    except IsthmusError:
        vectors, kept = [], []
        for record, item in zip(records, items, strict=True):
            try:
                vectors.append(checked(encoder.encode(encoder.modality, [item]), 1, encoder.fingerprint))
                kept.append(record)
            except IsthmusError as error:
                reject(record, str(error))
        return np.concatenate(vectors) if vectors else np.empty((0, encoder.fingerprint.dim), np.float32), kept


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _load(record: Record) -> Any:
    try:
        return record.load()
    except MissingExtra:  # not the item's fault, and no other item will fare better
        raise
    except IsthmusError as error:
        return error


def _read_ahead(batches: Iterator[list[Record]]) -> Iterator[tuple[list[Record], list[Any]]]:
    """Yield batches with their content; the next one is read while the caller works on this one."""
    with ThreadPoolExecutor(READERS) as pool:
        pending: tuple[list[Record], Iterator[Any]] | None = None
        for batch in batches:
            following = (batch, pool.map(_load, batch))
            if pending is not None:
                yield pending[0], list(pending[1])
            pending = following
        if pending is not None:
            yield pending[0], list(pending[1])
