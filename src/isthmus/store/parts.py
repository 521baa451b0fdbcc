"""Part files of a store: text columns and one vector column in Parquet, with checksums.

The vector column is a ``FixedSizeList<float32>[d]`` without compression (floats of this kind do not shrink), so
that reading it is a copy. Its fingerprint is kept in the file as well: a part that was moved from another store
is recognised. Pages carry CRC-32 sums that every read checks; the SHA-256 in the manifest is for `Store.verify`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.core.errors import BadInput, WrongFingerprint
from isthmus.store.disk import atomic, sha256_of
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.manifest import Part
from isthmus.store.rows import COLUMNS, Row

__all__ = ["matrix", "read", "read_rejected", "rejection", "write", "write_rejected"]

REJECTED = "rejected.parquet"
REJECTED_COLUMNS = ("id", "key", "modality", "variant", "uri", "reason")
_METADATA = b"isthmus.fingerprint"


def write(folder: Path, name: str, text: pa.Table, vectors: Sequence[np.ndarray], fingerprint: Fingerprint) -> Part:
    """Write a part file atomically and return its entry for the manifest."""
    lists = [pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), fingerprint.dim) for x in vectors]
    table = text.append_column(fingerprint.column, pa.chunked_array(lists))
    table = table.replace_schema_metadata({_METADATA: json.dumps(fingerprint.to_json()).encode()})
    path = folder / name
    with atomic(path) as partial:
        pq.write_table(
            table,
            partial,
            compression=dict.fromkeys(COLUMNS, "zstd"),
            use_dictionary=["modality", "variant"],
            write_statistics=["id", "key"],
            write_page_checksum=True,
        )
        digest = sha256_of(partial)
        size = partial.stat().st_size
    return {
        "file": name,
        "rows": table.num_rows,
        "column": fingerprint.column,
        "modality": fingerprint.modality,
        "bytes": size,
        "sha256": digest,
        "supersedes": 0,
    }


def read(folder: Path, part: Part, fingerprint: Fingerprint, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a part.

    Raises `BadInput` naming the file when it is missing, cut short or damaged, and `WrongFingerprint` when it
    holds vectors of another encoder than the manifest says.
    """
    path = folder / part["file"]
    mend = f"embed with --repair makes the {part['rows']} rows of such a part again"
    try:
        if (size := path.stat().st_size) != part["bytes"]:
            raise BadInput(f"it has {size} bytes, {part['bytes']} were written")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            stored = json.loads((file.schema_arrow.metadata or {})[_METADATA])
            fingerprint.require(Fingerprint.from_json(stored), str(path))
            table = file.read(columns=list(columns), use_threads=False)
    except WrongFingerprint:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; {mend}") from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:  # not Parquet, not JSON, no fingerprint
        raise BadInput(f"{path} is damaged: {error}; {mend}") from error
    if table.num_rows != part["rows"] or table.column_names != list(columns):
        raise BadInput(
            f"{path} is damaged: {table.num_rows} rows of {table.column_names}, expected {part['rows']} of "
            f"{list(columns)}; {mend}"
        )
    return table


def matrix(column: pa.ChunkedArray, dim: int, path: Path) -> np.ndarray:
    """Return a vector column as (n, d) float32, without a copy when it is in one piece."""
    if column.type != pa.list_(pa.float32(), dim) or column.null_count:
        raise BadInput(f"{path} is damaged: the vectors are {column.type} with {column.null_count} nulls, width {dim}")
    whole = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return np.asarray(whole.flatten()).reshape(-1, dim)


def rejection(row: Row, reason: str) -> dict[str, str | None]:
    """Return the record of a row that was set aside."""
    fields = {name: getattr(row, name) for name in REJECTED_COLUMNS if name != "reason"}
    return {**fields, "reason": reason}


def write_rejected(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the table of the rows that were set aside."""
    table = pa.Table.from_pylist(list(rows), schema=pa.schema([(name, pa.string()) for name in REJECTED_COLUMNS]))
    with atomic(folder / REJECTED) as partial:
        pq.write_table(table, partial)


def read_rejected(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that were set aside, in the order in which they were."""
    path = folder / REJECTED
    if not path.exists():
        return []
    try:
        return list(pq.read_table(path, columns=list(REJECTED_COLUMNS)).to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is damaged: {error}; remove it, and the next embed writes it again") from error
