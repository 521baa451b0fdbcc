"""What is served: spaces that embed, and indexes that are searched and written to."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from isthmus.core.errors import BadInput, Busy, NotFound
from isthmus.index.head import HEAD
from isthmus.index.hit import Hit
from isthmus.index.index import Index
from isthmus.space import HEAD as SPACE
from isthmus.space import Space
from isthmus.store.manifest import MANIFEST
from isthmus.store.store import Store
from isthmus.web.settings import Settings

__all__ = ["UPLOADS", "Collection", "Shelves", "open_shelves"]

T = TypeVar("T")
UPLOADS = "uploads"
"""The folder in an index that files sent to it are in, and the scheme of their uris."""
PATIENCE = 15.0
"""Seconds that a write waits for another process that is writing to the same index."""


class Collection:
    """An index that is served. Searches see one whole state of it; a write counts once `write` has returned.

    What another process writes (a second worker, ``isthmus index --update``) is seen by the next search.
    """

    def __init__(self, name: str, path: Path, root: Path | None) -> None:
        self.name, self.path, self.root = name, path, root
        self._writing, self._looking = threading.Lock(), threading.Lock()
        self._index = Index.open(path)
        self._stamp = (0, 0, 0)  # of no state, so that the first search looks again

    @property
    def index(self) -> Index:
        """The index as it is on disk now; nobody changes the object, so that it can be searched from any thread."""
        if self._now() != self._stamp:
            with self._looking:  # not the lock of writing, for which a search would wait
                stamp = self._now()
                if stamp != self._stamp:
                    self._index, self._stamp = self._index.refreshed(), stamp
        return self._index

    def write(self, change: Callable[[Index], T]) -> T:
        """Let `change` write, one at a time, and show what it wrote. Raises `Busy` if another process goes on writing.

        The change is on disk when this returns; a kill before that leaves all of it or nothing.
        """
        with self._writing:
            waited = time.monotonic() + PATIENCE
            while True:
                try:
                    return change(self.index.refreshed())
                except Busy:
                    if time.monotonic() > waited:
                        raise
                    time.sleep(0.05)

    def item(self, name: str) -> Hit:
        """Return the item of an id; `NotFound` where there is none."""
        index = self.index
        for modality in index.modalities:
            items = index.items(modality)
            row = pc.index(items["id"], pa.scalar(name)).as_py()
            if row >= 0:
                return Hit.of(items.slice(row, 1).to_pylist()[0], 0.0)
        raise NotFound(f"{self.name} has no item with the id {name!r}; an id is key|modality|variant")

    @property
    def uploads(self) -> Path:
        """The folder of the files that were sent with items, each named by its content."""
        return self.path / UPLOADS

    def sweep(self, index: Index) -> None:
        """Remove the files that no item of an index names any more."""
        if self.uploads.is_dir():
            tables = [index.items(modality)["uri"] for modality in index.modalities]
            named = {uri for column in tables for uri in column.to_pylist() if uri}
            for file in self.uploads.iterdir():
                if f"{UPLOADS}:{file.name}" not in named:
                    file.unlink(missing_ok=True)

    def _now(self) -> tuple[int, int, int]:
        found = (self.path / HEAD).stat()
        return found.st_mtime_ns, found.st_ino, found.st_size


class Shelves:
    """Everything that is served, by name; ``default`` is the first."""

    def __init__(self, collections: Mapping[str, Collection], spaces: Mapping[str, Space]) -> None:
        self.collections, self._spaces = collections, spaces
        self.names = [*collections, *spaces]

    def collection(self, name: str) -> Collection:
        """Return the index of a name; `NotFound` for another."""
        if name == "default" and self.collections:
            return next(iter(self.collections.values()))
        if name not in self.collections:
            raise NotFound.named("collection", name, self.collections)
        return self.collections[name]

    def space(self, name: str) -> Space:
        """Return the space of a name, an index's or one of its own; `NotFound` for another."""
        if name == "default":
            name = self.names[0]
        if name in self.collections:
            return self.collections[name].index.space
        if name not in self._spaces:
            raise NotFound.named("model", name, [*self.names, "default"])
        return self._spaces[name]


def open_shelves(settings: Settings) -> Shelves:
    """Open every index and space that is to be served; the errors are those of `Index.open` and `Space.load`."""
    collections, spaces = {}, {}
    for name, folder in settings.folders.items():
        path = Path(folder)
        if (path / SPACE).is_file() and not (path / HEAD).is_file():
            spaces[name] = Space.load(path)
        else:
            collections[name] = Collection(name, path, _root(path, settings.stores.get(name)))
    return Shelves(collections, spaces)


def _root(path: Path, store: str | None) -> Path | None:
    """Return the folder that the items' files are in, which the store knows that an index was made of.

    Without a word about the store it is looked for beside the index, where `isthmus demo` puts it.
    """
    folder = Path(store) if store else path.resolve().parent / "store"
    if not (folder / MANIFEST).is_file():
        if store:
            raise BadInput(f"--store {store}: there is no store in this folder")
        return None
    root = Store.open(folder).manifest["source"].get("root")
    return Path(root) if root else None
