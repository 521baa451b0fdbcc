"""The backends of an index, by name, and which one an index of a size gets.

A backend proposes candidates for the best hits; their scores are always computed from the vectors, which lie in the
index whatever the backend. So a backend is a file beside the vectors that can be made again, and a module of two
functions: ``build(path, vectors, queries)`` writes it and returns its settings, and ``candidates(content, settings,
shape)`` opens its mapped content. Exact search needs neither.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from isthmus.core.errors import MissingExtra, NotFound

__all__ = ["AUTO", "BACKENDS", "Backend", "backend", "chosen"]

AUTO = "auto"
"""The name that stands for a choice by size."""
MANY = 50_000
"""Vectors from which on a graph is built unless said otherwise (`benchmarks/index_backends.py`)."""


@dataclass(frozen=True)
class Backend:
    """A backend other than exact search: its module, and the package that it needs with the extra that brings it."""

    name: str
    module: str
    package: str
    extra: str

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return importlib.util.find_spec(self.package) is not None

    def load(self) -> Any:
        """Return the module; `MissingExtra` without its package."""
        if not self.installed:
            raise MissingExtra.of(self.package, self.extra, f"the backend {self.name} of an index")
        return importlib.import_module(self.module)


BACKENDS: dict[str, Backend | None] = {
    "exact": None,
    "usearch": Backend("usearch", "isthmus.index.usearch", "usearch", "index"),
}


def backend(name: str) -> Backend | None:
    """Return a backend by name, None for exact search; `NotFound` for an unknown name, `MissingExtra` without it."""
    if name not in BACKENDS:
        raise NotFound.named("backend", name, [AUTO, *BACKENDS])
    found = BACKENDS[name]
    if found is not None:
        found.load()
    return found


def chosen(name: str, rows: int) -> Backend | None:
    """Return the backend for so many vectors where `name` may be ``auto``: usearch for many, when it is installed."""
    if name != AUTO:
        return backend(name)
    usearch = BACKENDS["usearch"]
    return usearch if usearch is not None and rows >= MANY and usearch.installed else None
