"""Package archives as plain files: Debian packages, tar and zip, without a path that leads out of the folder.

Only regular files are taken. Links are left out: in the packages read here they repeat a file under another name.
"""

import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent

__all__ = ["SUFFIXES", "is_archive", "unpack"]

SUFFIXES = (".deb", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip")
MAX_BYTES = 4_000_000_000
"""Most that is unpacked from one archive, so that a crafted one cannot fill the disk."""
Member = tuple[str, int, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Say whether a path is a file that `unpack` takes, by its name."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, progress: Progress = silent) -> int:
    """Write the regular files of an archive under `folder`, and return how many they are.

    Raises `BadInput` for a damaged archive, another format, a file that would land outside of `folder`, or more
    than `MAX_BYTES`.
    """
    files = size = 0
    try:
        for name, length, content in _members(archive):
            target = folder.joinpath(*_inside(name, archive))
            size += length
            if size > MAX_BYTES:
                raise BadInput(f"{archive}: unpacks to more than {MAX_BYTES / 1e9:g} GB")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
            files += 1
            if files % 100 == 0:
                progress(f"unpack {archive.name}", files, None)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise BadInput(f"{archive}: cannot be unpacked ({error})") from error
    return files


def _inside(name: str, archive: Path) -> tuple[str, ...]:
    """Return the parts of a member's path; refuse one that leads elsewhere."""
    parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part != ".")
    if not parts or parts[0].startswith("/") or ".." in parts or ":" in parts[0]:
        raise BadInput(f"{archive}: the file {name!r} would be written outside of the folder")
    return parts


def _members(archive: Path) -> Iterator[Member]:
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir() and (entry.external_attr >> 28) in (0, 0o10):  # 0o10: a regular file on Unix
                    with opened.open(entry) as content:
                        yield entry.filename, entry.file_size, content
    elif name.endswith(".deb"):
        yield from _debian(archive)
    elif name.endswith(SUFFIXES):
        with archive.open("rb") as file:
            yield from _tar(file)
    else:
        raise BadInput(f"{archive}: not an archive that is known; known are {', '.join(SUFFIXES)}")


def _tar(file: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|*") as opened:
        for entry in opened:
            if entry.isreg() and (content := opened.extractfile(entry)) is not None:
                yield entry.name, entry.size, content


def _debian(archive: Path) -> Iterator[Member]:
    """Yield the files of a Debian package: an ``ar`` archive that holds a ``data.tar``.

    Where Python cannot decompress that (zstd, on Ubuntu), dpkg-deb does.
    """
    with archive.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise BadInput(f"{archive}: not a Debian package")
        while len(header := file.read(60)) == 60:
            name, length = header[:16].decode("ascii", "replace").rstrip(" /"), int(header[48:58])
            if name in ("data.tar", "data.tar.gz", "data.tar.xz", "data.tar.bz2"):
                yield from _tar(file)
                return
            if name.startswith("data.tar"):
                break
            file.seek(length + length % 2, io.SEEK_CUR)
        else:
            raise BadInput(f"{archive}: the package holds no files, or is cut off")
    if shutil.which("dpkg-deb") is None:
        raise BadInput(f"{archive}: packed as {name}, which needs dpkg-deb; unpack it, and name the folder")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from _tar(process.stdout)
    if process.returncode != 0:
        raise BadInput(f"{archive}: dpkg-deb cannot unpack it")
