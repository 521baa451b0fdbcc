"""Vector search over several modalities, with the items and the space in one folder: exact, or by a graph."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.index.exact import exact_search as exact_search
    from isthmus.index.hit import Hit as Hit
    from isthmus.index.index import Index as Index

_HOME = {"Hit": "isthmus.index.hit", "Index": "isthmus.index.index", "exact_search": "isthmus.index.exact"}
__all__ = ["Hit", "Index", "exact_search"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
