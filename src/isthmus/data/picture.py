"""Any picture file as RGB on white, in bounded memory, from files that nobody has checked.

Only the formats named here are tried: SVG by the name of the file, the others by its content. A picture that cannot
be read raises `BadInput` with the file and the reason, whatever the decoder stumbled over.
"""

import io
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from PIL import ExifTags, GifImagePlugin, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from isthmus.core.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_PIXELS", "SIDE", "SUFFIXES", "decode_picture", "draw_svg", "read_picture"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg"})
SIDE = 768
"""Longest side of a picture once read: enough for every common encoder, and a batch of 64 fits in 120 MB."""
MAX_PIXELS = 50_000_000
"""Most pixels that are decoded at once. A larger JPEG is decoded at a fraction of its size instead."""
MAX_SVG_BYTES = 20_000_000
MAX_DEPTH = 100
"""Deepest nesting of a drawing: half of what overflows the stack of the renderer, and more than editors write."""
REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"\s]+)")

# Opened by plugin rather than by `Image.open`: that would try forty formats, and its guard against giant pictures
# is a process-wide setting which a library must not touch. The guard here is `MAX_PIXELS`.
OPENERS: "dict[bytes, Callable[[IO[bytes]], ImageFile.ImageFile]]" = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}


def read_picture(path: str | Path) -> Image.Image:
    """Return the picture in a PNG, JPEG, WebP, GIF or SVG file: RGB on white, its longest side at most `SIDE`.

    The rotation noted by a camera is applied, transparency is laid on white, CMYK, grey, palette and 16-bit
    pictures become RGB, and of an animation the first frame is taken. Raises `BadInput` for what is missing,
    unreadable, of another format, or larger than `MAX_PIXELS` (a JPEG: than 64 times that).
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".svg":
            return _read_svg(path)
        with path.open("rb") as file:
            return decode_picture(file, path)
    except (BadInput, MissingExtra):
        raise
    except Exception as error:
        raise BadInput(f"{path}: the picture cannot be read ({error or type(error).__name__})") from error


def decode_picture(file: IO[bytes], path: str | Path) -> Image.Image:
    """Return the picture in an open PNG, JPEG, WebP or GIF file, as `read_picture` does; `path` is for messages."""
    try:
        start = file.read(12)
        opener = next((o for magic, o in OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            raise BadInput(f"{path}: not a PNG, JPEG, WebP or GIF picture (it starts with {start[:8]!r})")
        file.seek(0)
        with opener(file) as image:
            return _as_rgb(image, path)
    except BadInput:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError, … on broken files
        raise BadInput(f"{path}: the picture cannot be read ({error or type(error).__name__})") from error


def _as_rgb(image: ImageFile.ImageFile, path: str | Path) -> Image.Image:
    image.draft("RGB", (SIDE, SIDE))  # JPEG: decode at the smallest eighth that is no smaller than asked
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{path}: {width} × {height} pixels are more than the {MAX_PIXELS / 1e6:g} million that are decoded; "
            f"make the picture smaller"
        )
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    picture: Image.Image = image
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip to white
        picture = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        picture = white
    picture = picture.convert("RGB")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    if orientation is None:
        return picture
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(picture)


def draw_svg(svg: str, size: int, ground: str = "#ffffff") -> Image.Image:
    """Draw an SVG document on a ground, its longest side `size` pixels. Nothing is read from disk, no font is used.

    Raises `BadInput` for a document that is not SVG or draws nothing, `MissingExtra` without resvg.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra.of("resvg-py", "image", "drawing SVG pictures") from None
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=size, height=size, background=ground, skip_system_fonts=True, dpi=96
        )
    except ValueError as error:
        raise BadInput(f"not an SVG picture that can be drawn: {error}") from None
    with PngImagePlugin.PngImageFile(io.BytesIO(png)) as image:
        return image.convert("RGB")


def _read_svg(path: Path) -> Image.Image:
    if path.stat().st_size > MAX_SVG_BYTES:
        raise BadInput(f"{path}: an SVG file of more than {MAX_SVG_BYTES / 1e6:g} MB is not drawn")
    svg = path.read_text(encoding="utf-8-sig")
    try:
        _refuse_traps(svg)
        return draw_svg(svg, SIDE)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _refuse_traps(svg: str) -> None:
    """Raise `BadInput` for a drawing that shows files of this machine, or that nests so deep that it crashes us.

    The renderer follows a path in an ``<image>``, and overflows the stack at a nesting of about 200, where what an
    element refers to counts as if it stood inside.
    """
    depth = 0
    root = None
    for event, element in ElementTree.iterparse(io.StringIO(svg), ("start", "end")):
        root = element if root is None else root
        depth += 1 if event == "start" else -1
        _refuse_depth(depth)  # while reading, so that no deep tree is ever built
    assert root is not None, "an empty document is a parse error"
    by_id = {element.get("id"): element for element in root.iter()}
    reached: dict[int, int] = {}

    def visit(element: ElementTree.Element, depth: int) -> None:
        _refuse_depth(depth)
        if reached.get(id(element), 0) >= depth:
            return
        reached[id(element)] = depth
        tag = element.tag.rpartition("}")[2]
        for name, value in element.attrib.items():
            references = REFERENCE.findall(value)
            if name.rpartition("}")[2] == "href" and tag != "a":
                if value.startswith("#"):
                    references.append(value[1:])
                elif tag in ("image", "feImage") and not value.startswith("data:"):
                    raise BadInput(f"the drawing shows another file ({value[:80]!r}); embed that in the drawing")
            for reference in references:
                if reference in by_id:
                    visit(by_id[reference], depth + 1)
        for child in element:
            visit(child, depth + 1)

    visit(root, 1)


def _refuse_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(f"the drawing nests more than {MAX_DEPTH} elements, itself or by reference")
