"""Stored results of methods: what they hold, where they lie, and what makes them stale.

A result belongs to the code that gave it. The *digest* of the method's own files decides whether it is stale; the
digest of what the method imports only says that it was "measured on an older base". Both are taken from the syntax
tree without docstrings and comments. The card is left out of the digest, so that mending a sentence there costs no
measurement; its claims are compared with the stored ones instead.
"""

import ast
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from isthmus.core.card import Claim
from isthmus.core.catalog import METHODS, Entry
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.syntax import parsed
from isthmus.core.task import Task

__all__ = [
    "Result",
    "base_digest",
    "declared",
    "digest",
    "folder",
    "imported_files",
    "machine",
    "plain",
    "project",
    "stale",
    "stored",
    "task",
    "versions",
]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """The stored result of a method (`results/<name>.json`).

    `claims` holds one record a claim, the headline first: ``claim`` (as declared), ``verdict`` and ``control``
    (``kind``, ``verdict``, ``repeat`` on fresh seeds where the first one held, ``holds``), None where there is none.
    `rows` are those of the report with ``seed`` and ``control`` before them. `seconds` is the median time of one
    seed of the experiment, all arms together.
    """

    name: str
    budget: str
    seeds: list[int]
    claims: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    seconds: float
    digest: str
    task_version: str
    base_digest: str
    versions: dict[str, str]
    machine: str
    format_version: int = FORMAT

    @property
    def headline(self) -> dict[str, Any]:
        """The record of the claim that decides the row in the table."""
        return self.claims[0]

    def save(self, folder: Path) -> Path:
        """Write the result atomically and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(
            json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read a stored result; a newer format or a foreign file is refused."""
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if read["format_version"] > FORMAT:
                raise BadInput(f"{path} has format {read['format_version']}, newer than {FORMAT}: update isthmus")
            return cls(**read)
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadInput(f"{path} is not a stored result: {error}") from error


def project(path: Path) -> Path | None:
    """Return the source tree that a file belongs to, or None when it is installed or lies loose."""
    for parent in path.parents:
        if parent.name in ("site-packages", "dist-packages"):
            return None
        if (parent / "pyproject.toml").is_file():
            return parent
    return None


def folder(entry: Entry) -> Path | None:
    """Return the folder of a method's stored result: `results` of its source tree, or what was installed."""
    if (tree := project(entry.path)) is not None:
        return tree / "results"
    return METHODS.parent / "results" if entry.path.is_relative_to(METHODS) else None


def stored(entry: Entry, results: Path | None = None) -> Result | None:
    """Return the stored result of a method (from the folder `results`, if given), or None."""
    home = results or folder(entry)
    path = home / f"{entry.name}.json" if home else None
    return Result.load(path) if path and path.is_file() else None


def stale(entry: Entry, result: Result) -> str:
    """Say in what the method has changed since the result was stored; empty when in nothing that matters."""
    if result.digest != digest(entry):
        return "the method's code has changed since"
    if [record["claim"] for record in result.claims] != declared(entry):
        return "the card's claims have changed since"
    return ""


def declared(entry: Entry) -> list[dict[str, Any]]:
    """Return a card's claims as plain data, the headline first."""
    return [asdict(claim) for claim in (entry.card.claim, *entry.card.further)]


def task(claim: Claim, entry: Entry) -> Task:
    """Return the task of a claim, from the file in `tasks` of that name, or from the method's own file.

    Raises `NotFound` when no task has exactly the claim's name: a version that was superseded is another task.
    """
    stem = claim.task.split(".")[0]
    try:
        modules = [importlib.import_module(f"isthmus.tasks.{stem}")]
    except ModuleNotFoundError as error:
        if error.name != f"isthmus.tasks.{stem}":
            raise
        modules = []
    modules.append(entry.load())
    known = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Task)}
    if claim.task not in known:
        raise NotFound.named("task", claim.task, known, hint=f"claimed by {entry.name}")
    return known[claim.task]


def digest(entry: Entry) -> str:
    """Return the digest (16 hex digits) of a method's code, without docstrings, comments and its card."""
    return _digest(entry.sources)


def base_digest(entry: Entry) -> str:
    """Return the digest of our own code that a method imports, directly or through others."""
    return _digest(imported_files(entry))


def imported_files(entry: Entry) -> list[Path]:
    """Return our own files that a method imports, directly or through others; its own are left out."""
    own, seen, queue = set(entry.sources), set[Path](), list(entry.sources)
    while queue:
        new = set(_read(queue.pop()).imports) - seen - own
        seen |= new
        queue += new
    return sorted(seen)


def _digest(paths: Sequence[Path]) -> str:
    return hashlib.sha256("".join(_read(path).text for path in paths).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Source:
    """What a digest sees of a file, and which of our own files it imports."""

    text: str
    imports: tuple[Path, ...]


def _read(path: Path) -> _Source:
    stamp = path.stat()
    return _parse(path, stamp.st_mtime_ns, stamp.st_size)


# eighty methods share most of what they import; the stamp is there so that a changed file is read again
@cache
def _parse(path: Path, modified: int, size: int) -> _Source:
    tree = parsed(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [METHODS.parent.joinpath(*rest) for top, *rest in (n.split(".") for n in names) if top == "isthmus" and rest]
    files = [file for base in ours for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return _Source(_text(tree), tuple(dict.fromkeys(files)))


def _text(node: Any) -> str:
    """Write a syntax tree so that every Python version writes it alike: empty fields, which come and go, are left out.

    (`ast.dump` differs between versions, and a result must not go stale by an update of Python.)
    """
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(body := fields.get("body"), list):
        fields["body"] = [statement for statement in body if not (_is_text(statement) or _is_card(statement))]
    written = (f"{name}={_text(value)}" for name, value in fields.items() if value not in (None, []))
    return f"{type(node).__name__}({','.join(written)})"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_card(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["CARD"]


def versions() -> dict[str, str]:
    """Return the versions of Python, Isthmus and those of its required and optional packages that are installed."""
    wanted = importlib.metadata.requires("isthmus") or []
    names = sorted({re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted} | {"isthmus"})
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Describe the machine that measures, in a line."""
    text = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    torch: Any = sys.modules.get("torch")
    return f"{text}, {torch.get_num_threads()} torch threads" if torch else text


def plain(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a row as JSON values; a number that is not finite is refused with its name."""
    read: dict[str, Any] = {}
    for name, value in values.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, float) and not abs(value) < float("inf"):
            raise BadInput(f"{where}: {name} is {value}; rows hold finite numbers")
        read[name] = plain(value, where) if isinstance(value, Mapping) else value
    return read
