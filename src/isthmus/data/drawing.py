"""Pictures of fetched sets at the size that is asked for: drawings in SVG, and anything `read_picture` takes.

Drawings of the web's early years name pictures on their author's disk, measure in points and millimetres, and are
at times white on nothing. So links to other files are cut, a point is 1/72 of an inch of 96 pixels, and what does
not show on white is laid on black.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.data.picture import MAX_SVG_BYTES, read_picture

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SIZE", "read_drawing"]

SIZE = 224
"""Longest side of the pictures in pixels, as the smallest of the bundled encoders takes them."""
LINK = re.compile(r"""(\bhref\s*=\s*)(["'])(?!#|data:)[^"']*\2""")


def read_drawing(path: Path, size: int = SIZE) -> Image.Image:
    """Return a picture, RGB, its longest side `size` pixels if it is an SVG drawing and at most that if it is not.

    Raises `BadInput` for a picture that cannot be read or that shows nothing, on white or on black; `MissingExtra`
    without resvg.
    """
    if path.suffix.lower() != ".svg":
        picture = _visible(path, lambda colour: _raster(path, colour))
        picture.thumbnail((size, size), Image.Resampling.BICUBIC)
        return picture
    if path.stat().st_size > MAX_SVG_BYTES:
        raise BadInput(f"{path}: an SVG file of more than {MAX_SVG_BYTES / 1e6:g} MB is not drawn")
    svg = LINK.sub(r"\1\2\2", path.read_bytes().decode("utf-8-sig", "replace"))
    return _visible(path, lambda colour: _draw(path, svg, size, colour))


def _visible(path: Path, draw: "Callable[[str], Image.Image]") -> Image.Image:
    for name, ground in (("white", (255, 255, 255)), ("black", (0, 0, 0))):
        picture = draw(name)
        colours = picture.getcolors(maxcolors=1)  # None when there are more
        if colours is None or colours[0][1] != ground:
            return picture
    raise BadInput(f"{path}: the drawing shows nothing")


def _raster(path: Path, colour: str) -> Image.Image:
    if colour == "white":
        return read_picture(path)
    with Image.open(path) as image:
        picture = Image.new("RGB", image.size, colour)
        picture.paste(image.convert("RGBA"), mask=image.convert("RGBA"))
    return picture


def _draw(path: Path, svg: str, size: int, colour: str) -> Image.Image:
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra.of("resvg-py", "image", "drawing SVG pictures") from None
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=size, height=size, background=colour, skip_system_fonts=True, dpi=96
        )
    except ValueError as error:
        raise BadInput(f"{path}: not an SVG picture that can be drawn ({error})") from None
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return image.convert("RGB")
