"""Files that are whole or absent: atomic writes, JSON records, checksums, and the lock of a single writer.

A reader sees the file from before a write or the one after it, whatever happens in between: the content goes
to a hidden temporary file, is flushed to the disk, and takes the name in one rename.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput, Busy, NotFound
from isthmus.core.files import atomic, commit, write_json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "HEX8",
    "LOCK",
    "atomic",
    "claim",
    "clean",
    "filed",
    "locked",
    "plain_name",
    "read_json",
    "sha256_of",
    "write_json",
]

LOCK = "writer.lock"
HEX8 = "[0-9a-f]" * 8
"""Pattern of the digits in the names that `filed` gives."""


def filed(folder: Path, stem: str, ending: str, write: Callable[[Path], object]) -> tuple[str, str]:
    """Let `write` fill a file and name it by its content; return the name, stem-<8 hex digits>ending, and its SHA-256.

    A folder whose head file names such files can be replaced at once: old and new lie side by side until the
    head is.
    """
    partial = folder / f".{stem}{ending}.{os.getpid()}.tmp"
    try:
        write(partial)
        sha256 = sha256_of(partial)
        name = f"{stem}-{sha256[:8]}{ending}"
        commit(partial, folder / name)
    finally:
        partial.unlink(missing_ok=True)
    return name, sha256


def claim(folder: Path, *, head: str, leftovers: Collection[str], kind: str) -> None:
    """Make a folder, or make sure that it is ours to write to.

    It is, if it has the file `head`, or nothing but what a killed writer leaves: temporary files, the lock, and
    files that fit the patterns of `leftovers`.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; {kind} is a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / head).exists():
        ours = (LOCK, ".*.tmp", *leftovers)
        foreign = sorted(p.name for p in folder.iterdir() if not any(fnmatch(p.name, pattern) for pattern in ours))
        if foreign:
            raise BadInput(f"{folder} is not {kind}, and not empty ({', '.join(foreign[:3])}): choose another folder")


def clean(folder: Path, patterns: Collection[str], keep: Collection[str]) -> None:
    """Remove what a killed or replaced writer left: temporary files, and what fits a pattern and is not to `keep`."""
    for path in folder.iterdir():
        if fnmatch(path.name, ".*.tmp") or (path.name not in keep and any(fnmatch(path.name, p) for p in patterns)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def read_json(path: Path, *, kind: str, format_version: int) -> dict[str, Any]:
    """Read the JSON object at the head of a `kind` of folder.

    Raises `NotFound` when the file is absent, `BadInput` when it is damaged or its `format_version` is newer.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path.parent} is not {kind}: it has no {path.name}") from error
    except NotADirectoryError as error:
        raise NotFound(f"{path.parent} is not {kind}: it is a file, and a folder is wanted") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is damaged: {error}") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if type(version) is not int or version < 1:
        raise BadInput(f"{path} is damaged: format_version is {version!r}, a number from 1 is expected")
    if version > format_version:
        raise BadInput(f"{path} has format {version}, and this isthmus reads up to {format_version}: update isthmus")
    return dict(record)


def plain_name(name: object, *, ending: str, source: Path) -> str:
    """Return `name` if it names a file beside `source`; a path that leads elsewhere is refused."""
    if not isinstance(name, str) or not name.endswith(ending) or name.startswith(".") or set(name) & set("/\\:\0"):
        raise BadInput(f"{source} names the file {name!r}: a plain name ending in {ending} is expected")
    return name


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path, *, kind: str) -> Iterator[None]:
    """Be the only writer of a folder inside the block, or raise `Busy` naming the process that is.

    The system drops the lock with its process, so that what a killed process left is simply taken over. The
    file holds the writer's pid and host, and stays behind empty: removing it would let two writers lock two
    files of one name. On drives that cannot lock files, the pid in the file decides.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        taken = _take(file.fileno())
        file.seek(0)
        owner = file.read().strip()
        if taken is False or (taken is None and _alive(owner)):
            raise Busy(
                f"{folder}: {kind} has one writer at a time, and process {owner or '(just started)'} is writing "
                f"now; wait for it to end, or stop it"
            )
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _take(descriptor: int) -> bool | None:
    """Lock an open file: True when it is ours now, False when another has it, None when locks do not work here."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte that nobody reads: locked bytes cannot be
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else None
    return True


def _alive(owner: str) -> bool:
    """Say whether the process that an unlocked lock file names may still be running."""
    pid, _, host = owner.partition(" on ")
    if not pid.isdigit():
        return False
    if host != socket.gethostname() or sys.platform == "win32":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
