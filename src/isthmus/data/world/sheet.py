"""The contact sheet: one scene in every renderer, as one picture to look at."""

import textwrap
import unicodedata
from typing import TYPE_CHECKING, Any

from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import names, renderer
from isthmus.data.world.sampling import scenes
from isthmus.data.world.scene import Scene

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["sheet", "showcase"]

TILE, GAP, LABEL, HEAD, COLUMNS, LINE = 364, 18, 26, 64, 4, 19
PAPER, INK, FAINT, FRAME = (250, 249, 246), (44, 42, 40), (105, 101, 96), (224, 221, 214)
FIRST = ("picture", "night", "thermal", "sketch", "edges", "depth", "normals", "mask", "boxes", "skeleton")
"""Renderers that come first on the sheet; any others follow by name."""
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf")
"""Fonts with accents, of which most systems have one. The font that Pillow brings has none."""


def showcase(seed: int) -> Scene:
    """Return the first scene of a seed that has something to show: a person, a stack, and three materials."""
    rich = Knobs(min_objects=4, max_objects=5, person=1.0, twins=0.15, stacked=1.0)
    for scene in scenes(seed, knobs=rich):
        if any(one.z > 0 for one in scene.objects) and len({one.material for one in scene.objects}) >= 3:
            return scene
    raise AssertionError("the stream of scenes does not end")


def sheet(seed: int = 0) -> "Image.Image":
    """Return the contact sheet of the showcase of a seed: pictures in rows, then what is said about the scene."""
    from PIL import Image, ImageDraw

    scene = showcase(seed)
    order = [*(name for name in FIRST if name in names()), *(name for name in names() if name not in FIRST)]
    shown: dict[str, Any] = {name: renderer(name).show(scene, TILE) for name in order}
    tiles = [name for name in order if not isinstance(shown[name], str)]
    said = {name: shown[name] for name in order if isinstance(shown[name], str)}
    said |= {name: renderer(name).words(scene) for name in tiles if hasattr(renderer(name), "words")}

    width = COLUMNS * TILE + (COLUMNS + 1) * GAP
    column = (width - 3 * GAP) // 2
    large, bold, plain = (_font(size) for size in (24, 15, 14))
    top = HEAD + -(-len(tiles) // COLUMNS) * (TILE + LABEL + GAP)
    ends = [top, top]
    blocks: list[tuple[int, int, str, list[str]]] = []
    for name, text in sorted(said.items(), key=lambda item: -len(item[1])):  # the longest first, where there is room
        lines = _wrapped(text, column, plain)
        side = ends.index(min(ends))
        blocks.append((GAP + side * (column + GAP), ends[side], renderer(name).TITLE, lines))
        ends[side] += LABEL + LINE * len(lines) + GAP
    page = Image.new("RGB", (width, max(ends) + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 20), "One scene of the world, in every renderer", INK, font=large)
    draw.text((width - GAP, 28), f"seed {scene.seed}, scene {scene.index}", FAINT, font=bold, anchor="ra")
    for k, name in enumerate(tiles):
        x, y = GAP + k % COLUMNS * (TILE + GAP), HEAD + k // COLUMNS * (TILE + LABEL + GAP)
        page.paste(Image.fromarray(shown[name]).resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y))
        draw.rectangle((x - 1, y - 1, x + TILE, y + TILE), outline=FRAME)
        draw.text((x, y + TILE + 5), renderer(name).TITLE, INK, font=bold)
    for x, y, title, lines in blocks:
        draw.text((x, y), title, INK, font=bold)
        for i, line in enumerate(lines):
            draw.text((x, y + LABEL + i * LINE), line, FAINT, font=plain)
    return page


def _font(size: int) -> Any:
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:  # not on this system
            continue
    return ImageFont.load_default(size=size)


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    if bytes(font.getmask("é")) == bytes(font.getmask("ü")):  # both are the sign for a letter that is not there
        text = _plain(text)
    across = max(int(width / font.getlength("abcdefghijklmnopqrstuvwxyz ") * 27) - 3, 20)
    return [line for part in text.split("\n") for line in textwrap.wrap(part, across, subsequent_indent="    ")]


def _plain(text: str) -> str:
    """Return a text without the letters that the font of Pillow lacks."""
    for letter, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("Ä", "Ae"), ("Ö", "Oe"), ("Ü", "Ue"), ("ß", "ss")):
        text = text.replace(letter, written)
    return unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode()
