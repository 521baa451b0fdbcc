"""What takes long to find out about the files of a data set, found out once for the same content."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from isthmus.core.run import cache_dir
from isthmus.store.disk import write_json

__all__ = ["remembered"]


def remembered(name: str, version: int, files: Iterable[Path], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return `make()`, a JSON object, computed once for the names and contents of `files` and kept in the cache folder.

    `version` goes up when `make` changes. A damaged table is made again.
    """
    digest = hashlib.sha256(f"{name} {version}".encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    place = cache_dir() / "tables" / f"{name}-{digest.hexdigest()[:16]}.json"
    try:
        table: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))["table"]
    except (OSError, ValueError, KeyError, TypeError):
        table = make()
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"name": name, "version": version, "table": table})
    return table
