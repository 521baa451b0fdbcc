"""The manifest of a store: which parts there are, whose vectors they hold, and where the records come from.

What the manifest does not name is not in the store; that makes its replacement the moment at which a part counts.

    {"format_version": 1, "isthmus_version": …, "source": {…},
     "fingerprints": {column: fingerprint}, "parts": [{file, rows, column, modality, bytes, sha256, supersedes}]}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import isthmus
from isthmus.core.errors import BadInput
from isthmus.store.disk import plain_name, read_json, write_json
from isthmus.store.fingerprint import Fingerprint

__all__ = ["FORMAT_VERSION", "MANIFEST", "Part", "fresh", "read", "write"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_PART = re.compile(r"part-\d{5,}\.parquet")


class Part(TypedDict):
    """One part file. `supersedes` counts the rows that replace an earlier row of the same id and column."""

    file: str
    rows: int
    column: str
    modality: str
    bytes: int
    sha256: str
    supersedes: int


def fresh(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of an empty store."""
    return {
        "format_version": FORMAT_VERSION,
        "isthmus_version": isthmus.__version__,
        "source": dict(source),
        "fingerprints": {},
        "parts": [],
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest atomically."""
    write_json(folder / MANIFEST, manifest)


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest and check every field that reading relies on.

    Raises `NotFound` for a folder that is no store, `BadInput` for a newer format, a damaged manifest, or a part
    that leads out of the store.
    """
    path = folder / MANIFEST
    manifest = read_json(path, kind="a store", format_version=FORMAT_VERSION)
    for name, kind in (("source", dict), ("fingerprints", dict), ("parts", list)):
        if not isinstance(manifest.get(name), kind):
            raise BadInput(f"{path} is damaged: {name} is {manifest.get(name)!r}")
    for column, stored in manifest["fingerprints"].items():
        try:
            fingerprint = Fingerprint.from_json(stored)
        except BadInput as error:
            raise BadInput(f"{path} is damaged: column {column!r}: {error}") from error
        if fingerprint.column != column:
            raise BadInput(f"{path} is damaged: column {column!r} has the fingerprint of {fingerprint.column!r}")
    seen: set[str] = set()
    for number, part in enumerate(manifest["parts"]):
        _check_part(path, number, part, manifest["fingerprints"])
        if part["file"] in seen:
            raise BadInput(f"{path} is damaged: it names the part {part['file']} twice")
        seen.add(part["file"])
    return manifest


def _check_part(path: Path, number: int, part: object, fingerprints: Mapping[str, Any]) -> None:
    if not isinstance(part, dict):
        raise BadInput(f"{path} is damaged: part {number} is {part!r}")
    name = plain_name(part.get("file"), ending=".parquet", source=path)
    if not _PART.fullmatch(name):
        raise BadInput(f"{path} names the part {name!r}: part-00000.parquet and so on are expected")
    for field, kind in Part.__annotations__.items():
        value = part.get(field)
        least = 1 if field == "rows" else 0
        if type(value) is not kind or (isinstance(value, int) and value < least):
            raise BadInput(f"{path} is damaged: {field} of {name} is {value!r}")
    known = fingerprints.get(part["column"])
    if known is None or known["modality"] != part["modality"]:
        raise BadInput(
            f"{path} is damaged: {name} holds {part['modality']!r} in the column {part['column']!r}, "
            f"and the columns are {sorted(fingerprints)}"
        )
