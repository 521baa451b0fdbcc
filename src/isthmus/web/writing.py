"""Writing to what is served: upsert, upload and delete, each on disk before it is answered."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, UploadFile

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.files import atomic
from isthmus.index.index import Index
from isthmus.space import Space
from isthmus.store.rows import Vectors, row_id
from isthmus.web.asking import decoded, heard
from isthmus.web.collection import UPLOADS, Collection
from isthmus.web.errors import Refused
from isthmus.web.media import bytes_of, picture_type, sound_type, unreadable
from isthmus.web.schemas import Deletion, Item, Upsert
from isthmus.web.served import Served

__all__ = ["router"]

WRITERS = ThreadPoolExecutor(4, thread_name_prefix="isthmus-write")
"""Writes wait for each other, so that they must not take the threads of searches."""


def router(served: Served) -> APIRouter:
    """Return the routes that write."""
    routes = APIRouter(prefix="/v1/collections/{name}")

    def _writable(name: str) -> Collection:
        if served.settings.read_only:
            raise Refused("this server was started with --read-only")
        return served.shelves.collection(name)

    @routes.post("/upsert")
    async def upsert(name: str, body: Upsert) -> dict[str, Any]:
        """Add items, in the place of those of the same key, modality and variant."""
        collection = _writable(name)
        served.check_items(len(body.items))
        return await _written(served, collection, body.items)

    @routes.post("/upload")
    async def upload(
        name: str,
        file: list[UploadFile],
        key: Annotated[str | None, Form(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")] = None,
        text: Annotated[str | None, Form(max_length=100_000)] = None,
    ) -> dict[str, Any]:
        """Add pictures and recordings as files; each is known by its content, and called `key` or by its name."""
        collection = _writable(name)
        served.check_items(len(file))
        if key is not None and len(file) > 1:
            raise BadInput(f"key {key!r} names one file, and {len(file)} were sent")
        space = collection.index.space
        items: list[Item] = []
        contents: dict[int, bytes] = {}
        for i, each in enumerate(file):
            content = await each.read()
            called = key or _called(each.filename) or f"upload-{i}"
            modality = "image" if picture_type(content) else heard(space) if sound_type(content) else None
            if modality is None:
                raise unreadable(called)
            items.append(Item(key=called, modality=modality, text=text or None))
            contents[i] = content
        return await _written(served, collection, items, contents)

    @routes.post("/delete")
    async def delete(name: str, body: Deletion) -> dict[str, int]:
        """Remove items by their ids, or those that a filter fits, and the files that were sent with them."""
        collection = _writable(name)
        if (body.ids is None) == (body.where is None):
            raise BadInput("delete takes either ids or where")

        def remove(index: Index) -> int:
            n = index.remove(body.ids, where=body.where)
            collection.sweep(index)
            return n

        return {"deleted": await asyncio.get_running_loop().run_in_executor(WRITERS, collection.write, remove)}

    return routes


@dataclass(frozen=True)
class New:
    """An item to write, with its id and the file that was sent for it."""

    item: Item
    name: str
    content: bytes | None

    @property
    def kind(self) -> str:
        """What is decoded for it: text, image or sound."""
        return self.item.modality if self.item.modality in ("text", "image") else "sound"

    @property
    def file(self) -> str | None:
        """What its file is called here: by its content, whatever it was called where it came from."""
        if self.content is None:
            return None
        sound = sound_type(self.content)
        ending = picture_type(self.content) if self.kind == "image" else sound[1] if sound else None
        if ending is None:
            raise unreadable(self.name)
        return hashlib.sha256(self.content).hexdigest() + ending

    @classmethod
    def of(cls, item: Item, content: bytes | None) -> "New":
        """Return the item of a request, whose file was sent beside it or in it."""
        name = row_id(item.key, item.modality, item.variant)
        sent = {"image": item.image, "text": None}.get(item.modality, item.sound)
        return cls(item, name, bytes_of(sent, name) if content is None and sent is not None else content)

    async def read(self) -> Any:
        """Return what the encoder reads; `BadInput` where it is missing or unreadable."""
        if self.kind == "text":
            if not (self.item.text or "").strip():
                raise BadInput(f"{self.name}: a text is needed")
            return self.item.text
        if self.content is None:
            raise BadInput(f"{self.name}: {self.kind} is needed, or the vector of its encoder")
        return await decoded(self.kind, self.content, self.name)


async def _written(
    served: Served, collection: Collection, items: Sequence[Item], contents: Mapping[int, bytes] | None = None
) -> dict[str, Any]:
    """Encode items, write them, and return how many with their ids; `contents` {i: file} of items sent as files."""
    space = collection.index.space
    if collection.index.correction:
        raise Refused(
            f"{collection.name} is corrected, and what is taken off one item depends on all of them: write to the "
            f"store, and bring the index up to date with `isthmus index STORE --out INDEX --update`"
        )
    new = [New.of(item, (contents or {}).get(i)) for i, item in enumerate(items)]
    if len({each.name for each in new}) < len(new):
        raise BadInput("two of the items have the same key, modality and variant")
    rows: dict[str, list[New]] = {}
    for each in new:
        rows.setdefault(each.item.modality, []).append(each)
    entries = {modality: await _vectors(served, space, modality, mine) for modality, mine in rows.items()}
    files = {each.file: each.content for each in new if each.file is not None and each.content is not None}

    def write(index: Index) -> None:
        # files come first: a kill between the two leaves files that no item names, never an item without its file
        for file, content in files.items():
            collection.uploads.mkdir(exist_ok=True)
            if not (collection.uploads / file).exists():
                with atomic(collection.uploads / file) as partial:
                    partial.write_bytes(content)
        index.upsert(entries)

    await asyncio.get_running_loop().run_in_executor(WRITERS, collection.write, write)
    return {"upserted": len(new), "ids": [each.name for each in new]}


async def _vectors(served: Served, space: Space, modality: str, new: Sequence[New]) -> Vectors:
    """Return the encoder's vectors of items of one modality, given or made here."""
    if modality not in space.maps:
        raise NotFound.named("modality", modality, space.maps, "in this space")
    if space.maps[modality].takes_tokens:
        raise BadInput(f"the map of {modality} takes tokens, so that its items cannot be written here")
    of = space.maps[modality].fingerprint
    x = np.empty((len(new), of.dim), np.float32)
    for i, each in enumerate(new):
        given = each.item.vector
        if given is not None:
            with np.errstate(over="ignore"):
                vector = np.asarray(given, np.float32)
            if len(vector) != of.dim or not np.isfinite(vector).all():
                raise BadInput(f"{each.name}: {of.encoder} gives {of.dim} numbers of 32 bits, got {len(vector)}")
            x[i] = vector
    read = [i for i, each in enumerate(new) if each.item.vector is None]
    x[read] = (await served.encoding.raw(space, modality, [await new[i].read() for i in read])).reshape(-1, of.dim)
    return Vectors.of(
        x,
        of,
        keys=[each.item.key for each in new],
        variants=[each.item.variant for each in new],
        texts=[each.item.text for each in new],
        uris=[f"{UPLOADS}:{each.file}" if each.file else each.item.uri for each in new],
        meta=[dict(each.item.meta) for each in new],
    )


def _called(filename: str | None) -> str:
    """Return what a file is called, without the folders that it is said to lie in and what cannot be printed."""
    name = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:200]
