"""Real data sets as records, read from where packages put them.

Every file of this folder that holds a `CARD` is a data set, and so is every folder whose ``__init__.py`` does: it
offers `load(**options) -> DataSet`, and `open_picture(rest, root)` for the uri schemes of its card. Cards are read
without importing the file.
"""

import functools
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from isthmus.core.catalog import read_literal
from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.records import DataSet, Record

if TYPE_CHECKING:
    import PIL.Image

    from isthmus.data.sound import Sound

__all__ = [
    "DataCard",
    "DataSet",
    "Record",
    "card",
    "cards",
    "load",
    "names",
    "open_sound_uri",
    "open_uri",
    "options",
    "sheet",
]


def cards() -> dict[str, DataCard]:
    """Return the card of every source by name, data sets and sources opened by path alike."""
    here = Path(__file__).parent
    paths = {path.stem: path for path in here.glob("[!_]*.py")}
    paths |= {path.parent.name: path for path in here.glob("[!_]*/__init__.py")}
    return {name: value for name in sorted(paths) if (value := _card_in(paths[name])) is not None}


@functools.cache
def _card_in(path: Path) -> DataCard | None:
    """Return the card in a file, read once: a page opens hundreds of uris, and each asks whose it is."""
    value = read_literal(path, "CARD", {"DataCard": DataCard})
    return value if isinstance(value, DataCard) else None


def names() -> list[str]:
    """Return the names of the data sets that `load` knows."""
    return [name for name, card in cards().items() if not card.by_path]


def card(name: str) -> DataCard:
    """Return the card of a data set; `NotFound` for an unknown name."""
    known = cards()
    if name not in known:
        raise NotFound.named("data set", name, known)
    return known[name]


def load(source: str | Path, **options: Any) -> DataSet:
    """Return the records of a data set by name, or of a folder, a table or tar shards by path.

    A name wins over a folder that is called alike (write ``./openmoji`` for the folder). Raises `NotFound` for
    what is neither, `MissingExtra` when the packages of the data set are not installed, and `BadInput` for an
    empty folder or unknown options.
    """
    path = Path(source)
    if isinstance(source, str) and source in names():
        module = importlib.import_module(f"isthmus.data.{source}")
    elif path.exists():
        module, options = importlib.import_module(f"isthmus.data.{_kind(path)}"), {"path": path, **options}
    else:
        raise NotFound.named("data set", str(source), names(), hint="or name an existing folder of pictures")
    try:
        dataset: DataSet = module.load(**options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise BadInput(f"data set {source}: {error}") from error
    return dataset


def options(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of `load` that texts write: numbers, truth values and lists as in JSON, all else as it is."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: read(text) for name, text in given.items()}


def _kind(path: Path) -> str:
    """Return the module that reads a path: tables and shards are known by their ending, all else is a folder."""
    from isthmus.data.table import is_table
    from isthmus.data.webdataset import is_shards

    return "table" if is_table(path) else "webdataset" if is_shards(path) else "folder"


def open_uri(uri: str, root: str | Path | None = None) -> "PIL.Image.Image":
    """Return the picture behind the `uri` of a record, RGB on white.

    `root` is the folder that ``file:`` uris are relative to (the ``root`` of `DataSet.describe`). Raises
    `NotFound` for an unknown scheme or a picture that is gone, `BadInput` for one that cannot be read or lies
    outside `root`.
    """
    module, rest = _owner(uri)
    picture: PIL.Image.Image = module.open_picture(rest, None if root is None else Path(root))
    return picture


def open_sound_uri(uri: str, root: str | Path | None = None) -> "Sound":
    """Return the recording behind the `uri` of a record; the rest as in `open_uri`.

    Raises `NotFound` for a source whose recordings lie in no file of their own, too.
    """
    module, rest = _owner(uri)
    if not hasattr(module, "open_sound"):
        raise NotFound(f"{uri!r} names no recording that can be opened by itself")
    sound: Sound = module.open_sound(rest, None if root is None else Path(root))
    return sound


def _owner(uri: str) -> tuple[ModuleType, str]:
    """Return the module that knows the scheme of a uri, and what stands behind the scheme."""
    scheme, _, rest = uri.partition(":")
    owners = {s: name for name, card in cards().items() for s in card.schemes}
    if scheme not in owners or not rest:
        raise NotFound(f"cannot open {uri!r}: known are {', '.join(f'{s}:…' for s in sorted(owners))}")
    return importlib.import_module(f"isthmus.data.{owners[scheme]}"), rest


def sheet(name: str, *, seed: int = 0) -> "PIL.Image.Image":
    """Return the contact sheet of a data set that draws one; `BadInput` for one that does not."""
    card(name)
    module = importlib.import_module(f"isthmus.data.{name}")
    if not hasattr(module, "sheet"):
        raise BadInput(f"the data set {name} has no contact sheet; the world has one")
    picture: PIL.Image.Image = module.sheet(seed)
    return picture
