"""Tux Paint stamps: pictures with captions in 78 languages, people who speak them, and the sounds of things.

A stamp is a caption file (``badger.txt``) with what has the same name beside it: the picture (a drawing that scales
is preferred to its bitmap), the caption spoken in some language (``badger_desc_fr.ogg``), and a sound (``badger.ogg``).
Digits and letters have their *name* spoken as their sound (``7_de.ogg``): it counts as speech, in the languages that
have no recording of the caption. Languages are named as BCP 47 does (``pt-BR``).
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.drawing import SIZE, read_drawing
from isthmus.data.fetch import Part, Source, find, located
from isthmus.data.grouping import joined
from isthmus.data.languages import tag
from isthmus.data.records import DataSet, Record, text_record
from isthmus.data.sound import read_sound
from isthmus.data.tables import remembered

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "SOURCE", "groups", "is_photograph", "load", "open_picture"]

CARD = DataCard(
    name="tuxpaint",
    title="Tux Paint stamps: pictures with captions, spoken captions and sounds",
    licence="GPL-2",
    attribution="Tux Paint stamps, © 2002–2022 Bill Kendrick and many contributors, tuxpaint.org",
    packages=("tuxpaint-stamps-default (Debian)", "resvg-py", "soundfile"),
    extra="audio",
    counts=(
        "943 pictures (366 photographs, 577 drawings), 61,945 captions in 78 languages, 7,672 recordings of speech in "
        "25 languages (7,372 captions, 300 names of digits and letters), 110 sounds; 708 near-duplicate groups, 112 of "
        "them of several pictures (347 pictures)"
    ),
    modalities=("image", "text", "speech", "sound"),
    variants=("text: a language", "speech: a language"),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the path of the stamp",
    near_duplicates=(
        "one group: equal English captions (a letter filled and outlined, large and small); file names in one folder "
        "equal but for a number, side, colour or make; signs that are one another mirrored or turned (b d p q). Of the "
        "drawings of different groups one pair differs by less than 10 % (Mercury and the crescent moon). No recording "
        "occurs in two groups"
    ),
    schemes=("tuxpaint",),
)

SOURCE = Source(
    client="apt",
    megabytes=161,
    parts=(
        Part(
            package="tuxpaint-stamps-default",
            root="usr/share/tuxpaint/stamps",
            keep=(
                "animals/*",
                "clothes/*",
                "food/*",
                "hobbies/*",
                "household/*",
                "medical/*",
                "military/*",
                "naturalforces/*",
                "people/*",
                "plants/*",
                "seasonal/*",
                "space/*",
                "sports/*",
                "symbols/*",
                "town/*",
                "vehicles/*",
            ),
        ),
    ),
)

PACKAGE = "tuxpaint-stamps-default"
EQUAL = 0.38
"""Least share of equal neighbours, among the opaque pixels, that makes a picture a drawing."""
COLOURS = 100
"""Fewest colours of a photograph."""
DRAWN = frozenset({"cartoon", "alphabets", "easter", "newyears", "faces"})
"""Folders that hold drawings only, shaded ones among them, which the measure takes for photographs."""
EYE = {  # where looking at all pictures found the measure wrong
    "animals/lizards/iguana": True,
    "naturalforces/explosion": True,
    "plants/flowers/flower5": True,
    "space/moon/moon_crescent": True,
    "space/planets/1_mercury": True,
    "clothes/button": False,
    "household/arttools/highlighter": False,
    "household/tools/wrench_adjustable": False,
    "seasonal/christmas/Santa": False,
    "seasonal/christmas/santahat": False,
    "seasonal/christmas/stocking": False,
    "town/roadsigns/xing_ped": False,
    "town/roadsigns/xing_school": False,
    "vehicles/emergency/sedan_police": False,
}

TWINS = (  # captions of signs that are one another mirrored or turned
    ("the letter b", "the letter d", "the letter p", "the letter q"),
    ("the letter i", "the letter l"),
    ("the letter n", "the letter u"),
    ("greater than", "less than"),
    ("greater than or equal to", "less than or equal to"),
)
WHICH_ONE = re.compile(  # what a file name says of one of several alike: its number, side, colour, make or letter
    r"([_-](filled|outlined?|photo|drawing|left|right|front|side|open|closed|in|out|black|blue|brown|green|red|white"
    r"|yellow|gimmel|hay|nun|shin)|-[a-j]|[_-]?\d+[a-d]?)+$"
)
CAPTION = re.compile(r"([A-Za-z_@]+)\.utf8=(.*)")
SPOKEN = re.compile(r"(?P<stem>.+)_desc(_(?P<language>[A-Za-z_]+))?\.(ogg|wav)(\.ogg)?")
NAMED = re.compile(r"(?P<stem>.+?)(_(?P<language>[a-z]{2}(_[A-Za-z]{2})?))?\.(ogg|wav)")
SAY_THEIR_NAME = ("symbols/math/", "symbols/alphabets/")
FONT = "symbols/money/00_symbols/"
"""Drawings of a single letter of a font that nobody may have."""


@dataclass
class Stamp:
    """What there is of a stamp: paths of its picture, recordings by (modality, language), and captions by language."""

    captions: dict[str, str]
    picture: str
    recordings: dict[tuple[str, str], str] = field(default_factory=dict)


def load(*, size: int = SIZE, folder: Path | None = None) -> DataSet:
    """Return the records of all stamps: a picture, its captions and recordings, as far as there are any.

    The meta of a picture holds its English ``name`` (the caption), its ``category`` (the path of its folder), and
    its ``kind``: photograph or drawing. Recordings load as `Sound`; that of a caption has the caption as its text.
    `size` is the longest side of the pictures in pixels, `folder` a fetched set elsewhere than in the cache.

    Raises `NotFound` when the set has not been fetched.
    """
    if size < 1:
        raise BadInput(f"tuxpaint: size must be at least 1 pixel, got {size}")
    root = (find("tuxpaint") if folder is None else folder) / PACKAGE
    files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    stamps, aside = _stamps(files)
    return DataSet("tuxpaint", list(_records(stamps, files, size)), CARD, root=root, set_aside=aside)


def groups(captions: Mapping[str, str]) -> dict[str, str]:
    """Return {key: group} for the English captions by key: the near-duplicate rule of the card.

    Stamps are in one group when their captions have the same words, in whatever case; when they lie in one folder
    (drawn or not) and the names of their files are equal but for a number, side, colour, make or letter; or when
    they are signs that are one another mirrored or turned.
    """
    turned = {caption: same[0] for same in TWINS for caption in same}
    marks: dict[str, list[tuple[str, ...]]] = {}
    for key, caption in captions.items():
        words = " ".join(re.findall(r"\w+", caption.casefold()))
        folder, _, name = key.casefold().rpartition("/")
        stem = WHICH_ONE.sub("", name)
        marks[key] = [("caption", turned.get(words, words))]
        if stem:
            marks[key].append(("file", folder.removesuffix("/cartoon"), stem))
    return joined(marks)


def is_photograph(path: Path) -> bool:
    """Say whether a bitmap is a photograph, by its opaque pixels.

    Light and sensor leave hardly two neighbours of one colour; a drawing has areas of one colour and few colours.
    A photograph has fewer than `EQUAL` of its neighbours equal, and at least `COLOURS` colours.
    """
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(np.int32)
    opaque = pixels[..., 3] >= 250
    colour = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    equal = pairs = 0
    for here, there in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        both = opaque[here] & opaque[there]
        pairs += int(both.sum())
        equal += int((both & (colour[here] == colour[there])).sum())
    return pairs > 0 and equal < EQUAL * pairs and len(np.unique(colour[opaque])) >= COLOURS


def open_picture(key: str, root: Path | None = None) -> "Image.Image":
    """Return the picture of a stamp such as ``animals/mammals/badger``, or of the stamp that a recording belongs to."""
    place = located("tuxpaint", PACKAGE, root)
    folder, _, name = key.rpartition("/")
    spoken = SPOKEN.fullmatch(name) or NAMED.fullmatch(name)
    for stem in (name, spoken["stem"] if spoken else name):
        for suffix in (".svg", ".png"):
            path = place / folder / (stem + suffix)
            if path.is_file() and path.resolve().is_relative_to(place.resolve()):
                return read_drawing(path)
    raise NotFound(f"Tux Paint has no stamp {key!r}; stamps are called as animals/mammals/badger")


def _stamps(files: Mapping[str, Path]) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Return the stamps by key, and why a file was set aside."""
    stamps: dict[str, Stamp] = {}
    aside: dict[str, str] = {}
    for name, path in files.items():
        if not name.endswith(".txt"):
            continue
        key = name.removesuffix(".txt")
        picture = next((key + suffix for suffix in (".svg", ".png") if key + suffix in files), None)
        if picture is None:
            aside[name] = "a caption without a picture"
        elif key.startswith(FONT):
            aside[name] = "the drawing is a letter of a font that does not come with it"
        else:
            stamps[key] = Stamp(_captions(path), picture)
    folded = {_fold(key): stamp for key, stamp in stamps.items()}
    for name in files:
        if name.endswith((".ogg", ".wav")) and (reason := _add_recording(name, stamps, folded)):
            aside[name] = reason
    return stamps, aside


def _fold(key: str) -> str:
    """Return the key without what the names of recordings confuse: case, and dash or underscore."""
    return key.casefold().replace("-", "_")


def _captions(path: Path) -> dict[str, str]:
    """Read a caption file: English, then a line a language."""
    first, *others = path.read_text(encoding="utf-8").splitlines()
    captions = {"en": first.strip()}
    for line in others:
        if (match := CAPTION.fullmatch(line)) and match[2].strip():
            captions[tag(match[1])] = match[2].strip()
    return captions


def _add_recording(name: str, stamps: Mapping[str, Stamp], folded: Mapping[str, Stamp]) -> str:
    """Add a recording to its stamp; return why that cannot be."""
    if match := SPOKEN.fullmatch(name):
        place = ("speech", tag(match["language"] or "en"))
    elif name.startswith(SAY_THEIR_NAME) and (match := NAMED.fullmatch(name)):
        # sorted names put a spoken caption, `7_desc_fr`, before a spoken name, `7_fr`
        place = ("speech", tag(match["language"] or ("de" if "/german/" in name else "en")))
    elif match := NAMED.fullmatch(name):
        place = ("sound", "")
    else:
        return "a recording whose name is not understood"
    stamp = stamps.get(match["stem"]) or folded.get(_fold(match["stem"]))
    if stamp is None:
        return "a recording without a stamp"
    if place in stamp.recordings:
        return f"a second recording; the first is {stamp.recordings[place]}"
    stamp.recordings[place] = name
    return ""


def _records(stamps: Mapping[str, Stamp], files: Mapping[str, Path], size: int) -> Iterator[Record]:
    photographs = _photographs(stamps, files)
    group = groups({key: stamp.captions["en"] for key, stamp in stamps.items()})
    for key, stamp in stamps.items():
        yield Record(
            key=key,
            modality="image",
            group=group[key],
            text=stamp.captions["en"],
            uri=f"tuxpaint:{key}",
            meta={
                "name": stamp.captions["en"],
                "category": key.rpartition("/")[0],
                "kind": "photograph" if key in photographs else "drawing",
            },
            load=functools.partial(read_drawing, files[stamp.picture], size),
            digest=functools.partial(_digest, files[stamp.picture], size),
        )
        for language, caption in stamp.captions.items():
            yield text_record(key, caption, variant=language, group=group[key])
        for (modality, language), name in stamp.recordings.items():
            says = "caption" if "_desc" in name else "name" if modality == "speech" else ""
            yield Record(
                key=key,
                modality=modality,
                variant=language,
                group=group[key],
                text=stamp.captions.get(language) if says == "caption" else None,
                uri=f"tuxpaint:{name}",
                meta={"says": says} if says else {},
                load=functools.partial(read_sound, files[name]),
                digest=functools.partial(_digest, files[name]),
            )


def _photographs(stamps: Mapping[str, Stamp], files: Mapping[str, Path]) -> set[str]:
    """Return the keys whose picture is a photograph: measured once for the pictures that are here."""
    bitmaps = {
        key: files[stamp.picture]
        for key, stamp in stamps.items()
        if stamp.picture.endswith(".png") and DRAWN.isdisjoint(key.split("/"))
    }
    measured = remembered(
        "tuxpaint-photographs",
        1,
        bitmaps.values(),
        lambda: {"photographs": [key for key, path in bitmaps.items() if is_photograph(path)]},
    )
    said = dict.fromkeys(measured["photographs"], True) | EYE
    return {key for key in stamps if said.get(key, False)}


def _digest(path: Path, size: int | None = None) -> str:
    """Hash a file, and the size that it is drawn at if that changes the content."""
    drawn = f"{size} ".encode() if size is not None else b""
    return hashlib.sha256(drawn + path.read_bytes()).hexdigest()
