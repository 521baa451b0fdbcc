"""Pictures of fetched sets at the size that is asked for: drawings in SVG, and anything `read_picture` takes.

Drawings of the web's early years name pictures on their author's disk, and are at times white on nothing. So links to
other files are cut, and what does not show on white is laid on black.
"""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.core.errors import BadInput
from isthmus.data.picture import MAX_SVG_BYTES, draw_svg, read_picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SIZE", "digest_at", "read_drawing"]

SIZE = 224
"""Longest side of the pictures in pixels, as the smallest of the bundled encoders takes them."""
GROUNDS = {"#ffffff": (255, 255, 255), "#000000": (0, 0, 0)}
LINK = re.compile(r"""(\bhref\s*=\s*)(["'])(?!#|data:)[^"']*\2""")


def read_drawing(path: Path, size: int = SIZE) -> "Image.Image":
    """Return a picture, RGB, its longest side `size` pixels if it is an SVG drawing and at most that if it is not.

    Raises `BadInput` for a picture that cannot be read, or a drawing that shows nothing, neither on white nor on
    black; `MissingExtra` without resvg.
    """
    if path.suffix.lower() != ".svg":
        picture = read_picture(path)
        picture.thumbnail((size, size))
        return picture
    if path.stat().st_size > MAX_SVG_BYTES:
        raise BadInput(f"{path}: an SVG file of more than {MAX_SVG_BYTES / 1e6:g} MB is not drawn")
    svg = LINK.sub(r"\1\2\2", path.read_bytes().decode("utf-8-sig", "replace"))
    try:
        for ground, colour in GROUNDS.items():
            picture = draw_svg(svg, size, ground)
            if picture.getcolors(1) != [(picture.width * picture.height, colour)]:
                return picture
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    raise BadInput(f"{path}: the drawing shows nothing")


def digest_at(path: Path, size: int) -> str:
    """Return the SHA-256 of a picture at a size: of both, as the size changes what is drawn."""
    return hashlib.sha256(b"%d px\n" % size + path.read_bytes()).hexdigest()
