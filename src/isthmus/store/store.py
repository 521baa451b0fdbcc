"""The store: vectors on disk with what they stand for and which encoder made them.

A store is a folder of Parquet parts and a manifest that names them. There is one row a *record* (a picture, a name
in one language); rows of equal `key` belong together across modalities. A part holds the vectors of one encoder,
in a column named by its fingerprint, so that vectors of different make never mix.

>>> store = Store.create(folder, source={"name": "two words"})
>>> with store.writer(fingerprint) as writer:
...     writer.add(records, vectors)
>>> store.vectors("text").x.shape
(2, 4)
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.core.errors import BadInput, NotFound
from isthmus.store import manifest as manifests
from isthmus.store import parts
from isthmus.store.disk import claim, clean, locked, sha256_of
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.manifest import MANIFEST, Part
from isthmus.store.rows import COLUMNS, Vectors
from isthmus.store.writer import Writer

__all__ = ["Store"]


class Store:
    """Vectors of records in a folder; open one with `Store.open`, make one with `Store.create`.

    What a store shows is the state at opening, plus what its own writers add: writers only ever add parts, so other
    processes may read while one writes; after a `remove` they must open it again. Memory is that of the result, and of
    one part while reading.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, path: str | Path, *, source: Mapping[str, Any]) -> "Store":
        """Make an empty store; `source` says where its records come from, in JSON values.

        Raises `BadInput` when the folder holds a store, or other files.
        """
        path = Path(path)
        claim(path, head=MANIFEST, leftovers=(), kind="a store")
        with locked(path, kind="a store"):
            if (path / MANIFEST).exists():
                raise BadInput(f"{path} is a store already: open it, or choose another folder")
            manifest = manifests.fresh(source)
            manifests.write(path, manifest)
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store. Raises `NotFound` where there is none, `BadInput` for a newer format or a damaged manifest."""
        return cls(Path(path), manifests.read(Path(path)))

    @classmethod
    def open_or_create(cls, path: str | Path, *, source: Mapping[str, Any]) -> "Store":
        """Open the store of a folder, or make one.

        Raises `BadInput` when it holds another source, by its name, or a folder that lies elsewhere (``by_path``).
        """
        if not (Path(path) / MANIFEST).exists():
            return cls.create(path, source=source)
        store = cls.open(path)
        held = store.manifest["source"].get("name")
        if held != source.get("name"):
            raise BadInput(f"{path} holds {held!r}, not {source.get('name')!r}: one store has one source")
        root = store.manifest["source"].get("root")
        if source.get("by_path") and root != source.get("root"):
            raise BadInput(
                f"{path} holds the folder {root}, not {source.get('root')}: one store has one source. If the folder "
                "has moved, embed it into a new store"
            )
        return store

    def refresh(self) -> None:
        """Read the manifest again, to see what other processes have added."""
        self.manifest = manifests.read(self.path)

    @property
    def parts(self) -> list[Part]:
        """The parts, in the order in which they were added."""
        return list(self.manifest["parts"])

    @property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """The fingerprint of every vector column."""
        return {name: Fingerprint.from_json(stored) for name, stored in self.manifest["fingerprints"].items()}

    def modalities(self) -> list[str]:
        """Return the modalities that have vectors, in alphabetical order."""
        return sorted({part["modality"] for part in self.parts})

    def fingerprint(self, modality: str, encoder: str | None = None) -> Fingerprint:
        """Return the fingerprint of a modality's vectors.

        `encoder` is an encoder's name or a column; it is needed where several encoders were used. Raises
        `NotFound` for what the store has not, `BadInput` where several fit.
        """
        if modality not in self.modalities():
            raise NotFound.named("modality", modality, self.modalities(), f"in {self.path}")
        filled = {part["column"] for part in self.parts if part["modality"] == modality}
        columns = {name: f for name, f in self.fingerprints.items() if name in filled}
        fitting = [f for name, f in columns.items() if encoder in (None, f.encoder, name)]
        if not fitting:
            raise NotFound.named(f"encoder of {modality}", str(encoder), columns, f"in {self.path}")
        if len(fitting) > 1:
            raise BadInput(
                f"{self.path} has {modality} vectors of {len(fitting)} encoders, name one of them: "
                f"{', '.join(sorted(f.column for f in fitting))}"
            )
        return fitting[0]

    def records(self, modality: str | None = None, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Return the records, of one modality or of all, once each, as an Arrow table of text `columns`."""
        if unknown := sorted(set(columns) - set(COLUMNS)):
            raise NotFound.named("column", unknown[0], COLUMNS)
        if modality is not None and modality not in self.modalities():
            raise NotFound.named("modality", modality, self.modalities(), f"in {self.path}")
        chosen = [part for part in self.parts if modality in (None, part["modality"])]
        needed = tuple(dict.fromkeys(("id", *columns)))
        table = self._text(chosen, needed)
        if len({p["column"] for p in chosen}) > len({p["modality"] for p in chosen}) or _superseded(chosen):
            table = table.take(pa.array(_latest(table["id"])))
        return table.select(list(columns))

    def vectors(self, modality: str, encoder: str | None = None, keys: Collection[str] | None = None) -> Vectors:
        """Return the vectors of a modality, in the order in which they were added; only those of `keys`, if given.

        The array is writable and belongs to the caller. Raises `NotFound` for an unknown modality or encoder,
        `BadInput` where several encoders fit or a part is damaged.
        """
        fingerprint = self.fingerprint(modality, encoder)
        chosen = [part for part in self.parts if part["column"] == fingerprint.column]
        text = self._text(chosen, COLUMNS)
        wanted = np.ones(text.num_rows, dtype=bool)
        if _superseded(chosen):
            wanted[:] = False
            wanted[_latest(text["id"])] = True
        if keys is not None:
            wanted &= np.asarray(pc.is_in(text["key"], pa.array(sorted(keys), pa.string())))
        x = np.empty((int(wanted.sum()), fingerprint.dim), dtype=np.float32)
        read = filled = 0
        for part in chosen:
            of_part = wanted[read : read + part["rows"]]
            read += part["rows"]
            if count := int(of_part.sum()):
                column = parts.read(self.path, part, fingerprint, [fingerprint.column])[fingerprint.column]
                stored = parts.matrix(column, fingerprint.dim, self.path / part["file"])
                x[filled : filled + count] = stored if count == len(stored) else stored[of_part]
                filled += count
        return Vectors.from_arrow(text.filter(pa.array(wanted)), x, fingerprint)

    def content_hashes(self, column: str) -> dict[str, str]:
        """Return {id: content hash} of what a vector column holds."""
        table = self._text([part for part in self.parts if part["column"] == column], ("id", "content_hash"))
        return dict(zip(table["id"].to_pylist(), table["content_hash"].to_pylist(), strict=True))

    def rejected(self) -> pa.Table:
        """Return the rows that were set aside: id, key, modality, variant, uri and the reason."""
        schema = pa.schema([(name, pa.string()) for name in parts.REJECTED_COLUMNS])
        return pa.Table.from_pylist(parts.read_rejected(self.path), schema=schema)

    def set_aside(self, reasons: Mapping[str, str]) -> None:
        """Note what cannot become rows at all, such as files that no reader knows: {name: reason}.

        It takes the place of what an earlier call noted; rows that a writer rejected stay.
        """
        with locked(self.path, kind="a store"):
            rows = [row for row in parts.read_rejected(self.path) if row["modality"] is not None]
            rows += [{"id": name, "key": name, "reason": reason} for name, reason in reasons.items()]
            parts.write_rejected(self.path, rows)

    def writer(
        self, fingerprint: Fingerprint, *, rows_per_part: int | None = None, seconds_per_part: float = 20.0
    ) -> Writer:
        """Return a context manager that adds vectors of one encoder; there is one writer of a store at a time."""
        return Writer(self, fingerprint, rows_per_part=rows_per_part, seconds_per_part=seconds_per_part)

    def status(self) -> dict[str, Any]:
        """Return what the store holds, as JSON values."""
        rows: dict[str, dict[str, int]] = {}
        for part in self.parts:
            columns = rows.setdefault(part["modality"], {})
            columns[part["column"]] = columns.get(part["column"], 0) + part["rows"] - part["supersedes"]
        return {
            "path": str(self.path),
            "source": self.manifest["source"],
            "rows": rows,
            "parts": len(self.parts),
            "bytes": sum(part["bytes"] for part in self.parts),
            "rejected": len(parts.read_rejected(self.path)),
        }

    def verify(self) -> dict[str, str]:
        """Read every byte and return {part file: what is wrong with it}; empty when all is well."""
        wrong = {}
        for part in self.parts:
            path = self.path / part["file"]
            if not path.is_file():
                wrong[part["file"]] = f"{path} is missing"
            elif sha256_of(path) != part["sha256"]:
                wrong[part["file"]] = f"{path} is damaged: its SHA-256 is not that of what was written"
        return wrong

    def repair(self) -> dict[str, str]:
        """Drop the parts that `verify` finds wrong, and return what it said; the next embed makes their rows again."""
        with locked(self.path, kind="a store"):
            self.refresh()
            if wrong := self.verify():
                self._replace({**self.manifest, "parts": [p for p in self.parts if p["file"] not in wrong]})
        return wrong

    def remove(self, ids: Collection[str]) -> int:
        """Take rows out, of every encoder, and return how many ids there were; all of them go at one moment.

        The parts that hold them are written anew without them. Whoever reads meanwhile sees the state before.
        """
        gone = pa.array(sorted(set(ids)), pa.string())
        with locked(self.path, kind="a store"):
            self.refresh()
            kept: list[Part] = []
            found: set[str] = set()
            number = self._next_number()
            for part in self.parts:
                own = pc.is_in(self._text([part], ("id",))["id"], gone)
                if not pc.any(own).as_py():
                    kept.append(part)
                    continue
                fingerprint = self.fingerprints[part["column"]]
                table = parts.read(self.path, part, fingerprint, (*COLUMNS, fingerprint.column))
                found |= set(table["id"].filter(own).to_pylist())
                left = table.filter(pc.invert(own))
                if left.num_rows:
                    x = parts.matrix(left[fingerprint.column], fingerprint.dim, self.path / part["file"])
                    name = f"part-{number:05d}.parquet"
                    kept.append(parts.write(self.path, name, left.select(COLUMNS), [x], fingerprint))
                    number += 1
            if found:
                self._replace({**self.manifest, "parts": _recounted(kept, lambda p: self._text([p], ("id",))["id"])})
            clean(self.path, ["part-*.parquet"], {p["file"] for p in self.parts})
            rejected = parts.read_rejected(self.path)
            if any(row["id"] in set(ids) for row in rejected):
                parts.write_rejected(self.path, [row for row in rejected if row["id"] not in set(ids)])
        return len(found)

    # What the writer needs, under its lock.

    @property
    def next_part(self) -> str:
        """File name of the part that comes next."""
        return f"part-{self._next_number():05d}.parquet"

    def _next_number(self) -> int:
        numbers = [int(part["file"].removeprefix("part-").removesuffix(".parquet")) for part in self.parts]
        return max(numbers, default=-1) + 1

    def add_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Make sure that the manifest has the vector column of a fingerprint."""
        if held := self.fingerprints.get(fingerprint.column):
            held.require(fingerprint, "what is to be written")
        else:
            columns = {**self.manifest["fingerprints"], fingerprint.column: fingerprint.to_json()}
            self._replace({**self.manifest, "fingerprints": columns})

    def add_part(self, part: Part) -> None:
        """Commit a part that is on disk."""
        self._replace({**self.manifest, "parts": [*self.parts, part]})

    def _replace(self, manifest: dict[str, Any]) -> None:
        manifests.write(self.path, manifest)
        self.manifest = manifest

    def _text(self, chosen: Sequence[Part], columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([(name, pa.string()) for name in columns])
        known = self.fingerprints
        tables = [parts.read(self.path, part, known[part["column"]], columns) for part in chosen]
        # A string column of more than 2 GB does not fit one array; the table stays in chunks.
        return pa.concat_tables([schema.empty_table(), *(t.cast(schema) for t in tables)])


def _recounted(chosen: Sequence[Part], ids_of: Callable[[Part], pa.ChunkedArray]) -> list[Part]:
    """Return parts with the number of rows of each that take the place of an earlier one."""
    seen: dict[str, set[str]] = {}
    counted: list[Part] = []
    for part in chosen:
        ids = set(ids_of(part).to_pylist())
        before = seen.setdefault(part["column"], set())
        counted.append({**part, "supersedes": len(ids & before)})
        before |= ids
    return counted


def _superseded(chosen: Sequence[Part]) -> bool:
    return any(part["supersedes"] for part in chosen)


def _latest(ids: pa.ChunkedArray) -> np.ndarray:
    """Return the positions of the last row of each id, in order."""
    last = {i: position for position, i in enumerate(ids.to_pylist())}
    return np.fromiter(sorted(last.values()), dtype=np.int64, count=len(last))
