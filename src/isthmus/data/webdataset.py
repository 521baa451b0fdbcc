"""Tar shards of WebDataset: files of one name but for their ending are one item.

``000123.jpg``, ``000123.txt`` and ``000123.json`` are the picture, the caption and the fields of the item 000123.
Members are read where they lie in the archive; nothing is unpacked.
"""

import functools
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.content import READ, from_bytes
from isthmus.data.records import DataSet, Record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "is_shards", "load", "open_picture"]

CARD = DataCard(
    name="webdataset",
    title="Tar shards of WebDataset",
    licence="as what is in them",
    attribution="",
    packages=(),
    extra="files",
    counts="a record for every member with an ending of a modality; .json and .cls are fields of the item",
    modalities=("image", "speech", "text"),
    variants=("",),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the member's name",
    near_duplicates="every item is a group of its own",
    schemes=("tar",),
    by_path=True,
)

ENDINGS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "svg"), "image"),
    **dict.fromkeys(("txt", "text", "caption"), "text"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "m4a", "opus"), "speech"),
}
FIELDS = ("json", "cls")
MAX_MEMBER = 500_000_000


def is_shards(path: Path) -> bool:
    """Say whether a path is a shard, or a folder of shards and nothing else but hidden files and JSON."""
    if path.is_file():
        return path.suffix == ".tar"
    files = [p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != ".json"]
    return bool(files) and all(p.suffix == ".tar" for p in files)


def load(path: str | Path, *, map: Mapping[str, str] | None = None) -> DataSet:
    """Return the records of one shard or of all shards of a folder, in the order of their names and members.

    `map` says which ending holds which modality where the usual ones do not, such as {"text": "en.txt"}. Members with
    absolute names, with .. in them, and links are set aside. Raises `NotFound` for a path or a modality that is not
    there, `BadInput` for an archive that is compressed, damaged, or has nothing to read.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such archive")
    for modality in map or {}:
        if modality not in READ:
            raise NotFound.named("modality", modality, READ, hint="no reader for it")
    endings = ENDINGS if not map else {ending.lstrip("."): modality for modality, ending in map.items()}
    shards = [path] if path.is_file() else sorted(path.glob("*.tar"))
    aside: dict[str, str] = {}
    records: list[Record] = []
    taken: set[str] = set()
    for shard in shards:
        for key, members in _items(shard, aside):
            name = key if key not in taken else f"{shard.name}/{key}"
            taken.add(name)
            records += _records(shard, name, members, endings)
    if not records:
        raise BadInput(f"{path}: no member ends in {', '.join('.' + ending for ending in endings)}")
    root = path.parent if path.is_file() else path
    return DataSet(path.stem, records, CARD, root.resolve(), aside)


def open_picture(rest: str, root: Path | None) -> "Image.Image":
    """Return the picture of ``tar:shard.tar#offset+size/name``; `BadInput` when the shard lies outside `root`."""
    shard, _, place = rest.partition("#")
    span, _, name = place.partition("/")
    offset, _, size = span.partition("+")
    if root is None or not (offset.isdigit() and size.isdigit()):
        raise BadInput(f"tar:{rest} is relative to the folder it came from: give that folder as root")
    file = (root / shard).resolve()
    if not file.is_relative_to(root.resolve()):
        raise BadInput(f"tar:{rest} lies outside {root}")
    picture: Image.Image = from_bytes("image", _span(file, int(offset), int(size)), name)
    return picture


def _items(shard: Path, aside: dict[str, str]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Yield the items of a shard: their key, and their members by ending."""
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                where = f"{shard.name}/{member.name}"
                parts = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isfile():
                    aside[where] = f"{shard}: {member.name!r} is a link or a device; only files are read"
                elif parts.is_absolute() or ".." in parts.parts:
                    aside[where] = f"{shard}: {member.name!r} leads out of the archive"
                elif member.size > MAX_MEMBER:
                    aside[where] = f"{shard}: {member.name!r} has {member.size / 1e6:.0f} MB, too much for one item"
                else:
                    stem, _, ending = parts.name.partition(".")
                    found.setdefault(str(parts.parent / stem), {})[ending.lower()] = member
    except tarfile.ReadError as error:
        hint = "; unpack it to .tar, so that members can be read where they lie" if shard.suffix != ".tar" else ""
        raise BadInput(f"{shard} cannot be read as a plain tar archive: {error}{hint}") from error
    yield from found.items()


def _records(
    shard: Path, key: str, members: Mapping[str, tarfile.TarInfo], endings: Mapping[str, str]
) -> Iterator[Record]:
    meta = _fields(shard, members)
    text = None
    for ending, member in members.items():
        if endings.get(ending) == "text" and member.size < 1_000_000:
            text = _span(shard, member.offset_data, member.size).decode("utf-8", "replace").strip() or None
    variants: dict[str, int] = {}
    for ending, member in members.items():
        if (modality := endings.get(ending)) is None:
            continue
        variants[modality] = variants.get(modality, 0) + 1
        content = functools.partial(_span, shard, member.offset_data, member.size)
        where = f"{shard}: {member.name}"
        yield Record(
            key=key,
            modality=modality,
            variant="" if variants[modality] == 1 else ending.replace("|", "/"),
            text=text,
            uri=f"tar:{shard.name}#{member.offset_data}+{member.size}/{member.name}",
            meta=meta,
            load=functools.partial(_loaded, modality, content, where),
            digest=functools.partial(_digest, content),
        )


def _fields(shard: Path, members: Mapping[str, tarfile.TarInfo]) -> dict[str, str]:
    """Return the single values of the item's .json, and its class."""
    meta: dict[str, str] = {}
    for ending in FIELDS:
        if (member := members.get(ending)) is None or member.size > 1_000_000:
            continue
        content = _span(shard, member.offset_data, member.size)
        if ending == "cls":
            meta["class"] = content.decode("utf-8", "replace").strip()
            continue
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            continue
        if isinstance(fields, dict):
            meta |= {str(k): str(v) for k, v in fields.items() if isinstance(v, str | int | float) and str(v)}
    return meta


def _span(shard: Path, offset: int, size: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise BadInput(f"{shard} ends before byte {offset + size}: the archive is cut off")
    return content


def _loaded(modality: str, content: Any, where: str) -> Any:
    value = from_bytes(modality, content(), where)
    if isinstance(value, str):
        value = value.strip()
        if not value:
            raise BadInput(f"{where}: the text is empty")
    return value


def _digest(content: Any) -> str:
    try:
        return hashlib.sha256(content()).hexdigest()
    except (OSError, BadInput) as error:  # `load` says the same
        return hashlib.sha256(str(error).encode()).hexdigest()
