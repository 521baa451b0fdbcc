"""A table as a source: CSV, TSV, Parquet, JSON lines, and data sets that the library `datasets` has saved on disk.

    isthmus embed products.csv --map image=photo --map text=title --encoder … --out store

A row is an item. `map` says which column holds which modality: texts, paths relative to the folder of the table, or
the content itself (bytes, or the struct of bytes and path that `datasets` writes). The words ``key``, ``variant`` and
``group`` map columns with the item's name, its variant (such as the language) and its near-duplicates. All other
columns of single values become fields of the items, to filter by.
"""

import csv
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.content import READ, from_bytes, from_file, inside
from isthmus.data.records import DataSet, Record, text_record

__all__ = ["CARD", "is_table", "load", "open_picture"]

CARD = DataCard(
    name="table",
    title="A table of paths, texts or contents",
    licence="as what is in it",
    attribution="",
    packages=("pyarrow",),
    extra="files",
    counts="a record for every mapped column of every row that has a value there",
    modalities=("text", "image", "speech", "sound", "audio"),
    variants=("",),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is that of the row",
    near_duplicates="what the column mapped to 'group' says; without it every key is a group of its own",
    schemes=("row",),
    by_path=True,
)

NAMED = ("key", "variant", "group")
"""Words that map a column to something else than a modality."""
MAX_CELL = 1_000_000
"""Longest text in a cell, in characters."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table to read from: its columns, its rows without content, and the content of one cell."""

    columns: list[str]
    rows: Callable[[], Iterator[tuple[int, Row]]]
    blob: Callable[[int, str], Any]
    blobs: frozenset[str] = frozenset()
    """Columns whose content is not in the rows."""


def is_table(path: Path) -> bool:
    """Say whether a path is read as a table, by its ending, or by what `datasets` leaves in a folder."""
    return path.suffix.lower() in READERS if path.is_file() else (path / "state.json").is_file()


def load(path: str | Path, *, map: Mapping[str, str] | None = None) -> DataSet:
    """Return the records of the mapped columns of a table, in the order of its rows.

    An empty cell is an absent modality. What cannot be used is a record whose `load` raises `BadInput` naming the file
    and the row, or, where it is no record at all (a line that is no row), is noted in ``set_aside``. Raises, before any
    of it, `NotFound` for a file, a modality or a column that is not there, `BadInput` for a table that cannot be read,
    is empty, or that nothing is mapped of.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such table")
    aside: dict[str, str] = {}
    read = READERS[path.suffix.lower()] if path.is_file() else _saved
    table = read(path, aside)
    mapped = _checked_map(path, table.columns, map or {})
    root = path.parent.resolve()
    seen: Counter[str] = Counter()
    records: list[Record] = []
    count = 0
    for number, row in table.rows():
        count += 1
        records += _records(path, root, table, mapped, number, row, seen)
    if not records:
        raise BadInput(f"{path}: {count} rows, and no value in {', '.join(mapped.values())}")
    return DataSet(path.stem, records, CARD, root, aside)


def open_picture(rest: str, root: Path | None) -> NoReturn:
    """Raise `BadInput`: a picture inside a table is not opened by its row alone."""
    raise BadInput(f"row:{rest} lies inside a table; load the table to see it")


def _checked_map(path: Path, columns: list[str], map: Mapping[str, str]) -> dict[str, str]:
    modalities = [m for m in map if m not in NAMED]
    if not modalities:
        raise BadInput(
            f"{path} has the columns {', '.join(columns)}: say which holds what, such as --map text={columns[0]}"
        )
    for modality in modalities:
        if modality not in READ:
            raise NotFound.named("modality", modality, READ, hint="no reader for it")
    for column in map.values():
        if column not in columns:
            raise NotFound.named("column", column, columns, f"in {path}")
    return dict(map)


def _records(
    path: Path, root: Path, table: Table, mapped: Mapping[str, str], number: int, row: Row, seen: Counter[str]
) -> Iterator[Record]:
    """Yield the records of one row."""
    where = f"{path}, row {number}"
    key = _text(row.get(mapped.get("key", ""))) or f"{path.name}#{number}"
    variant = (_text(row.get(mapped.get("variant", ""))) or "").replace("|", "/")
    group = _text(row.get(mapped.get("group", ""))) or key
    used = set(mapped.values())
    meta = {c: _text(v) or "" for c, v in row.items() if c not in used and _scalar(v) and _text(v)}
    text = _text(row.get(mapped["text"])) if "text" in mapped else None
    for modality, column in mapped.items():
        if modality in NAMED:
            continue
        value = row.get(column)
        if column not in table.blobs and (value is None or value == ""):
            continue
        common: dict[str, Any] = {"key": key, "group": group, "meta": meta}
        load, digest, uri = _content(root, table, modality, column, number, value, where)
        name = f"{key}|{modality}|{variant}"
        seen[name] += 1
        if seen[name] > 1:  # several captions of one key
            common["variant"] = f"{variant}#{seen[name]}"
        else:
            common["variant"] = variant
        if modality == "text" and isinstance(value, str) and len(value) <= MAX_CELL:
            yield text_record(key, value, variant=common["variant"], group=group, uri=f"row:{number}", meta=meta)
        else:
            yield Record(modality=modality, load=load, digest=digest, text=text, uri=uri, **common)


def _content(
    root: Path, table: Table, modality: str, column: str, number: int, value: Any, where: str
) -> tuple[Callable[[], Any], Callable[[], str], str]:
    """Return how to load a cell, how to tell its content from others, and its uri."""
    if column in table.blobs:
        cell = functools.partial(_cell, table, number, column, root, where)
        return (
            lambda: from_bytes(modality, cell(), where),
            lambda: hashlib.sha256(_or_error(cell)).hexdigest(),
            f"row:{number}",
        )
    if not isinstance(value, str):
        return _failing(f"{where}: {column} holds {type(value).__name__}, a text is expected: {str(value)[:80]!r}")
    if modality == "text":
        return _failing(f"{where}: {column} holds {len(value):,} characters, at most {MAX_CELL:,} are read")
    try:
        file = inside(root, value, where)
    except (BadInput, ValueError, OSError) as error:
        return _failing(str(error))

    def load() -> Any:
        if not file.is_file():
            raise BadInput(f"{where}: {value!r} is no file in {root}")
        return from_file(modality, file)

    return load, lambda: hashlib.sha256(_or_error(file.read_bytes)).hexdigest(), f"file:{value}"


def _failing(reason: str) -> tuple[Callable[[], Any], Callable[[], str], str]:
    def load() -> NoReturn:
        raise BadInput(reason)

    return load, lambda: hashlib.sha256(reason.encode()).hexdigest(), "row:0"


def _cell(table: Table, number: int, column: str, root: Path, where: str) -> bytes:
    """Return the bytes of a cell: its own, or those of the file that it names."""
    value = table.blob(number, column)
    if isinstance(value, Mapping):
        if value.get("bytes") is None and value.get("path"):
            return inside(root, str(value["path"]), where).read_bytes()
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise BadInput(f"{where}: {column} is empty")
    return value


def _or_error(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (OSError, BadInput) as error:  # `load` says the same
        return str(error).encode()


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) <= 1000


def _text(value: Any) -> str | None:
    """Return a single value as text; None for nothing."""
    return None if value is None or value == "" or not isinstance(value, str | int | float | bool) else str(value)


# ------------------------------------------------------------------ formats


def _delimited(path: Path, aside: dict[str, str], *, delimiter: str) -> Table:
    """Read CSV: every cell is text, so that no column has mixed types; lines of other lengths are set aside."""
    csv.field_size_limit(50_000_000)
    try:
        with _utf8(path) as file:
            columns = next(csv.reader(file, delimiter=delimiter), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path}, row 1 or thereabouts: {error}; save it as UTF-8") from error
    if not columns or len(set(columns)) < len(columns):
        raise BadInput(f"{path}: the first line names the columns, each once; found {columns}")

    def rows() -> Iterator[tuple[int, Row]]:
        with _utf8(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            next(reader)
            number = 0
            try:
                for number, cells in enumerate(reader, start=1):
                    if not cells:
                        continue
                    if len(cells) != len(columns):
                        aside[f"{path.name}#{number}"] = (
                            f"{path}, row {number}: {len(cells)} cells, {len(columns)} columns are expected"
                        )
                        continue
                    yield number, dict(zip(columns, cells, strict=True))
            except (csv.Error, UnicodeDecodeError) as error:
                raise BadInput(f"{path}, row {number + 1}: {error}") from error

    return Table(columns, rows, _no_blob)


def _lines(path: Path, aside: dict[str, str]) -> Table:
    """Read JSON lines; a line that is no object is set aside."""

    def rows() -> Iterator[tuple[int, Row]]:
        with _utf8(path) as file:
            number = 0
            try:
                for number, line in enumerate(file, start=1):
                    if not line.strip():
                        continue
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError) as error:
                        row = error
                    if isinstance(row, dict):
                        yield number, row
                    else:
                        aside[f"{path.name}#{number}"] = f"{path}, row {number}: no JSON object ({str(row)[:80]})"
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}, row {number + 1}: not UTF-8 ({error.reason} at byte {error.start})") from error

    first = next(iter(rows()), None)
    if first is None:
        raise BadInput(f"{path}: no line of it is a JSON object" + "".join(f"; {r}" for r in list(aside.values())[:1]))
    columns = dict.fromkeys(name for _, row in rows() for name in row)
    return Table(list(columns), rows, _no_blob)


def _parquet(path: Path, aside: dict[str, str]) -> Table:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} cannot be read as Parquet: {error}") from error
    schema = file.schema_arrow
    blobs = frozenset(f.name for f in schema if _is_blob(f.type))
    starts = [0]
    for i in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(i).num_rows)

    def rows() -> Iterator[tuple[int, Row]]:
        number = 0
        try:
            for batch in file.iter_batches(4096, columns=[c for c in schema.names if c not in blobs]):
                for row in batch.to_pylist() if batch.num_columns else [{}] * batch.num_rows:
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{path}, after row {number}: {error}") from error

    @functools.lru_cache(maxsize=2)
    def group(number: int, column: str) -> pa.ChunkedArray:
        return pq.ParquetFile(path).read_row_group(number, columns=[column])[column]

    def blob(number: int, column: str) -> Any:
        at = next(i for i in range(len(starts) - 1) if starts[i] <= number - 1 < starts[i + 1])
        return group(at, column)[number - 1 - starts[at]].as_py()

    return Table(schema.names, rows, blob, blobs)


def _saved(path: Path, aside: dict[str, str]) -> Table:
    """Read what `datasets` saves on disk: Arrow streams, as memory maps."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        files = [inside(path, each["filename"], str(path / "state.json")) for each in state["_data_files"]]
        tables = [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in files]
        table = pa.concat_tables(tables)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise BadInput(f"{path} cannot be read as a saved data set: {type(error).__name__} {error}") from error
    blobs = frozenset(f.name for f in table.schema if _is_blob(f.type))

    def rows() -> Iterator[tuple[int, Row]]:
        number = 0
        for batch in table.select([c for c in table.column_names if c not in blobs]).to_batches(4096):
            for row in batch.to_pylist() if batch.num_columns else [{}] * batch.num_rows:
                number += 1
                yield number, row

    return Table(table.column_names, rows, lambda number, column: table[column][number - 1].as_py(), blobs)


def _is_blob(kind: pa.DataType) -> bool:
    """Say whether a column holds contents: bytes, or the struct of `datasets`."""
    bytes_or_path = pa.types.is_struct(kind) and {"bytes", "path"} <= {
        kind.field(i).name for i in range(kind.num_fields)
    }
    return bytes_or_path or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _no_blob(number: int, column: str) -> NoReturn:
    raise AssertionError(column)


def _utf8(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise BadInput(f"{path} cannot be opened ({error.strerror})") from error


READERS: Mapping[str, Callable[[Path, dict[str, str]], Table]] = {
    ".csv": functools.partial(_delimited, delimiter=","),
    ".tsv": functools.partial(_delimited, delimiter="\t"),
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".parquet": _parquet,
}
