"""Pictures and recordings from strangers: read in bounded memory, by their content and never by their name."""

import base64
import binascii
import io
import re
from typing import Any

from PIL import Image

from isthmus.core.errors import BadInput
from isthmus.data.picture import MAX_PIXELS, OPENERS, decode_picture
from isthmus.data.sound import MAX_SECONDS, Sound, decode_sound
from isthmus.web.errors import TooMuch, Unsupported

__all__ = ["bytes_of", "picture_of", "picture_type", "sound_of", "sound_type", "unreadable"]

DATA_URI = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)
MAX_SAMPLES = 30_000_000
"""Samples of a recording over all channels: ten minutes of one at 48 kHz, 120 MB."""
PICTURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"GIF8": ".gif"}
SOUNDS = {
    b"OggS": ("audio/ogg", ".ogg"),
    b"fLaC": ("audio/flac", ".flac"),
    b"ID3": ("audio/mpeg", ".mp3"),
    b"\xff\xfb": ("audio/mpeg", ".mp3"),
    b"\xff\xf3": ("audio/mpeg", ".mp3"),
    b"\xff\xf2": ("audio/mpeg", ".mp3"),
}


def bytes_of(text: str, what: str) -> bytes:
    """Return the content of a data URI or of plain base64; `BadInput` for anything else, an address among it."""
    if text.startswith("data:"):
        head = DATA_URI.match(text)
        if head is None:
            raise BadInput(f"{what}: a data URI looks like data:image/png;base64,iVBOR…")
        text = text[head.end() :]
    elif re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text):
        raise BadInput(f"{what}: {text[:40]!r} is an address, and only content is read: send a data URI or base64")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{what}: not base64 ({error})") from None
    if not content:
        raise BadInput(f"{what}: there is nothing in it")
    return content


def picture_of(content: bytes, what: str) -> Image.Image:
    """Return the picture in a PNG, JPEG, WebP or GIF file.

    Its size is read before any of it is decoded: a JPEG of many pixels is refused too, since a progressive one is
    decoded whole. Raises `TooMuch` for more than 50 million pixels, `Unsupported` for another format, `BadInput` for
    what cannot be read.
    """
    opener = next((o for magic, o in OPENERS.items() if content.startswith(magic)), None)
    if opener is None:
        raise Unsupported(f"{what}: not a PNG, JPEG, WebP or GIF picture (it starts with {content[:8]!r})")
    try:
        with opener(io.BytesIO(content)) as image:
            width, height = image.size
    except Exception as error:  # whatever a decoder stumbles over, the file is to blame
        raise BadInput(f"{what}: the picture cannot be read ({error or type(error).__name__})") from None
    if width * height > MAX_PIXELS:
        raise TooMuch(
            f"{what}: {width} × {height} pixels are more than the {MAX_PIXELS / 1e6:g} million that are decoded"
        )
    return decode_picture(io.BytesIO(content), what)


def sound_of(content: bytes, what: str) -> Sound:
    """Return the recording in an Ogg, WAV, FLAC or MP3 file, or another that PyAV reads where that is installed.

    Raises `TooMuch` for a file that says it unpacks to more than `MAX_SAMPLES`, `BadInput` for what cannot be read.
    """
    import soundfile

    if b"#EXTM3U" in content[:64] or content[:64].lstrip()[:1] in (b"<", b"{") or content.startswith(b"ffconcat"):
        raise Unsupported(f"{what}: a list of files is no recording")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as opened:
            samples = min(opened.frames, (MAX_SECONDS + 1) * opened.samplerate) * opened.channels
            if samples > MAX_SAMPLES:
                raise TooMuch(f"{what}: {samples:,} samples are more than the {MAX_SAMPLES:,} that are decoded")
    except (soundfile.LibsndfileError, OSError):
        pass  # what it does not know may be known to PyAV, which gives one channel and stops at the longest
    return decode_sound(content, what)


def picture_type(content: bytes) -> str | None:
    """Return the ending of a picture's name by its first bytes, or None for what is no picture."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((ending for magic, ending in PICTURES.items() if content.startswith(magic)), None)


def sound_type(content: bytes) -> tuple[str, str] | None:
    """Return the media type and the ending of a recording by its first bytes, or None for what is none."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "audio/wav", ".wav"
    return next((kind for magic, kind in SOUNDS.items() if content.startswith(magic)), None)


def unreadable(item: Any) -> BadInput:
    """Return the error for what is neither a picture nor a recording."""
    return Unsupported(f"{item}: neither a picture (PNG, JPEG, WebP, GIF) nor a recording (Ogg, WAV, FLAC, MP3)")
