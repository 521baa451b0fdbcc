"""What is known of a served index and its items: what it holds, an item's picture or sound, the map, its health."""

import asyncio
import functools
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Query, Response

from isthmus.core.errors import BadInput, NotFound
from isthmus.data import open_sound_uri, open_uri
from isthmus.data.content import inside
from isthmus.data.picture import read_picture
from isthmus.data.sound import Sound, read_sound
from isthmus.web.asking import DECODERS
from isthmus.web.collection import UPLOADS, Collection
from isthmus.web.looking import diagnosed, mapped
from isthmus.web.served import Served

__all__ = ["router", "shown"]

SIDES = (96, 256, 768)
"""Longest sides of pictures that are given, in pixels."""
KEPT = 512
"""Pictures and sounds that are kept ready."""


def router(served: Served) -> APIRouter:
    """Return the routes that tell what is there."""
    routes = APIRouter(prefix="/v1/collections")

    @routes.get("")
    async def collections() -> dict[str, Any]:
        """Everything that can be searched."""
        return {"collections": [_described(each) for each in served.shelves.collections.values()]}

    @routes.get("/{name}")
    async def collection(name: str) -> dict[str, Any]:
        """What a collection holds."""
        return _described(served.shelves.collection(name))

    @routes.get("/{name}/item")
    async def item(name: str, id: str) -> dict[str, Any]:
        """One item by its id."""
        found = await asyncio.to_thread(served.shelves.collection(name).item, id)
        return {field: value for field, value in found.to_json().items() if field != "score"}

    @routes.get("/{name}/content")
    async def content(name: str, id: str, size: int = Query(256)) -> Response:
        """The picture of an item as WebP, or its recording as WAV."""
        if size not in SIDES:
            raise BadInput(f"size is one of {', '.join(map(str, SIDES))}, got {size}")
        collection = served.shelves.collection(name)
        hit = await asyncio.to_thread(collection.item, id)
        loop = asyncio.get_running_loop()
        kind, body = await loop.run_in_executor(DECODERS, shown, collection, hit.modality, hit.uri, size)
        return Response(body, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @routes.get("/{name}/map")
    async def flat(name: str) -> dict[str, Any]:
        """A sample of the items on a plane, near ones near each other."""
        return await asyncio.to_thread(mapped, served.shelves.collection(name).index)

    @routes.get("/{name}/diagnosis")
    async def diagnosis(name: str) -> dict[str, Any]:
        """The health of what is served: gaps between modalities, and hubs before and after the correction."""
        return await asyncio.to_thread(diagnosed, served.shelves.collection(name).index)

    return routes


def _described(collection: Collection) -> dict[str, Any]:
    """Return what a collection holds, without where it lies."""
    index = collection.index
    status = index.status()
    kept = {name: status[name] for name in ("rows", "dim", "backend", "space", "segments", "removed")}
    return {
        "name": collection.name,
        **kept,
        "asks": index.space.modalities,
        "corrected": {m: str(record.get("asked")) for m, record in (index.correction or {}).items()},
    }


def shown(collection: Collection, modality: str, uri: str | None, size: int) -> tuple[str, bytes]:
    """Return the media type and the bytes of what an item looks or sounds like; `NotFound` where it is but a text."""
    if modality == "text" or uri is None or uri.startswith(("http:", "https:")):
        raise NotFound("there is no picture and no recording of this item here")
    return _rendered(collection.path, collection.root, modality, uri, size)


@functools.lru_cache(KEPT)
def _rendered(path: Path, root: Path | None, modality: str, uri: str, size: int) -> tuple[str, bytes]:
    scheme, _, rest = uri.partition(":")
    sent = inside(path / UPLOADS, rest, uri) if scheme == UPLOADS else None
    if modality == "image":
        small = (open_uri(uri, root) if sent is None else read_picture(sent)).convert("RGB")
        small.thumbnail((size, size))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=85)
        return "image/webp", buffer.getvalue()
    return "audio/wav", _wav(open_sound_uri(uri, root) if sent is None else read_sound(sent))


def _wav(sound: Sound) -> bytes:
    """Return a recording as a WAV file of 16 bits."""
    samples = (np.clip(sound["array"], -1, 1) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound["sampling_rate"])
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
