"""An index: items of several modalities in one space, searchable, in one folder that holds all it needs.

    index.json               what is in it, written last: a folder without it is no index
    space-0123abcd/          the space, so that a text or picture can be searched for
    image-1a2b3c4d.npy       vectors in the space (n, d), opened as a memory map; (n, d + 1) where they are corrected
    image-5e6f7a8b.parquet   the items: id, key, group, modality, variant, text, uri, meta

>>> index = Index.open(folder)
>>> [hit.key for hit in index.search(queries, k=2, modality="image")[0]]
['cat', 'dog']
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.index import head, writing
from isthmus.index.backends import AUTO
from isthmus.index.hit import Hit
from isthmus.index.segment import ITEMS, Segment
from isthmus.index.where import META, Filter, numbered, parse, rows, unknown
from isthmus.space import Space
from isthmus.store.disk import sha256_of
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import Vectors

__all__ = ["Hit", "Index"]

K = 10
"""Hits of a search that does not say how many."""


class Index:
    """Items of several modalities in one space; make one with `Index.build`, open it with `Index.open`.

    Vectors stay on disk as memory maps, items are read when first needed. `space` is the space they are in. There is
    one writer at a time; whoever has the index open goes on seeing what was there, until `refresh`.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], space: Space) -> None:
        self.path = path
        self._take(record, space, {})

    def _take(self, record: Mapping[str, Any], space: Space, held: Mapping[str, Sequence[Segment]]) -> None:
        """Take what a head says; a segment that is `held` already stays open, with what it has read."""
        segments = {
            m: [
                next((old for old in held.get(m, ()) if old.record == each), None)
                or Segment(self.path, each, space.dim + shelf["corrected"])
                for each in shelf["segments"]
            ]
            for m, shelf in sorted(record["modalities"].items())
        }
        self.space = space
        self.backend: str = record["backend"]
        """The backend asked for: exact, usearch, or auto, which chooses by size."""
        self.correction: Mapping[str, Any] | None = record.get("correction")
        """What the scores are corrected by, {modality: record}, or None."""
        self._shelves: Mapping[str, Mapping[str, Any]] = record["modalities"]
        self._segments: Mapping[str, list[Segment]] = segments
        self._columns: dict[str, dict[str, list[pa.ChunkedArray]]] = {}

    @classmethod
    def build(
        cls,
        path: str | Path,
        *,
        space: Space | str | Path,
        entries: Mapping[str, Vectors],
        bias: Mapping[str, Any] | None = None,
        correction: Mapping[str, Any] | None = None,
        backend: str = AUTO,
        progress: Progress = silent,
    ) -> "Index":
        """Map vectors of encoders into a space, write them as an index, and return it opened.

        `entries` holds the `Vectors` of each modality as a store gives them. `bias` {modality: (n,)} is taken off the
        scores of a modality's items (`parts.correctors`): it becomes one more dimension of the vectors, less its mean,
        so that modalities keep their places among each other. `correction` says in JSON values how it was made.
        `backend` is ``exact``, ``usearch``, or ``auto``, which takes usearch where there are many vectors.
        An index that is there already is replaced at once: a kill at any moment leaves the old one or the new one.

        Raises `WrongFingerprint` for vectors that the space does not accept, `BadInput` for no entries, equal ids
        in one modality, vectors or biases that are not finite, or a folder that holds other files, `NotFound` for an
        unknown backend and `MissingExtra` for one that is not installed.
        """
        space = space if isinstance(space, Space) else Space.load(space)
        writing.build(Path(path), space, entries, bias or {}, correction, backend, progress)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, fingerprints: Mapping[str, Fingerprint] | None = None) -> "Index":
        """Open an index; with `fingerprints` {modality: …}, refuse one whose space does not accept them.

        It reads no vectors: checksums are for `verify`. Raises `NotFound` where there is none, `BadInput` naming the
        file that is missing, damaged or of a newer format, and `WrongFingerprint` with the fields that differ.
        """
        path = Path(path)
        record, space = head.read(path, fingerprints)
        try:
            return cls(path, record, space)
        except BadInput:
            again, space = head.read(path, fingerprints)
            if again == record:
                raise
            return cls(path, again, space)  # a writer has replaced files between our reading the head and opening them

    def refresh(self) -> None:
        """Take what has been written since the index was opened; what has not changed is not read again."""
        record, space = head.read(self.path, None, self.space)
        try:
            self._take(record, space, self._segments)
        except BadInput:
            again, space = head.read(self.path, None, self.space)
            if again == record:
                raise
            self._take(again, space, self._segments)

    def refreshed(self) -> "Index":
        """Return the index with what has been written since; this one goes on showing what was there."""
        fresh = copy.copy(self)
        fresh.refresh()
        return fresh

    @property
    def modalities(self) -> list[str]:
        """The modalities that have items, in alphabetical order."""
        return sorted(self._shelves)

    def __len__(self) -> int:
        return sum(len(segment) for segments in self._segments.values() for segment in segments)

    def vectors(self, modality: str) -> np.ndarray:
        """Return the vectors of a modality in the space: (n, d) float32, read-only, a memory map when in one piece."""
        return self._whole(modality)[:, : self.space.dim]

    def bias(self, modality: str) -> np.ndarray | None:
        """Return what is taken off the scores of a modality's items (n,), or None where nothing is."""
        whole = self._whole(modality)
        return -whole[:, self.space.dim] if whole.shape[1] > self.space.dim else None

    def _whole(self, modality: str) -> np.ndarray:
        """Return the vectors that are alive, with the dimension of the bias where there is one."""
        segments = self._of(modality)
        if len(segments) == 1 and segments[0].live is None:
            return segments[0].vectors
        width = self.space.dim + self._shelves[modality]["corrected"]
        whole = np.concatenate(
            [
                np.empty((0, width), np.float32),
                *(s.vectors[slice(None) if s.live is None else s.live] for s in segments),
            ]
        )
        whole.flags.writeable = False
        return whole

    def items(self, modality: str) -> pa.Table:
        """Return the items of a modality, row by row those of `vectors`: the text columns, `meta` as JSON."""
        empty = pa.schema([(name, pa.string()) for name in ITEMS]).empty_table()
        alive = [s.items if s.live is None else s.items.take(pa.array(s.live)) for s in self._of(modality)]
        return pa.concat_tables([empty, *alive])

    def search(
        self,
        queries: Any,
        *,
        k: int | None = None,
        modality: str | Collection[str] | None = None,
        where: str | None = None,
        quota: Mapping[str, int] | None = None,
        corrected: bool = True,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Return the k best hits of every query, best first; 10 unless said otherwise.

        `queries` is (q, d), vectors in the space; `modality` restricts the hits to one modality or some. `where` keeps
        items that a filter fits (`index.where`), such as ``category == 'animals' and year > 2000``: the hits are then
        exactly the best of these, whatever the backend. `quota` {modality: most} gives the best so many of each
        modality named, all of them where no k is given, and of no other modality.

        Equal scores come in the order of modality and row. There are fewer than k hits when fewer items fit. An index
        that was built with a correction applies it, which costs nothing; without `corrected` the scores are the plain
        ones. `exact` searches exactly whatever the backend; scores are exact with every backend.

        Raises `NotFound` for an unknown modality or field, `BadInput` for queries that are not (q, d) finite numbers, a
        k or quota below 1, or a filter that cannot be read or compares with a value of another type.
        """
        most, k = self._limits(k, modality, quota)
        wanted = None if where is None else self._matching(parse(where))
        return self._found(queries, most, wanted, k, corrected, exact)

    def search_items(
        self,
        asked: str,
        items: Sequence[Any],
        /,
        *,
        k: int | None = None,
        modality: str | Collection[str] | None = None,
        where: str | None = None,
        quota: Mapping[str, int] | None = None,
        corrected: bool = True,
        exact: bool = False,
        encoder: Any = None,
        device: str = "cpu",
    ) -> list[list[Hit]]:
        """Return the k best hits of raw items (texts, pictures, …) of the modality `asked`.

        The space of the index encodes them as `Space.encode` does, with the same errors; the rest as in `search`.
        """
        most, k = self._limits(k, modality, quota)  # what cannot be searched is refused before an encoder is loaded
        wanted = None if where is None else self._matching(parse(where))
        queries = self.space.encode(asked, items, encoder=encoder, device=device)
        return self._found(queries, most, wanted, k, corrected, exact)

    def add(
        self, entries: Mapping[str, Vectors], *, bias: Mapping[str, Any] | None = None, progress: Progress = silent
    ) -> None:
        """Add items of modalities that the space maps, as in `build`; a kill at any moment leaves all or none of them.

        A modality that was corrected needs the `bias` of its new items too. Small segments are written again with the
        new one, so that there are few. Raises `BadInput` for an id that the index has already, a bias that is missing
        or not wanted, and what `build` raises; the index then is as it was.
        """
        writing.change(self.path, entries, bias or {}, (), replace=False, progress=progress)
        self.refresh()

    def upsert(
        self, entries: Mapping[str, Vectors], *, bias: Mapping[str, Any] | None = None, progress: Progress = silent
    ) -> None:
        """Add items, in the place of those of the same id where the index has them; the rest as in `add`."""
        writing.change(self.path, entries, bias or {}, (), replace=True, progress=progress)
        self.refresh()

    def remove(
        self, ids: Collection[str] | None = None, *, where: str | None = None, progress: Progress = silent
    ) -> int:
        """Remove the items of some ids, or those that a filter fits, and return how many; as safe as `add`.

        Raises `NotFound` for an id that the index has not, `BadInput` unless either `ids` or `where` is given.
        """
        if (ids is None) == (where is None):
            raise BadInput("remove takes either ids or a filter, such as where=\"category == 'animals'\"")
        self.refresh()
        if isinstance(ids, str):
            raise BadInput(f"{ids!r} is one id; remove takes a list of ids, such as [{ids!r}]")
        if ids is None:
            matching = self._matching(parse(str(where)))
            pairs = [(s, r) for m in self._segments for s, r in zip(self._segments[m], matching[m], strict=True)]
            ids = [name for s, chosen in pairs for name in s.items["id"].take(pa.array(chosen)).to_pylist()]
        gone = set(ids)
        if gone:
            before = len(self)
            writing.change(self.path, {}, {}, gone, replace=False, progress=progress)
            self.refresh()
            return before - len(self)
        return 0

    def compact(self, *, progress: Progress = silent) -> None:
        """Write every modality as one segment without what was removed; as safe as `add`."""
        writing.compact(self.path, progress)
        self.refresh()

    def status(self) -> dict[str, Any]:
        """Return what the index holds, as JSON values."""
        segments = [segment for each in self._segments.values() for segment in each]
        files = {stored["file"] for stored in head.files(self._shelves)}
        graphs = {
            m: [{"rows": s.rows, "backend": s.record["graph"]["backend"], **s.record["graph"]["settings"]} for s in of]
            for m, each in self._segments.items()
            if (of := [s for s in each if "graph" in s.record])
        }
        return {
            "path": str(self.path),
            "rows": {m: sum(len(s) for s in self._segments[m]) for m in self.modalities},
            "dim": self.space.dim,
            "backend": self.backend,
            "graphs": graphs,
            "segments": len(segments),
            "removed": sum(s.rows - len(s) for s in segments),
            "bytes": sum((self.path / file).stat().st_size for file in files),
            "space": self.space.digest,
            "fingerprints": {m: self._shelves[m]["fingerprint"] for m in self.modalities},
            **({} if self.correction is None else {"correction": dict(self.correction)}),
        }

    def verify(self) -> dict[str, str]:
        """Read every byte and return {file: what is wrong with it}; empty when all is well."""
        wrong = {}
        for stored in head.files(self._shelves):
            path = self.path / stored["file"]
            if not path.is_file():
                wrong[stored["file"]] = f"{path} is missing: {head.AGAIN}"
            elif sha256_of(path) != stored["sha256"]:
                wrong[stored["file"]] = f"{path} is damaged: its SHA-256 is not that of what was written; {head.AGAIN}"
        return wrong

    def _found(
        self,
        queries: Any,
        most: Mapping[str, int],
        wanted: Mapping[str, Sequence[np.ndarray]] | None,
        k: int,
        corrected: bool,
        exact: bool,
    ) -> list[list[Hit]]:
        """Return the hits of a search whose words have been read."""
        queries = np.asarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.space.dim:
            raise BadInput(f"queries of shape (q, {self.space.dim}) are expected, got {queries.shape}")
        if (bad := np.flatnonzero(~np.isfinite(queries).all(axis=1))).size:
            raise BadInput(f"{len(bad)} of {len(queries)} queries hold NaN or infinity, the first is row {bad[0]}")
        longer = np.concatenate([queries, np.full((len(queries), 1), corrected, dtype=np.float32)], axis=1)
        places: list[Segment] = []
        starts = [0]
        found = [_nothing(len(queries))]
        for m, limit in most.items():
            has_bias = self._shelves[m]["corrected"]
            asked = longer if has_bias else queries
            plain = has_bias and not corrected  # the graph leads to items of a good bias
            parts = [_nothing(len(queries))]
            for i, segment in enumerate(self._segments[m]):
                chosen = None if wanted is None else wanted[m][i]
                scores, ids = segment.search(asked, limit, chosen, exact=exact or plain)
                parts.append((scores, ids + starts[-1]))
                places.append(segment)
                starts.append(starts[-1] + segment.rows)
            found.append(_best(parts, limit))
        scores, codes = _best(found, k)
        return _hits(scores, codes, places, np.array(starts))

    def _of(self, modality: str) -> list[Segment]:
        if modality not in self._shelves:
            raise NotFound.named("modality", modality, self._shelves, f"in {self.path}")
        return self._segments[modality]

    def _limits(
        self, k: int | None, modality: str | Collection[str] | None, quota: Mapping[str, int] | None
    ) -> tuple[dict[str, int], int]:
        """Return how many hits a search gives at most: of each modality, in their order, and in all.

        In all it is `k`, without one all that a quota allows, and K where there is neither.
        """
        if quota is not None and modality is not None:
            raise BadInput("a search takes either modality or quota, which names the modalities already")
        if quota is not None and not quota:
            raise BadInput("quota is empty: name a modality and how many hits of it, such as {'image': 5}")
        whole = K if quota is None else None
        if quota is None:
            names = self.modalities if modality is None else [modality] if isinstance(modality, str) else modality
            quota = dict.fromkeys(sorted(set(names)), K if k is None else k)
        for name, limit in {**quota, "k": 1 if k is None else k}.items():
            if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
                what = "k" if name == "k" or limit is k else f"the quota of {name}"
                raise BadInput(f"{what} must be at least 1, got {limit!r}")
        for name in quota:
            self._of(name)
        most = {name: min(int(quota[name]), sum(len(s) for s in self._segments[name])) for name in sorted(quota)}
        return most, k or whole or sum(most.values())

    def _matching(self, wanted: Filter) -> dict[str, list[np.ndarray]]:
        """Return {modality: rows of each segment} that a filter fits and that are alive."""
        columns = {name: self._column(name) for name in wanted.names}
        places = [(m, segment) for m, segments in self._segments.items() for segment in segments]
        arrays = {name: [a for m in self._segments for a in of[m]] for name, of in columns.items()}
        found = iter(rows(wanted, arrays, [segment.rows for _, segment in places]) if places else [])
        return {m: [segment.among(next(found)) for segment in segments] for m, segments in self._segments.items()}

    def _column(self, name: str) -> dict[str, list[pa.ChunkedArray]]:
        """Return {modality: a column or field of each segment}, numbers where all values of a field are."""
        if name not in self._columns:
            segments = [segment for each in self._segments.values() for segment in each]
            arrays = [segment.column(name) for segment in segments]
            if name.startswith(META):
                if all(a.null_count == len(a) for a in arrays):
                    raise unknown(name, (segment.items for segment in segments))
                arrays = numbered(arrays)
            each = iter(arrays)
            self._columns[name] = {m: [next(each) for _ in of] for m, of in self._segments.items()}
        return self._columns[name]


Found = tuple[np.ndarray, np.ndarray]
"""Scores and codes (q, k), best first; a code is a row, counted through all segments of a search."""


def _nothing(q: int) -> Found:
    return np.empty((q, 0), np.float32), np.empty((q, 0), np.int64)


def _best(parts: Sequence[Found], k: int) -> Found:
    """Return the k best of several results, of equal scores those that come first."""
    scores, codes = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(codes, order, axis=1)


def _hits(scores: np.ndarray, codes: np.ndarray, places: Sequence[Segment], starts: np.ndarray) -> list[list[Hit]]:
    """Return the hits of scores and codes; each item is looked up once."""
    records: dict[int, dict[str, Any]] = {}
    unique = np.unique(codes)
    for i, segment in enumerate(places):
        mine = unique[(unique >= starts[i]) & (unique < starts[i + 1])]
        if len(mine):
            found = segment.items.take(pa.array(mine - starts[i])).to_pylist()
            records.update(zip(mine.tolist(), found, strict=True))
    return [
        [Hit.of(records[code], score) for code, score in zip(of, values, strict=True)]
        for of, values in zip(codes.tolist(), scores.tolist(), strict=True)
    ]
