"""Files that are whole or absent: written beside their place, flushed to the disk, and renamed in one step."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput

__all__ = ["atomic", "commit", "write_json"]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; at the end of the block it becomes `path`, on an error nothing does."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        commit(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def commit(partial: Path, path: Path) -> None:
    """Give a finished file its name, so that content and name survive a power cut."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object atomically; `BadInput` for values that JSON cannot hold, NaN among them."""
    try:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path}: cannot be written as JSON: {error}") from error
    with atomic(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
