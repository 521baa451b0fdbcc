"""The missing middle between encoders and vector databases.

>>> import isthmus
>>> isthmus.did_you_mean("alin", ["align", "embed"])
'align'

Names are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.core.errors import IsthmusError as IsthmusError
    from isthmus.core.errors import did_you_mean as did_you_mean
    from isthmus.index.index import Index as Index
    from isthmus.space import Space as Space
    from isthmus.store.store import Store as Store
    from isthmus.workbench.align import align as align
    from isthmus.workbench.diagnose import diagnose as diagnose
    from isthmus.workbench.embed import embed as embed
    from isthmus.workbench.evaluate import evaluate as evaluate
    from isthmus.workbench.search import build_index as build_index

__version__ = "0.1.0"

_HOME = {
    "Index": "isthmus.index.index",
    "IsthmusError": "isthmus.core.errors",
    "Space": "isthmus.space",
    "Store": "isthmus.store.store",
    "align": "isthmus.workbench.align",
    "build_index": "isthmus.workbench.search",
    "diagnose": "isthmus.workbench.diagnose",
    "did_you_mean": "isthmus.core.errors",
    "embed": "isthmus.workbench.embed",
    "evaluate": "isthmus.workbench.evaluate",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
