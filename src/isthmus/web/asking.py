"""From what a request asks for to a question, and its vectors in a space."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float32

from isthmus.core.errors import BadInput, NotFound
from isthmus.space import Space
from isthmus.web.encoding import Encoding
from isthmus.web.media import bytes_of, picture_of, sound_of
from isthmus.web.schemas import Part
from isthmus.workbench.ask import RECORDINGS, Question

__all__ = ["asked_for", "decoded", "heard", "items_of", "vectors_of"]

VECTOR = "vector"
"""What stands for a modality where a vector in the space is given."""
DECODERS = ThreadPoolExecutor(2, thread_name_prefix="isthmus-decode")
"""Two pictures or recordings are decoded at once, which bounds the memory that they take."""


async def decoded(kind: str, content: str | bytes, what: str) -> Any:
    """Return the picture or the recording in a data URI, base64 or bytes; `what` names it in messages."""

    def read() -> Any:
        raw = bytes_of(content, what) if isinstance(content, str) else content
        return picture_of(raw, what) if kind == "image" else sound_of(raw, what)

    return await asyncio.get_running_loop().run_in_executor(DECODERS, read)


def heard(space: Space) -> str:
    """Return which modality a recording is of in a space; `NotFound` where it maps none."""
    for name in RECORDINGS:
        if name in space.maps:
            return name
    raise NotFound(f"this space maps no recordings; it maps {', '.join(space.modalities)}")


async def items_of(space: Space, part: str | Part, what: str) -> list[tuple[str, Any]]:
    """Return the (modality, item) of everything that a part holds; `BadInput` where that is nothing."""
    given = Part(text=part) if isinstance(part, str) else part
    found: list[tuple[str, Any]] = []
    if given.image is not None:
        found.append(("image", await decoded("image", given.image, f"{what}: image")))
    if given.sound is not None:
        found.append((heard(space), await decoded("sound", given.sound, f"{what}: sound")))
    if given.text is not None:
        if not given.text.strip():
            raise BadInput(f"{what}: the text is empty")
        found.append(("text", given.text))
    if given.vector is not None:
        found.append((VECTOR, _vector(space, given.vector, what)))
    if not found:
        raise BadInput(f"{what} holds nothing: give a text, an image, a sound or a vector")
    for modality, _ in found:
        if modality != VECTOR and modality not in space.maps:
            raise NotFound.named("modality", modality, space.maps, "in this space")
    return found


async def asked_for(space: Space, part: Part, minus: Sequence[str | Part] = ()) -> Question:
    """Return the question of what is wanted, less what is not."""
    unwanted = [item for i, each in enumerate(minus) for item in await items_of(space, each, f"minus {i}")]
    return Question(tuple(await items_of(space, part, "the query")), tuple(unwanted))


async def vectors_of(encoding: Encoding, space: Space, items: Sequence[tuple[str, Any]]) -> Float32[np.ndarray, "n d"]:
    """Return the vectors in the space of (modality, item), encoded together with those of other requests."""
    found = np.empty((len(items), space.dim), np.float32)
    for modality in dict.fromkeys(name for name, _ in items):
        rows = [i for i, (name, _) in enumerate(items) if name == modality]
        own = [items[i][1] for i in rows]
        found[rows] = np.stack(own) if modality == VECTOR else await encoding.mapped(space, modality, own)
    return found


def _vector(space: Space, values: Sequence[float], what: str) -> Float32[np.ndarray, " d"]:
    """Return a vector that fits the space; `BadInput` for another width, or numbers beyond 32 bits."""
    with np.errstate(over="ignore"):
        x = np.asarray(values, np.float32)
    if len(x) != space.dim or not np.isfinite(x).all():
        raise BadInput(f"{what}: {space.dim} numbers of 32 bits are expected as a vector, got {len(x)}")
    return x
