"""Everything that can be made of a scene, one file each: the folder is the list.

A renderer offers ``TITLE``, ``KIND`` (pixels, text, graph, points, frames or sound), ``render(scene, …)`` and
``show(scene, size)``, which gives the tile of the contact sheet: pixels (h, w, 3), or a text; ``words(scene)`` where
words belong to the pixels. Every one is computed
from the scene alone and shares no state with another.
"""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.world.scene import Scene

__all__ = ["names", "render", "renderer"]


@cache
def names() -> tuple[str, ...]:
    """Return the names of the renderers."""
    return tuple(sorted(path.stem for folder in __path__ for path in Path(folder).glob("[!_]*.py")))


@cache
def renderer(name: str) -> ModuleType:
    """Return the renderer of a name; `NotFound` for one that there is not."""
    if name not in names():
        raise NotFound.named("renderer", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def render(name: str, scene: Scene, **options: Any) -> Any:
    """Return what a renderer makes of a scene; `BadInput` for an option that it does not have."""
    try:
        return renderer(name).render(scene, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise BadInput(f"renderer {name}: {error}") from error
