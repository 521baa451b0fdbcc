"""The head of an index, ``index.json``: which files it consists of. Replacing it is the moment a change counts.

    {"format_version": 3, "isthmus_version": …, "dim": …, "backend": "auto", "space": {"folder", "digest"},
     "modalities": {modality: {"fingerprint": …, "corrected": false, "bias_mean": 0.0, "segments": [
        {"rows": n, "vectors": FILE, "items": FILE, "graph": {…FILE, "backend", "settings"}?, "dead": {…FILE, "rows"}?}
     ]}}, "correction": {…}?}

where FILE is {"file", "sha256", "bytes"}. Older formats (1 and 2) had one segment a modality and no sizes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput
from isthmus.index.backends import AUTO, BACKENDS
from isthmus.space import Space
from isthmus.store.disk import HEX8, plain_name, read_json
from isthmus.store.fingerprint import Fingerprint

__all__ = ["AGAIN", "FILES", "FORMAT_VERSION", "HEAD", "KINDS", "files", "read"]

FORMAT_VERSION = 3
HEAD = "index.json"
KINDS = {"vectors": ".npy", "items": ".parquet", "graph": ".graph", "dead": ".npy"}
"""Files of a segment, and how their names end."""
FILES = (*(f"*-{HEX8}{ending}" for ending in sorted(set(KINDS.values()))), f"space-{HEX8}")
"""Patterns of all files that an index consists of, beside its head."""
AGAIN = "build the index again"


def read(
    path: Path, fingerprints: Mapping[str, Fingerprint] | None, held: Space | None = None
) -> tuple[dict[str, Any], Space]:
    """Return the head of the index in a folder, every field checked that reading relies on, and its space.

    The space is the one `held`, with the encoders that it has loaded, where that is still the one.
    """
    head = path / HEAD
    record = read_json(head, kind="an index", format_version=FORMAT_VERSION)
    try:
        folder = plain_name(record["space"]["folder"], ending="", source=head)
        if held is not None and held.digest == record["space"]["digest"]:
            space = held
        else:
            space = Space.load(path / folder, fingerprints=fingerprints)
        if space.digest != record["space"]["digest"] or space.dim != record["dim"]:
            raise BadInput(f"{head} is damaged: its vectors are not of the space in {folder}; {AGAIN}")
        if record["format_version"] < FORMAT_VERSION:
            record["modalities"] = {m: _lifted(shelf) for m, shelf in record["modalities"].items()}
        if record.setdefault("backend", AUTO) not in (AUTO, *BACKENDS):
            raise BadInput(f"{head} is damaged: its backend is {record['backend']!r}; {AGAIN}")
        for modality, shelf in record["modalities"].items():
            space.accepts(modality, Fingerprint.from_json(shelf["fingerprint"]))
            if type(shelf["corrected"]) is not bool:
                raise BadInput(f"{head} is damaged: {modality} is corrected {shelf['corrected']!r}; {AGAIN}")
            for segment in shelf["segments"]:
                _check(head, modality, segment)
        if not isinstance(record.get("correction", {}), dict):
            raise BadInput(f"{head} is damaged: its correction is {record['correction']!r}; {AGAIN}")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{head} is damaged: {type(error).__name__} {error}; {AGAIN}") from error
    return record, space


def files(shelves: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the entry {file, sha256, bytes} of every file that some modalities consist of."""
    for shelf in shelves.values():
        for segment in shelf["segments"]:
            yield from (segment[kind] for kind in KINDS if kind in segment)


def _lifted(shelf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a modality of an older format as one of today's."""
    segment = {name: shelf[name] for name in ("rows", "vectors", "items")}
    return {
        "fingerprint": shelf["fingerprint"],
        "corrected": shelf.get("corrected", False),
        "bias_mean": None,
        "segments": [segment] if shelf["rows"] else [],
    }


def _check(head: Path, modality: str, segment: Mapping[str, Any]) -> None:
    if type(segment["rows"]) is not int or segment["rows"] < 1:
        raise BadInput(f"{head} is damaged: {modality} has {segment['rows']!r} rows; {AGAIN}")
    for kind in ("vectors", "items", *({"graph", "dead"} & set(segment))):
        plain_name(segment[kind]["file"], ending=KINDS[kind], source=head)
        if not isinstance(segment[kind]["sha256"], str):
            raise BadInput(f"{head} is damaged: no checksum of {segment[kind]['file']}; {AGAIN}")
    if "graph" in segment and BACKENDS.get(segment["graph"]["backend"]) is None:
        raise BadInput(f"{head} is damaged: a graph of {segment['graph']['backend']!r}; {AGAIN}")
    if "dead" in segment and type(segment["dead"]["rows"]) is not int:
        raise BadInput(f"{head} is damaged: {segment['dead']['rows']!r} rows were removed; {AGAIN}")
