"""A segment of an index: vectors and items of one modality in files that never change, and which of them are dead."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from isthmus.core.errors import BadInput
from isthmus.index.backends import Backend, backend
from isthmus.index.exact import exact_search, rescored
from isthmus.index.head import AGAIN
from isthmus.index.where import extracted
from isthmus.store.disk import filed
from isthmus.store.rows import Vectors

__all__ = ["ITEMS", "Segment", "items_of", "write_dead", "write_graph", "write_segment"]

ITEMS = ("id", "key", "group", "modality", "variant", "text", "uri", "meta")


class Segment:
    """A segment opened: vectors as a memory map, items and graph when first needed.

    Files stay open, so that what another process writes in the place of this segment does not change what it gives.
    Raises `BadInput` naming the file that is missing, cut short or damaged.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], width: int) -> None:
        self.folder, self.record = folder, record
        self.rows: int = record["rows"]
        self.vectors = self._mapped(width)
        self._files = {kind: self._opened(kind) for kind in ("items", "graph", "dead") if kind in record}
        self._columns: dict[str, pa.ChunkedArray] = {}

    def __len__(self) -> int:
        """Return how many rows are alive."""
        return self.rows - (self.record["dead"]["rows"] if "dead" in self.record else 0)

    @cached_property
    def items(self) -> pa.Table:
        """The items of all rows, dead ones too."""
        table = pq.read_table(pa.BufferReader(self._content("items")), columns=list(ITEMS))
        if table.num_rows != self.rows:
            raise self._damaged("items", f"{table.num_rows} rows, expected {self.rows}")
        return table

    @cached_property
    def live(self) -> np.ndarray | None:
        """The ascending rows that are alive, or None when all are."""
        if "dead" not in self.record:
            return None
        dead = np.load(io.BytesIO(self._content("dead")), allow_pickle=False)
        if dead.shape != (self.record["dead"]["rows"],) or not np.isin(dead, np.arange(self.rows)).all():
            raise self._damaged("dead", f"it does not name {self.record['dead']['rows']} of {self.rows} rows")
        return np.setdiff1d(np.arange(self.rows), dead)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of the items or a field of their `meta` as texts (`where.extracted`)."""
        if name not in self._columns:
            column = extracted(self.items, name)
            if self.live is not None:  # what was removed says nothing about a field any more
                alive = np.zeros(self.rows, bool)
                alive[self.live] = True
                column = pc.if_else(pa.array(alive), column, pa.scalar(None, pa.string()))
            self._columns[name] = column
        return self._columns[name]

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Return those of some ascending rows that are alive."""
        return rows if self.live is None else np.intersect1d(rows, self.live, assume_unique=True)

    def search(
        self, queries: np.ndarray, k: int, rows: np.ndarray | None = None, *, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (q, ≤ k) of the best rows that are alive, or of the best among some such `rows`.

        Some rows are searched exactly whatever the backend, as is everything with `exact`.
        """
        if rows is not None:
            return exact_search(queries, self.vectors, k=k, rows=rows)
        if exact or "graph" not in self.record or not len(queries):
            return exact_search(queries, self.vectors, k=k, rows=self.live)
        k = min(k, len(self))
        # where rows are dead the nearest ones may be, so that more are asked for
        ids = self._candidates(queries, -(-k * self.rows // max(len(self), 1)))
        if self.live is not None:
            ids = np.sort(np.where(np.isin(ids, self.live), ids, -1), axis=1)
        short = (ids >= 0).sum(axis=1) < k
        if ids.shape[1] < k:
            return exact_search(queries, self.vectors, k=k, rows=self.live)
        scores, ids = rescored(queries, self.vectors, ids, k)
        if short.any():
            scores[short], ids[short] = exact_search(queries[short], self.vectors, k=k, rows=self.live)
        return scores, ids

    @cached_property
    def _candidates(self) -> Callable[[np.ndarray, int], np.ndarray]:
        stored = self.record["graph"]
        serving = backend(stored["backend"])
        assert serving is not None
        try:
            found: Callable[[np.ndarray, int], np.ndarray] = serving.load().candidates(
                self._content("graph"), stored["settings"], self.vectors.shape
            )
        except (BadInput, KeyError) as error:
            raise self._damaged("graph", str(error)) from error
        return found

    def _content(self, kind: str) -> pa.Buffer:
        """Return the content of a file that is read whole, or whose links native code will follow, checked once."""
        if hashlib.sha256(self._files[kind]).hexdigest() != self.record[kind]["sha256"]:
            raise self._damaged(kind, "its SHA-256 is not that of what was written")
        return self._files[kind]

    def _damaged(self, kind: str, reason: str) -> BadInput:
        return BadInput(f"{self.folder / self.record[kind]['file']} is damaged: {reason}; {AGAIN}")

    def _path(self, kind: str) -> Path:
        """Return the path of a file that is there and as long as it was written."""
        stored = self.record[kind]
        path: Path = self.folder / stored["file"]
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise BadInput(f"{path} is missing: {AGAIN}") from None
        if size != stored.get("bytes", size):
            raise self._damaged(kind, f"it has {size} bytes, {stored['bytes']} were written")
        return path

    def _mapped(self, width: int) -> np.ndarray:
        path, shape = self._path("vectors"), (self.rows, width)
        try:
            x: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise self._damaged("vectors", str(error)) from error
        if x.shape != shape or x.dtype != np.float32 or not x.flags.c_contiguous:
            raise self._damaged("vectors", f"{x.dtype} of shape {x.shape}, expected float32 of {shape}")
        return x

    def _opened(self, kind: str) -> pa.Buffer:
        path = self._path(kind)
        try:
            return pa.memory_map(str(path)).read_buffer()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(kind, str(error)) from error


def items_of(modality: str, vectors: Vectors) -> pa.Table:
    """Return the items of vectors as a table of `ITEMS`."""
    columns = {
        "id": vectors.ids.tolist(),
        "key": vectors.keys.tolist(),
        "group": vectors.groups.tolist(),
        "modality": [modality] * len(vectors),
        "variant": vectors.variants.tolist(),
        "text": vectors.texts,
        "uri": vectors.uris,
        "meta": [json.dumps(dict(m), ensure_ascii=False, sort_keys=True) for m in vectors.meta],
    }
    return pa.table({name: pa.array(columns[name], pa.string()) for name in ITEMS})


def write_segment(
    folder: Path, stem: str, blocks: Iterable[np.ndarray], shape: tuple[int, int], items: Sequence[pa.Table]
) -> dict[str, Any]:
    """Write vectors, which come block by block, and items, and return the segment's entry in the head."""

    def write_vectors(partial: Path) -> None:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype="<f4").data)

    return {
        "rows": shape[0],
        "vectors": _written(folder, stem, ".npy", write_vectors),
        "items": _written(folder, stem, ".parquet", lambda partial: pq.write_table(pa.concat_tables(items), partial)),
    }


def write_graph(
    folder: Path, stem: str, segment: Segment, serving: Backend, queries: np.ndarray, **options: Any
) -> dict[str, Any]:
    """Write what a backend needs beside the vectors of a segment, and return the segment's entry with it."""
    settings: dict[str, Any] = {}

    def write(partial: Path) -> None:
        settings.update(serving.load().build(partial, segment.vectors, queries, **options))

    stored = _written(folder, stem, ".graph", write)
    return {**segment.record, "graph": {**stored, "backend": serving.name, "settings": settings}}


def write_dead(folder: Path, stem: str, segment: Segment, gone: np.ndarray) -> dict[str, Any]:
    """Mark more rows as dead, and return the segment's entry with them."""
    live = np.arange(segment.rows) if segment.live is None else segment.live
    dead = np.setdiff1d(np.arange(segment.rows), np.setdiff1d(live, gone, assume_unique=True), assume_unique=True)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # np.save would add an ending to the name
            np.save(file, dead.astype("<i8"), allow_pickle=False)

    stored = _written(folder, stem, ".npy", write)
    return {**segment.record, "dead": {**stored, "rows": len(dead)}}


def _written(folder: Path, stem: str, ending: str, write: Callable[[Path], object]) -> dict[str, Any]:
    file, sha256 = filed(folder, stem, ending, write)
    return {"file": file, "sha256": sha256, "bytes": (folder / file).stat().st_size}
