"""What a modality's content is read by, from a file or from bytes in memory: for tables and archives."""

import io
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.picture import decode_picture, draw_svg, read_picture
from isthmus.data.sound import decode_sound, read_sound

__all__ = ["READ", "from_bytes", "from_file", "inside"]

READ = ("text", "image", "speech", "sound", "audio")
"""Modalities that there is a reader for."""


def from_file(modality: str, path: Path) -> Any:
    """Return the content of a file of a modality; raises what its reader does, `NotFound` for an unknown modality."""
    if modality == "image":
        return read_picture(path)
    if modality == "text":
        return path.read_text(encoding="utf-8-sig")
    if modality in READ:
        return read_sound(path)
    raise NotFound.named("modality", modality, READ, hint="no reader for it")


def from_bytes(modality: str, content: bytes, name: str) -> Any:
    """Return the content in bytes of a modality; `name` is for messages."""
    if modality == "image":
        if content.lstrip()[:5] in (b"<svg ", b"<?xml"):
            return draw_svg(content.decode("utf-8", "replace"), 768)
        return decode_picture(io.BytesIO(content), name)
    if modality == "text":
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadInput(f"{name}: not UTF-8 at byte {error.start}") from None
    if modality in READ:
        return decode_sound(content, name)
    raise NotFound.named("modality", modality, READ, hint="no reader for it")


def inside(root: Path, value: str, where: str) -> Path:
    """Return the file of a path that is relative to a folder; `BadInput` for one that leads out of it or is a link."""
    if "://" in value:
        raise BadInput(f"{where}: {value[:80]!r} is an address; nothing is fetched, so bring the file here")
    file = (root / value).resolve()
    if not file.is_relative_to(root.resolve()):
        raise BadInput(f"{where}: {value[:80]!r} leads out of {root}")
    return file
