"""Open Clip Art Library: drawings with titles, descriptions and keywords, as noisy as people wrote them.

The words are in the RDF of each SVG file. Many titles name the collection that a drawing came with and not what it
shows: a title that `SHARED` drawings or more bear, or that only says who drew, gives way to the name of the file.
"""

import functools
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.drawing import SIZE, digest_at, read_drawing
from isthmus.data.fetch import Part, Source, find, located
from isthmus.data.records import DataSet, Record, joined, text_record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "SOURCE", "groups", "load", "open_picture", "titles"]

CARD = DataCard(
    name="openclipart",
    title="Open Clip Art Library 0.18: drawings with titles, descriptions and keywords",
    licence="public domain",
    attribution="Open Clip Art Library contributors, openclipart.org",
    packages=("openclipart-svg (Debian)", "resvg-py"),
    extra="image",
    counts=(
        "7,332 drawings with 7,332 titles, 7,080 lists of keywords and 730 descriptions; 3,423 near-duplicate groups, "
        "914 of them of several drawings (4,823 drawings, 1,375 of them stars)"
    ),
    modalities=("image", "text"),
    variants=("text: title", "text: keywords", "text: description"),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the path of the file",
    near_duplicates=(
        "one group: titles, or file names in any folder, with the same words but for numbers, colours and directions; "
        "the same shapes, whatever their colours; 17 pairs drawn alike. Of the drawings of different groups about a "
        "hundred pairs differ by less than 5 %, most of them icons of one theme; none by less than 1 %"
    ),
    schemes=("openclipart",),
    demo={"text": ("title", "keywords", "description")},
)

SOURCE = Source(
    client="apt",
    megabytes=25,
    parts=(
        Part(
            package="openclipart-svg",
            version="1:0.18+dfsg-19",
            sha256="d8dfad5d40a2b1dfcb229d56a40610912f42aa1aac62f946eaa9d5f2b19fb06c",
            root="usr/share/openclipart/svg",
            keep=("*.svg",),
        ),
    ),
)

PACKAGE = "openclipart-svg"
SHARED = 20
"""As many drawings with one title or description make it the name of a collection."""
GRADIENTS = "special/gradients/"
"""Definitions of colour gradients, which draw nothing."""
NOTHING = {  # drawings that show nothing, because they are only text or a picture that is not there
    "animals/birds/duck_yellow_ii_kurt_cagl_",
    "animals/birds/penguin/tux_didier_fabert_01",
    "computer/icons/flat-theme/action/pen_style_nopen",
    "electronics/bulb/light_bulb_karl_bartel_01",
    "office/large_braces.svg_amos_01",
    "recreation/sports/badminton_racket_brice_b_01",
    "signs_and_symbols/font_samples_revdoug_01",
    "signs_and_symbols/teschio_fabio_olivo_01",
}
AUTHOR = re.compile(r"clipart by ", re.IGNORECASE)
WORK = re.compile(rb"<((?:\w+:)?Work)\b.*?</\1>", re.DOTALL)
PREFIX = re.compile(rb"(?<=[</\s])\w+:(?=\w+[\s=/>])")
"""What stands before the names of elements and attributes, and means nothing outside of the whole file."""
SPACE = b" \t\r\n"
NO_KEYWORD = re.compile(r"hash|unsorted|0x[0-9a-f]+|\W*", re.IGNORECASE)
"""What the making of the library left among the keywords."""
WHICH_ONE = re.compile(  # words that say which of several alike is meant
    "left|right|up|down|upper|lower|top|bottom|begin|end|first|last|next|previous|with|"
    "without|and|the|transparent|black|white|red|green|blue|yellow|purple|grey|gray|dark|"
    "light|bw|color|colour|small|big|large|open"
)
TWINS = (  # drawings that differ by less than 1 % and that no rule finds
    ("computer/icons/flat-theme/action/contents", "computer/icons/flat-theme/applications/kaddressbook"),
    ("computer/icons/flat-theme/applications/ksame", "computer/icons/flat-theme/applications/kwin4"),
    ("computer/icons/flat-theme/applications/konquest", "computer/icons/flat-theme/applications/kstars"),
    ("computer/icons/flat-theme/action/3rightarrow", "computer/icons/flat-theme/action/player_end"),
    ("computer/icons/flat-theme/action/about_kde", "computer/icons/flat-theme/applications/go"),
    ("computer/icons/flat-theme/action/piano", "computer/icons/flat-theme/applications/kcmmidi"),
    ("computer/icons/flat-theme/applications/kdict", "computer/icons/flat-theme/applications/kghostview"),
    ("computer/icons/flat-theme/folder_outbox", "computer/icons/flat-theme/folder_sent_mail"),
    ("computer/dimm_memory_magnus_erik_", "computer/memory_ddr_magnus_erik_l_"),
    (
        "signs_and_symbols/flags/europe/italy/flag_of_padania_federico_01",
        "signs_and_symbols/flags/europe/italy/padania_ani_ani_01",
    ),
    (
        "signs_and_symbols/flags/british_flag_felipescu_01r",
        "signs_and_symbols/flags/great_britain_flag_filip_01",
    ),
    ("computer/icons/flat-theme/action/borderleft", "computer/icons/flat-theme/action/borderright"),
    ("computer/icons/flat-theme/action/wallet_open", "computer/icons/flat-theme/applications/kwallet"),
    ("computer/icons/flat-theme/action/Network_1", "computer/icons/flat-theme/applications/package_network"),
    ("signs_and_symbols/peace_symbol_petri_lumme_01", "signs_and_symbols/peace_symbol_transparen_01"),
    ("signs_and_symbols/flags/asia/jordan", "signs_and_symbols/flags/asia/palestine"),
    ("signs_and_symbols/irritant_yves_guillou_01", "signs_and_symbols/nocif_yves_guillou_01"),
)


def load(*, size: int = SIZE, folder: Path | None = None) -> DataSet:
    """Return a picture of every drawing, and its title, keywords and description as texts where it has them.

    The meta of a picture holds its title as ``name``, its ``category`` (the path of its folder), ``keywords``,
    the ``artist``, and the ``collection`` that the file has for a title. `size` is the longest side of the pictures
    in pixels, `folder` a fetched set elsewhere than in the cache. Links of the package to a file under a second
    name are left out.

    Raises `NotFound` when the set has not been fetched.
    """
    if size < 1:
        raise BadInput(f"openclipart: size must be at least 1 pixel, got {size}")
    root = (find("openclipart") if folder is None else folder) / PACKAGE
    files = {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.svg"))
        if path.is_file() and not path.is_symlink()
    }
    aside = {key: "shows nothing" for key in files if key in NOTHING or key.startswith(GRADIENTS)}
    said = {key: read_words(path.read_bytes()) for key, path in files.items() if key not in aside}
    return DataSet("openclipart", list(_records(said, files, size)), CARD, root=root, set_aside=aside)


@dataclass
class Words:
    """What the RDF of a drawing says, and a digest of its shapes (empty for a drawing of less than a box or two)."""

    title: str = ""
    description: str = ""
    artist: str = ""
    keywords: tuple[str, ...] = ()
    shapes: str = ""


def read_words(svg: bytes) -> Words:
    """Read the words of a drawing; of each kind the first are believed.

    The drawing itself is not parsed, which would take half a minute for the whole set.
    """
    said = Words()
    for match in WORK.finditer(svg):
        try:
            work = ElementTree.fromstring(PREFIX.sub(b"", match[0]))
        except ElementTree.ParseError:
            continue
        said.title = said.title or _text(work.find("title"))
        said.description = said.description or _text(work.find("description"))
        said.artist = said.artist or _text(work.find("creator"))
        words = (_text(entry).replace("_", " ") for entry in work.iterfind("subject//li"))
        said.keywords = said.keywords or tuple(dict.fromkeys(w for w in words if not NO_KEYWORD.fullmatch(w)))
    # attributes d and points: cutting at them takes half the time of a search by pattern
    pieces = pairwise(svg.replace(b'points="', b'd="').split(b'd="'))
    shapes = b"\n".join(
        here.partition(b'"')[0].translate(None, SPACE) for before, here in pieces if before[-1:].isspace()
    )
    if len(shapes) > 60:  # less is a line or a box, which many drawings share
        said.shapes = hashlib.sha256(shapes).hexdigest()[:16]
    return said


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def titles(said: Mapping[str, Words]) -> dict[str, str]:
    """Return {key: title}, taking the words of the file's name where the title does not say what is drawn.

    ``computer/icons/hotel_icon_bath_ger_01`` of the artist Gerald G. is a "hotel icon bath": numbers, and words
    of the artist's name are not words of the file's name.
    """
    bearers = Counter(words.title.casefold() for words in said.values())
    return {
        key: words.title
        if words.title and not AUTHOR.match(words.title) and bearers[words.title.casefold()] < SHARED
        else _spelt(key, words.artist)
        for key, words in said.items()
    }


def groups(title: Mapping[str, str], shapes: Mapping[str, str]) -> dict[str, str]:
    """Return {key: group} for the titles and the digests of shapes by key: the near-duplicate rule of the card.

    Drawings are in one group when their titles or the names of their files, wherever they lie, have the same words
    but for numbers, colours and directions; when they are made of the same shapes, whatever their colours; or when
    they are one of 17 pairs drawn alike.
    """
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, name in title.items():
        for kind, text in (("title", name), ("file", key.rpartition("/")[2])):
            if words := _words(text):
                alike[kind, *([w for w in words if not WHICH_ONE.fullmatch(w)] or words)].append(key)
        if shape := shapes.get(key):
            alike["shapes", shape].append(key)
    return joined(title, [*alike.values(), *(pair for pair in TWINS if title.keys() >= set(pair))])


def open_picture(key: str, root: Path | None = None) -> "Image.Image":
    """Return the drawing of a key such as ``animals/birds/contour_bat``."""
    place = located("openclipart", PACKAGE, root)
    path = place / f"{key}.svg"
    if not path.is_file() or not path.resolve().is_relative_to(place.resolve()):
        raise NotFound(f"Open Clip Art has no drawing {key!r}; drawings are called as food/fruit/apple")
    return read_drawing(path)


def _records(said: Mapping[str, Words], files: Mapping[str, Path], size: int) -> Iterator[Record]:
    title = titles(said)
    group = groups(title, {key: words.shapes for key, words in said.items()})
    bearers = Counter(words.description.casefold() for words in said.values())
    for key, words in said.items():
        keywords = ", ".join(words.keywords)
        yield Record(
            key=key,
            modality="image",
            group=group[key],
            text=title[key],
            uri=f"openclipart:{key}",
            meta={
                "name": title[key],
                "category": key.rpartition("/")[0],
                "keywords": keywords,
                "artist": words.artist,
                "collection": "" if words.title == title[key] else words.title,
            },
            load=functools.partial(read_drawing, files[key], size),
            digest=functools.partial(digest_at, files[key], size),
        )
        folded = words.description.casefold()
        description = words.description if bearers[folded] < SHARED and folded != title[key].casefold() else ""
        for variant, text in (("title", title[key]), ("keywords", keywords), ("description", description)):
            if text:
                yield text_record(key, text, variant=variant, group=group[key])


def _words(text: str) -> list[str]:
    """Return the words of a text in small letters, without digits; words run together by capitals are told apart."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold())


def _spelt(key: str, artist: str) -> str:
    """Return the words of a file's name without those of the artist's, or else the name of its folder."""
    folder, _, name = key.rpartition("/")
    names = _words(artist)
    words = [word for word in _words(name) if len(word) > 1 and not any(n.startswith(word) for n in names)]
    return " ".join(words or _words(name) or _words(folder.rpartition("/")[2]))
