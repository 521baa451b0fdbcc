"""What kind of thing a file is, by its first bytes; by its name only where bytes cannot tell one text from another."""

from pathlib import Path

__all__ = ["TEXTS", "kind_of"]

LOOKED_AT = 4096
TEXTS = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
STARTS = (
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"GIF8", "image"),
    (b"%PDF-", "pdf"),
    (b"fLaC", "sound"),
    (b"ID3", "sound"),
    (b".snd", "sound"),
    (b"#!AMR", "sound"),
    (b"\xff\xfb", "sound"),
    (b"\xff\xf3", "sound"),
    (b"\xff\xf2", "sound"),
    (b"\xff\xf1", "sound"),
    (b"\xff\xf9", "sound"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"\x00\x00\x01\xba", "video"),
    (b"\x00\x00\x01\xb3", "video"),
    (b"FLV\x01", "video"),
)
RIFF = {b"WEBP": "image", b"WAVE": "sound", b"AVI ": "video"}
SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1")


def kind_of(path: Path) -> str | None:
    """Return "image", "svg", "sound", "video", "pdf", "text", "markdown" or "html"; None for anything else.

    An empty file is of the kind that its name says, so that it can be named among what was set aside. Raises
    `OSError` for a file that cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
    suffix = path.suffix.lower()
    if not start:
        return TEXTS.get(suffix) or ("svg" if suffix == ".svg" else "image" if suffix in PICTURES else None)
    for magic, kind in STARTS:
        if start.startswith(magic):
            return kind
    if start[:4] == b"RIFF":
        return RIFF.get(start[8:12])
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        return "sound"
    if start[:4] == b"OggS":
        return "video" if b"\x80theora" in start else "sound"
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        return "sound" if brand in SOUND_BRANDS else None if brand in PICTURE_BRANDS else "video"
    return _text(start, suffix)


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def _text(start: bytes, suffix: str) -> str | None:
    if b"\x00" in start:
        return "image" if suffix in PICTURES else None
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1000].lower()
    if suffix == ".svg" or (b"<svg" in head and head.startswith(b"<")):
        return "svg"
    if head.startswith((b"<!doctype html", b"<html")):
        return "html"
    # a picture by its name that is none by its bytes is set aside as one, with what it starts with
    return TEXTS.get(suffix) or ("image" if suffix in PICTURES else None)
