"""The catalogue is the folder: every file under `methods/<family>/` is a method, found by its name.

Cards are read from the syntax tree, so listing eighty methods imports none of them. Beside our own folder the
walk covers the entry-point group ``isthmus.methods`` (each entry names a package laid out as family folders)
and any folder given with `--methods`.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from isthmus.core.card import Card, Claim
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.core.syntax import parsed

__all__ = ["METHODS", "Entry", "find", "imported", "read_literal", "serving", "walk"]

METHODS = Path(__file__).parent.parent / "methods"
RECORDS = {"Card": Card, "Claim": Claim}


@dataclass(frozen=True)
class Entry:
    """A method as the catalogue sees it: where it is, and its card."""

    name: str
    family: str
    path: Path
    module: str

    @cached_property
    def card(self) -> Card:
        """The card, read without importing the file."""
        card = read_literal(self.path, "CARD", RECORDS)
        if not isinstance(card, Card):
            raise BadInput(f"{self.path}: CARD is not a Card(...)")
        return card

    @property
    def slug(self) -> str:
        """The name as the papers' list writes it."""
        return self.name.replace("_", "-")

    @property
    def sources(self) -> list[Path]:
        """The files that the method is written in."""
        return sorted(self.path.parent.rglob("*.py")) if self.path.name == "__init__.py" else [self.path]

    def load(self) -> ModuleType:
        """Import the method's module."""
        if self.module in sys.modules or importlib.util.find_spec(self.module.split(".")[0]) is not None:
            return imported(self.module, f"the method {self.name}")
        package = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        spec = importlib.util.spec_from_file_location(self.module, self.path, submodule_search_locations=package)
        if spec is None or spec.loader is None:
            raise BadInput(f"{self.path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        try:
            with _torch_for(f"the method {self.name}"):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[self.module]
            raise
        return module


def imported(module: str, wanted_for: str) -> ModuleType:
    """Import a module; `MissingExtra` when it is torch that it lacks."""
    with _torch_for(wanted_for):
        return importlib.import_module(module)


@contextmanager
def _torch_for(wanted_for: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra.of("torch", "torch", wanted_for) from error


def walk(extra: Sequence[Path] = ()) -> list[Entry]:
    """Return all methods by name: ours, those of installed packages, and those under the `extra` folders."""
    roots = [(METHODS, "isthmus.methods")]
    for point in entry_points(group="isthmus.methods"):
        spec = importlib.util.find_spec(point.value)
        if spec is None or spec.origin is None:
            raise BadInput(f"entry point {point.name} names {point.value}, which is not an importable package")
        roots.append((Path(spec.origin).parent, point.value))
    for folder in map(Path.resolve, extra):
        if not folder.is_dir():
            raise NotFound(f"--methods {folder}: no such folder")
        roots.append((folder, f"_isthmus_methods_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"))
    found: dict[str, Entry] = {}
    for root, package in roots:
        for path in sorted([*root.glob("*/[!_]*.py"), *root.glob("*/[!_]*/__init__.py")]):
            name = path.parent.name if path.name == "__init__.py" else path.stem
            family = path.relative_to(root).parts[0]
            if name in found:
                raise BadInput(f"two methods are called {name!r}: {found[name].path} and {path}")
            found[name] = Entry(name, family, path, f"{package}.{family}.{name}")
    return [found[name] for name in sorted(found)]


def find(name: str, extra: Sequence[Path] = ()) -> Entry:
    """Return one method by file stem or slug."""
    entries = {e.name: e for e in walk(extra)}
    wanted = name.replace("-", "_")
    if wanted not in entries:
        raise NotFound.named("method", name, entries)
    return entries[wanted]


def serving(verb: str, extra: Sequence[Path] = ()) -> dict[str, tuple[str, str]]:
    """Return {name: (module, attribute)} of everything that serves a workbench verb.

    Methods declare it in `CARD.uses`, under the verb for their own name or under "verb other_name" for a variant of
    the same paper; parts in a module-level literal `USES = {name: {verb: attribute}}`.
    """
    served = {}
    for entry in walk(extra):
        for use, attribute in entry.card.uses.items():
            of, _, name = use.partition(" ")
            if of == verb:
                served[name or entry.name] = (entry.module, attribute)
    for path in sorted((METHODS.parent / "parts").glob("[!_]*.py")):
        uses = read_literal(path, "USES", {}, default={})
        served |= {name: (f"isthmus.parts.{path.stem}", verbs[verb]) for name, verbs in uses.items() if verb in verbs}
    return served


def read_literal(path: Path, name: str, records: Mapping[str, type], default: Any = None) -> Any:
    """Evaluate the module-level assignment `name = …` of a file: literals and calls of `records` only."""
    try:
        tree = parsed(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as Python: {error}") from error

    def value(node: ast.expr) -> Any:
        try:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
                return records[node.func.id](**{str(k.arg): value(k.value) for k in node.keywords})
            if isinstance(node, ast.Tuple):
                return tuple(value(element) for element in node.elts)
            return ast.literal_eval(node)
        except BadInput:
            raise
        except (KeyError, TypeError, ValueError) as error:
            reason = f": {error}" if isinstance(node, ast.Call) and ast.unparse(node.func) in records else ""
            raise BadInput(
                f"{path}:{node.lineno}: {name} must hold literals only, cannot use {ast.unparse(node)[:80]!r}{reason}"
            ) from error

    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=target)], value=expression)
                | ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as expression)
            ) if target == name:
                return value(expression)
    return default
