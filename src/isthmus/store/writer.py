"""How vectors get into a store: buffered, checked, and committed part by part by a single writer."""

import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from isthmus.core.errors import BadInput
from isthmus.store import parts
from isthmus.store.disk import clean, locked
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import Row, row_id, to_arrow

if TYPE_CHECKING:
    from isthmus.store.store import Store

__all__ = ["Writer"]

PART_BYTES = 16 << 20
"""Vectors of one part: large enough to read at full speed; Parquet takes six times as much while it reads one."""


class Writer:
    """Adds vectors of one fingerprint; made by `Store.writer`, used as a context manager.

    A part is committed when the buffer is full, when `seconds_per_part` have passed, and at the end of the block,
    be it reached or left by an exception. A kill at any moment loses the buffered rows and nothing else.
    """

    def __init__(
        self, store: "Store", fingerprint: Fingerprint, *, rows_per_part: int | None, seconds_per_part: float
    ) -> None:
        if rows_per_part is not None and rows_per_part < 1:
            raise BadInput(f"a part needs at least 1 row, got rows_per_part={rows_per_part}")
        self.fingerprint = fingerprint
        self._store = store
        self._limit = rows_per_part or max(1, PART_BYTES // (4 * fingerprint.dim))
        self._seconds = seconds_per_part
        self._closing = contextlib.ExitStack()
        self._open = False

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as opening:
            opening.enter_context(locked(self._store.path, kind="a store"))
            self._store.refresh()  # another process may have written since the store was opened
            clean(self._store.path, ["part-*.parquet"], {p["file"] for p in self._store.parts})
            self._store.add_fingerprint(self.fingerprint)
            self._known: dict[str, str] = self._store.content_hashes(self.fingerprint.column)
            self._rejected = {row["id"]: row for row in parts.read_rejected(self._store.path)}
            self._rejected_before = dict(self._rejected)
            self._added: set[str] = set()
            self._supersedes = 0
            self._buffer: list[tuple[pa.Table, np.ndarray]] = []
            self._last = time.monotonic()
            self._closing = opening.pop_all()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._closing:
            self._open = False
            self._commit()

    def has(self, row_id: str, content_hash: str) -> bool:
        """Return whether this encoder's vector of this content is stored (or buffered) already."""
        return self._known.get(row_id) == content_hash

    def add(self, rows: Sequence[Row], vectors: Any, *, anew: bool = False) -> None:
        """Add the (n, d) `vectors` of n `rows`; floats of any width are stored as float32.

        A row whose content has changed since it was stored takes the place of the old one. Nothing of the call is
        added when it raises `BadInput`: for a wrong shape or type, NaN or infinity, another modality than the
        fingerprint's, or an id that was added before with the same content. `anew` stores rows of the same content
        again: what else is said of them has changed.
        """
        self._check_open()
        x = self._checked(rows, vectors)
        digests = [row.digest() for row in rows]
        ids = self._check_ids(rows, digests, anew)
        table = to_arrow(rows, digests)
        for start in range(0, len(rows), self._limit):
            chosen = slice(start, start + self._limit)
            self._supersedes += sum(i in self._known for i in ids[chosen])
            self._buffer.append((table.slice(start, self._limit), x[chosen]))
            self._known.update(zip(ids[chosen], digests[chosen], strict=True))
            if sum(len(held) for _, held in self._buffer) >= self._limit:
                self._commit()
        self._added.update(ids)
        for i in ids:
            self._rejected.pop(i, None)
        if time.monotonic() - self._last > self._seconds:
            self._commit()

    def reject(self, row: Row, reason: str) -> None:
        """Set a row aside: ``rejected.parquet`` gets it with the reason, until it is added after all."""
        self._check_open()
        self._rejected[row.id] = parts.rejection(row, reason)

    def _check_open(self) -> None:
        if not self._open:
            raise BadInput("a writer adds only inside its block: with store.writer(fingerprint) as writer: …")

    def _checked(self, rows: Sequence[Row], vectors: Any) -> np.ndarray:
        """Return the vectors as a float32 array of our own, or say what is wrong with them."""
        given = np.asarray(vectors)
        wanted = (len(rows), self.fingerprint.dim)
        if given.shape != wanted or given.dtype.kind != "f":
            raise BadInput(
                f"{self.fingerprint.column} takes float vectors of shape {wanted} for {len(rows)} rows, "
                f"got {given.dtype} of shape {given.shape}"
            )
        with np.errstate(over="ignore"):  # what overflows float32 becomes infinite, and is refused by its name below
            x = np.array(given, dtype=np.float32)
        if not np.isfinite(x).all():
            bad = [row.id for row, vector in zip(rows, x, strict=True) if not np.isfinite(vector).all()]
            raise BadInput(
                f"{len(bad)} of {len(x)} vectors of {self.fingerprint.column} hold NaN or infinity, "
                f"the first is {bad[0]!r}: look at this item, or at the encoder's numeric type"
            )
        return x

    def _check_ids(self, rows: Sequence[Row], digests: Sequence[str], anew: bool) -> list[str]:
        """Return the ids of rows that may be added together."""
        ids: set[str] = set()
        for row, digest in zip(rows, digests, strict=True):
            if row.id != row_id(row.key, row.modality, row.variant) or row.modality != self.fingerprint.modality:
                raise BadInput(
                    f"row {row.id!r} of modality {row.modality!r} cannot be stored under {self.fingerprint.column} of "
                    f"modality {self.fingerprint.modality!r}: the id is key|modality|variant"
                )
            if not digest:
                raise BadInput(f"row {row.id!r} has an empty content hash")
            if row.id in ids or row.id in self._added or (not anew and self.has(row.id, digest)):
                raise BadInput(f"row {row.id!r} is added twice: ask has() first, and give each row its own variant")
            ids.add(row.id)
        return [row.id for row in rows]

    def _commit(self) -> None:
        """Write the buffer as a part and then the manifest that names it."""
        self._last = time.monotonic()
        if self._buffer:
            text = pa.concat_tables([table for table, _ in self._buffer])
            vectors = [x for _, x in self._buffer]
            part = parts.write(self._store.path, self._store.next_part, text, vectors, self.fingerprint)
            part["supersedes"] = self._supersedes
            # An interrupt from here on loses the part, which the next run makes again; clearing the buffer after
            # the manifest instead could write its rows twice.
            self._buffer, self._supersedes = [], 0
            self._store.add_part(part)
        if self._rejected != self._rejected_before:
            parts.write_rejected(self._store.path, list(self._rejected.values()))
            self._rejected_before = dict(self._rejected)
