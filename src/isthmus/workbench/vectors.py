"""`take_vectors`: ready-made vectors into a store, so that everything after `embed` works on them.

Vectors lie in ``.npy`` files (one, or a folder of them in order), or in a column of lists in Parquet. The layout of
clip-retrieval (``img_emb/``, ``text_emb/`` and ``metadata/`` side by side) is understood: the metadata name the items.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus import encoders
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.data.records import Record
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.store import Store

__all__ = ["take_vectors"]

BLOCK = 8192
KEYS = ("key", "id", "image_path", "path", "url")
"""Columns of metadata that name the item, the first that is there."""
TEXTS = ("caption", "text", "title")


def take_vectors(
    vectors: Mapping[str, str | Path],
    *,
    out: str | Path,
    encoder: str | Path | Mapping[str, str | Path] = "vectors",
    metadata: str | Path | None = None,
    progress: Progress = silent,
) -> Store:
    """Put vectors {modality: file or folder} into a store, and return it.

    Row i of every modality is the same item. `encoder` says what made them, for all modalities or for each: the name
    of an encoder that Isthmus knows (spaces of that encoder then accept them), a JSON file with a fingerprint, or any
    name of your own. `metadata` is a Parquet file, or a folder of them in order, whose columns name the items (key, id,
    image_path), their text (caption) and fields to filter by; without it a folder ``metadata`` beside the vectors.

    Again with the same files, nothing is written; a killed run goes on. Rows that hold NaN, infinity or zeros alone are
    set aside by their number. Raises, before anything is written, `NotFound` for what is not there, `BadInput` for
    files that hold no vectors of one width, another width than the encoder's, or as many rows as the metadata.
    """
    if not vectors:
        raise BadInput("name vectors of at least one modality, such as image=img_emb/")
    parts = {m: _parts(Path(path)) for m, path in vectors.items()}
    shapes = {m: _shape(files) for m, files in parts.items()}
    named = encoder if isinstance(encoder, Mapping) else dict.fromkeys(vectors, encoder)
    if missing := sorted(set(vectors) - set(named)):
        raise BadInput(f"say what made the vectors of {', '.join(missing)}")
    prints = {m: _fingerprint(str(named[m]), m, shapes[m][1], parts[m]) for m in vectors}
    described = _described(metadata, next(iter(parts.values()))[0])
    for m, (rows, _) in shapes.items():
        if described is not None and described.num_rows != rows:
            raise BadInput(f"{rows} vectors of {m}, and {described.num_rows} rows of metadata: one each is needed")
    source = {"name": Path(out).name, "title": "ready-made vectors", "by_path": False, "root": None}
    store = Store.open_or_create(out, source=source)
    for m in vectors:
        _take(store, m, parts[m], shapes[m], prints[m], described, progress)
    return store


def _take(
    store: Store,
    modality: str,
    files: list[Path],
    shape: tuple[int, int],
    fingerprint: Fingerprint,
    described: pa.Table | None,
    progress: Progress,
) -> None:
    stage = f"take {modality}"
    with store.writer(fingerprint) as writer:
        for start, block in _blocks(files):
            rows = _items(described, modality, start, len(block))
            good = np.isfinite(block).all(1) & block.any(1)
            records, kept = [], []
            for i, (item, vector) in enumerate(zip(rows, block, strict=True)):
                record = _record(modality, item, vector)
                if not good[i]:
                    writer.reject(record, f"row {start + i}: the vector holds NaN, infinity or zeros alone")
                elif not writer.has(record.id, record.digest()):
                    records.append(record)
                    kept.append(i)
            if kept:
                writer.add(records, block[kept])
            progress(stage, start + len(block), shape[0])


def _record(modality: str, item: Mapping[str, Any], vector: np.ndarray) -> Record:
    digest = hashlib.sha256(vector.tobytes()).hexdigest()
    return Record(modality=modality, load=_unreadable, digest=functools.partial(str, digest), **item)


def _unreadable() -> NoReturn:
    raise BadInput("this item came as a vector; there is nothing to read")


def _items(described: pa.Table | None, modality: str, start: int, n: int) -> list[dict[str, Any]]:
    """Return what is said of some rows: key, text, uri, fields."""
    if described is None:
        return [{"key": f"row {start + i}"} for i in range(n)]
    columns = described.column_names
    named = next((c for c in KEYS if c in columns), None)
    told = next((c for c in TEXTS if c in columns), None)
    items = []
    for i, row in enumerate(described.slice(start, n).to_pylist(), start=start):
        key = str(row[named]) if named and row[named] not in (None, "") else f"row {i}"
        fields = {c: v for c, v in row.items() if c not in (named, told) and isinstance(v, str | int | float | bool)}
        items.append(
            {
                "key": key,
                "variant": "",
                "text": str(row[told]) if told and row[told] else None,
                "uri": f"file:{key}" if named in ("image_path", "path") and modality == "image" else None,
                "meta": {c: str(v) for c, v in fields.items() if str(v)},
            }
        )
    return items


def _parts(path: Path) -> list[Path]:
    """Return the files of vectors, in the order of the numbers in their names."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise NotFound(f"{path}: no such file or folder of vectors")
    files = [p for p in path.iterdir() if p.suffix in (".npy", ".parquet")]
    if not files or len({p.suffix for p in files}) > 1:
        raise BadInput(f"{path}: .npy or .parquet files are expected, all of one kind; found {len(files)}")
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[Any]:
    """Order file 2 before file 10."""
    return [(1, int(piece), "") if piece.isdigit() else (0, 0, piece) for piece in re.split(r"(\d+)", path.name)]


def _opened(path: Path) -> np.ndarray:
    """Return the vectors of one file: a memory map of .npy, or the one column of lists of Parquet."""
    try:
        if path.suffix == ".npy":
            x: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            x = _lists(path)
    except (ValueError, OSError, EOFError, pa.ArrowException) as error:
        raise BadInput(f"{path} holds no vectors: {error}") from error
    if x.ndim != 2 or x.dtype.kind != "f" or not x.shape[1]:
        raise BadInput(f"{path} holds {x.dtype} of shape {x.shape}; floats of shape (n, d) are expected")
    return x


def _lists(path: Path) -> np.ndarray:
    schema = pq.read_schema(path)
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    columns = [f.name for f in schema if any(kind(f.type) for kind in kinds)]
    if len(columns) != 1:
        raise BadInput(f"one column of lists is expected, found {columns or 'none'} among {schema.names}")
    column = pq.read_table(path, columns=columns)[columns[0]].combine_chunks()
    if column.null_count:
        raise BadInput(f"the column {columns[0]} has {column.null_count} empty rows")
    flat = np.asarray(column.flatten())
    if len(column) and len(flat) % len(column):
        raise BadInput(f"the lists of {columns[0]} differ in length")
    lengths = {len(row) for row in column.slice(0, 1000).to_pylist()}
    if len(lengths) > 1:
        raise BadInput(f"the lists of {columns[0]} differ in length: {sorted(lengths)[:3]}")
    return flat.reshape(len(column), -1)


def _shape(files: list[Path]) -> tuple[int, int]:
    """Return the rows and the width of all files together."""
    shapes = {file: _opened(file).shape for file in files}
    widths = {shape[1] for shape in shapes.values()}
    if len(widths) > 1:
        raise BadInput(f"{files[0].parent}: vectors of the widths {sorted(widths)}; one width is expected")
    return sum(shape[0] for shape in shapes.values()), widths.pop()


def _blocks(files: list[Path]) -> Iterator[tuple[int, np.ndarray]]:
    at = 0
    for file in files:
        x = _opened(file)
        for start in range(0, len(x), BLOCK):
            block = np.asarray(x[start : start + BLOCK], dtype=np.float32)
            yield at, block
            at += len(block)


def _fingerprint(name: str, modality: str, d: int, files: list[Path]) -> Fingerprint:
    """Return the fingerprint of vectors that somebody else made."""
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise NotFound(f"{name}: no such file of a fingerprint")
        try:
            found = Fingerprint.from_json(json.loads(Path(name).read_text(encoding="utf-8")))
        except ValueError as error:
            raise BadInput(f"{name} holds no fingerprint: {error}") from error
    elif encoders.named(name) is not None:
        found = encoders.load(name, modality).fingerprint
    else:
        first = np.asarray(_opened(files[0])[:1000], np.float64)
        found = Fingerprint(
            encoder=name,
            modality=modality,
            dim=d,
            weights=hashlib.sha256(f"named {name}".encode()).hexdigest(),
            preprocess="unknown",
            pooling="unknown",
            normalised=bool(len(first) and np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-2)),
        )
    if (found.modality, found.dim) != (modality, d):
        raise BadInput(f"{name} gives {found.dim} numbers of {found.modality}; these are {d} of {modality}")
    return found


def _described(metadata: str | Path | None, beside: Path) -> pa.Table | None:
    """Return the metadata of the items, from the folder beside the vectors where none are named."""
    path = Path(metadata) if metadata is not None else beside.parent.parent / "metadata"
    if metadata is None and not path.is_dir():
        return None
    if not path.exists():
        raise NotFound(f"{path}: no such metadata")
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"), key=_natural)
    try:
        return pa.concat_tables([pq.read_table(file) for file in files], promote_options="default")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as metadata in Parquet: {error}") from error
