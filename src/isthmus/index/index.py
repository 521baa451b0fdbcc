"""An index: items of several modalities in one space, searchable, in one folder that holds all it needs.

    index.json               what is in it, written last: a folder without it is no index
    space-0123abcd/          the space, so that a text or picture can be searched for
    image-1a2b3c4d.npy       vectors in the space (n, d), opened as a memory map; (n, d + 1) where they are corrected
    image-5e6f7a8b.parquet   the items: id, key, group, modality, variant, text, uri, meta

>>> index = Index.open(folder)
>>> [hit.key for hit in index.search(queries, k=2, modality="image")[0]]
['cat', 'dog']
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import isthmus
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.index.exact import exact_search
from isthmus.space import Space
from isthmus.store.disk import HEX8, claim, clean, filed, locked, plain_name, read_json, sha256_of, write_json
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import Vectors

__all__ = ["Hit", "Index"]

FORMAT_VERSION = 2
"""Written as 1 while nothing is corrected, so that what older versions can read they read."""
HEAD = "index.json"
ITEMS = ("id", "key", "group", "modality", "variant", "text", "uri", "meta")
FILES = (f"*-{HEX8}.npy", f"*-{HEX8}.parquet", f"space-{HEX8}")
BLOCK = 16384
"""Vectors mapped into the space and written at a time."""
AGAIN = "build the index again"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """An item found: `score` is its inner product with the query, a cosine where the space has unit length.

    In a corrected search it is that less the item's bias, which is 0 in the mean over a modality's items.
    """

    id: str
    key: str
    modality: str
    variant: str
    score: float
    text: str | None = None
    uri: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class Index:
    """Items of several modalities in one space; make one with `Index.build`, open it with `Index.open`.

    Vectors stay on disk as memory maps, items are read when first needed. `space` is the space they are in.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], space: Space) -> None:
        self.path = path
        self.space = space
        self.correction: Mapping[str, Any] | None = head.get("correction")
        """What the scores are corrected by, {modality: record}, or None."""
        self._shelves: Mapping[str, Mapping[str, Any]] = head["modalities"]
        self._vectors: dict[str, np.ndarray] = {}
        self._items: dict[str, pa.Table] = {}

    @classmethod
    def build(
        cls,
        path: str | Path,
        *,
        space: Space | str | Path,
        entries: Mapping[str, Vectors],
        bias: Mapping[str, Any] | None = None,
        correction: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> "Index":
        """Map vectors of encoders into a space, write them as an index, and return it opened.

        `entries` holds the `Vectors` of each modality as a store gives them. `bias` {modality: (n,)} is taken off the
        scores of a modality's items (`parts.correctors`): it becomes one more dimension of the vectors, less its mean,
        so that modalities keep their places among each other. `correction` says in JSON values how it was made.
        An index that is there already is replaced at once: a kill at any moment leaves the old one or the new one.

        Raises `WrongFingerprint` for vectors that the space does not accept, `BadInput` for no entries, equal ids
        in one modality, vectors or biases that are not finite, or a folder that holds other files.
        """
        path = Path(path)
        space = space if isinstance(space, Space) else Space.load(space)
        if not entries:
            raise BadInput(f"an index needs vectors of at least one modality; the space maps {space.modalities}")
        for modality, vectors in entries.items():
            space.accepts(modality, vectors.fingerprint)
            ids, counts = np.unique(vectors.ids, return_counts=True)
            if len(ids) < len(vectors):
                raise BadInput(f"{modality}: the id {str(ids[counts > 1][0])!r} occurs {counts.max()} times")
        biases = _checked(bias or {}, entries)
        claim(path, head=HEAD, leftovers=FILES, kind="an index")
        with locked(path, kind="an index"):
            folder = f"space-{space.digest[:8]}"
            space.save(path / folder)
            shelves = {m: _write_shelf(path, space, m, entries[m], biases.get(m), progress) for m in sorted(entries)}
            head = {
                "format_version": FORMAT_VERSION if biases else 1,
                "isthmus_version": isthmus.__version__,
                "dim": space.dim,
                "space": {"folder": folder, "digest": space.digest},
                "modalities": shelves,
                **({} if correction is None else {"correction": dict(correction)}),
            }
            write_json(path / HEAD, head)
            named = {shelf[kind]["file"] for shelf in shelves.values() for kind in ("vectors", "items")}
            clean(path, FILES, {folder, *named})
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, fingerprints: Mapping[str, Fingerprint] | None = None) -> "Index":
        """Open an index; with `fingerprints` {modality: …}, refuse one whose space does not accept them.

        Raises `NotFound` where there is none, `BadInput` naming the file that is missing, damaged or of a newer
        format, and `WrongFingerprint` with the fields that differ.
        """
        head = Path(path) / HEAD
        record = read_json(head, kind="an index", format_version=FORMAT_VERSION)
        try:
            folder = plain_name(record["space"]["folder"], ending="", source=head)
            space = Space.load(head.parent / folder, fingerprints=fingerprints)
            if space.digest != record["space"]["digest"] or space.dim != record["dim"]:
                raise BadInput(f"{head} is damaged: its vectors are not of the space in {folder}; {AGAIN}")
            for modality, shelf in record["modalities"].items():
                space.accepts(modality, Fingerprint.from_json(shelf["fingerprint"]))
                for kind, ending in (("vectors", ".npy"), ("items", ".parquet")):
                    plain_name(shelf[kind]["file"], ending=ending, source=head)
                    if not isinstance(shelf[kind]["sha256"], str):
                        raise BadInput(f"{head} is damaged: no checksum of {shelf[kind]['file']}; {AGAIN}")
                if type(shelf["rows"]) is not int:
                    raise BadInput(f"{head} is damaged: {modality} has {shelf['rows']!r} rows; {AGAIN}")
                if type(shelf.get("corrected", False)) is not bool:
                    raise BadInput(f"{head} is damaged: {modality} is corrected {shelf['corrected']!r}; {AGAIN}")
            if not isinstance(record.get("correction", {}), dict):
                raise BadInput(f"{head} is damaged: its correction is {record['correction']!r}; {AGAIN}")
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{head} is damaged: {type(error).__name__} {error}; {AGAIN}") from error
        index = cls(head.parent, record, space)
        for modality in index.modalities:
            index._mapped(modality)
        return index

    @property
    def modalities(self) -> list[str]:
        """The modalities that have items, in alphabetical order."""
        return sorted(self._shelves)

    def __len__(self) -> int:
        return sum(shelf["rows"] for shelf in self._shelves.values())

    def vectors(self, modality: str) -> np.ndarray:
        """Return the vectors of a modality in the space: (n, d) float32, a read-only memory map."""
        return self._mapped(modality)[:, : self.space.dim]

    def bias(self, modality: str) -> np.ndarray | None:
        """Return what is taken off the scores of a modality's items (n,), or None where nothing is."""
        mapped = self._mapped(modality)
        return -mapped[:, self.space.dim] if mapped.shape[1] > self.space.dim else None

    def _mapped(self, modality: str) -> np.ndarray:
        """Return the vectors as they lie in the file, with the dimension of the bias where there is one."""
        shelf = self._shelf(modality)
        if modality not in self._vectors:
            path = self.path / shelf["vectors"]["file"]
            shape = (shelf["rows"], self.space.dim + shelf.get("corrected", False))
            try:
                x = np.load(path, mmap_mode="r" if shelf["rows"] else None, allow_pickle=False)
            except FileNotFoundError as error:
                raise BadInput(f"{path} is missing: {AGAIN}") from error
            except (ValueError, OSError, EOFError) as error:
                raise BadInput(f"{path} is damaged: {error}; {AGAIN}") from error
            if x.shape != shape or x.dtype != np.float32 or not x.flags.c_contiguous:
                raise BadInput(f"{path} is damaged: {x.dtype} of shape {x.shape}, expected float32 of {shape}; {AGAIN}")
            self._vectors[modality] = x
        return self._vectors[modality]

    def items(self, modality: str) -> pa.Table:
        """Return the items of a modality, row by row those of `vectors`: the text columns, `meta` as JSON."""
        shelf = self._shelf(modality)
        if modality not in self._items:
            path = self.path / shelf["items"]["file"]
            _verify(path, shelf["items"]["sha256"])  # it is read whole, so that the check costs little
            table = pq.read_table(path, columns=list(ITEMS))
            if table.num_rows != shelf["rows"]:
                raise BadInput(f"{path} is damaged: {table.num_rows} rows, expected {shelf['rows']}; {AGAIN}")
            self._items[modality] = table
        return self._items[modality]

    def search(
        self,
        queries: Any,
        *,
        k: int = 10,
        modality: str | Collection[str] | None = None,
        corrected: bool = True,
    ) -> list[list[Hit]]:
        """Return the k best hits of every query, best first.

        `queries` is (q, d), vectors in the space; `modality` restricts the hits to one modality or some. Equal
        scores come in the order of modality and row, so that the result is always the same. There are fewer than
        k hits when the index has fewer items. An index that was built with a correction applies it, which costs
        nothing; without `corrected` the scores are the plain ones. Raises `NotFound` for an unknown modality,
        `BadInput` for queries that are not (q, d) finite numbers or k below 1.
        """
        chosen = (
            self.modalities if modality is None else [modality] if isinstance(modality, str) else sorted(set(modality))
        )
        queries = np.asarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.space.dim:
            raise BadInput(f"queries of shape (q, {self.space.dim}) are expected, got {queries.shape}")
        last = np.full((len(queries), 1), corrected, dtype=np.float32)
        longer = np.concatenate([queries, last], axis=1)
        found = []
        for m in chosen:
            mapped = self._mapped(m)
            found.append(exact_search(longer if mapped.shape[1] > self.space.dim else queries, mapped, k=k))
        hits: list[list[Hit]] = [[] for _ in queries]
        for name, (scores, ids) in zip(chosen, found, strict=True):
            rows = self.items(name).take(pa.array(ids.ravel())).to_pylist()
            for number, score in enumerate(scores.ravel().tolist()):
                hits[number // ids.shape[1]].append(_hit(rows[number], score))
        return [sorted(of_query, key=lambda hit: -hit.score)[:k] for of_query in hits]

    def search_items(
        self,
        asked: str,
        items: Sequence[Any],
        /,
        *,
        k: int = 10,
        modality: str | Collection[str] | None = None,
        corrected: bool = True,
        encoder: Any = None,
        device: str = "cpu",
    ) -> list[list[Hit]]:
        """Return the k best hits of raw items (texts, pictures, …) of the modality `asked`.

        The space of the index encodes them as `Space.encode` does, with the same errors; the rest as in `search`.
        """
        queries = self.space.encode(asked, items, encoder=encoder, device=device)
        return self.search(queries, k=k, modality=modality, corrected=corrected)

    def status(self) -> dict[str, Any]:
        """Return what the index holds, as JSON values."""
        files = [self.path / shelf[kind]["file"] for shelf in self._shelves.values() for kind in ("vectors", "items")]
        return {
            "path": str(self.path),
            "rows": {m: self._shelves[m]["rows"] for m in self.modalities},
            "dim": self.space.dim,
            "bytes": sum(file.stat().st_size for file in files),
            "space": self.space.digest,
            "fingerprints": {m: self._shelves[m]["fingerprint"] for m in self.modalities},
            **({} if self.correction is None else {"correction": dict(self.correction)}),
        }

    def verify(self) -> dict[str, str]:
        """Read every byte and return {file: what is wrong with it}; empty when all is well."""
        wrong = {}
        for shelf in self._shelves.values():
            for kind in ("vectors", "items"):
                try:
                    _verify(self.path / shelf[kind]["file"], shelf[kind]["sha256"])
                except BadInput as error:
                    wrong[shelf[kind]["file"]] = str(error)
        return wrong

    def _shelf(self, modality: str) -> Mapping[str, Any]:
        if modality not in self._shelves:
            raise NotFound.named("modality", modality, self._shelves, f"in {self.path}")
        return self._shelves[modality]


def _checked(bias: Mapping[str, Any], entries: Mapping[str, Vectors]) -> dict[str, np.ndarray]:
    """Return the biases (n,) less their mean, in float32."""
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
        checked[modality] = (of_items - (of_items.mean() if len(of_items) else 0.0)).astype("<f4")
    return checked


def _write_shelf(
    path: Path, space: Space, modality: str, vectors: Vectors, bias: np.ndarray | None, progress: Progress
) -> dict[str, Any]:
    """Write the vectors and items of a modality and return their entry in the head."""
    table = pa.table(
        {
            "id": pa.array(vectors.ids.tolist(), pa.string()),
            "key": pa.array(vectors.keys.tolist(), pa.string()),
            "group": pa.array(vectors.groups.tolist(), pa.string()),
            "modality": pa.array([modality] * len(vectors), pa.string()),
            "variant": pa.array(vectors.variants.tolist(), pa.string()),
            "text": pa.array(vectors.texts, pa.string()),
            "uri": pa.array(vectors.uris, pa.string()),
            "meta": pa.array([json.dumps(dict(m), ensure_ascii=False, sort_keys=True) for m in vectors.meta]),
        }
    )

    def write_vectors(partial: Path) -> None:
        width = space.dim + (bias is not None)
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(vectors), width)}
        progress(f"index {modality}", 0, len(vectors))
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(vectors), BLOCK):
                mapped = space.transform(modality, vectors.x[start : start + BLOCK])
                if bias is not None:
                    mapped = np.column_stack([mapped, -bias[start : start + BLOCK]])
                file.write(np.ascontiguousarray(mapped, dtype="<f4").data)
                progress(f"index {modality}", start + len(mapped), len(vectors))

    stem = re.sub(r"[^A-Za-z0-9]+", "_", modality)
    npy, npy_sha = filed(path, stem, ".npy", write_vectors)
    parquet, parquet_sha = filed(path, stem, ".parquet", lambda partial: pq.write_table(table, partial))
    return {
        "rows": len(vectors),
        "fingerprint": vectors.fingerprint.to_json(),
        "vectors": {"file": npy, "sha256": npy_sha},
        "items": {"file": parquet, "sha256": parquet_sha},
        **({} if bias is None else {"corrected": True}),
    }


def _verify(path: Path, sha256: str) -> None:
    """Raise `BadInput` unless a file is what was written."""
    if not path.is_file():
        raise BadInput(f"{path} is missing: {AGAIN}")
    if sha256_of(path) != sha256:
        raise BadInput(f"{path} is damaged: its SHA-256 is not that of what was written; {AGAIN}")


def _hit(row: Mapping[str, Any], score: float) -> Hit:
    fields = {name: row[name] for name in ("id", "key", "modality", "variant", "text", "uri")}
    return Hit(**fields, score=score, meta=json.loads(row["meta"]))
