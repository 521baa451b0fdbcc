"""Tux Paint stamps: pictures with captions in 78 languages, people who speak them, and the sounds of things.

A stamp is a caption file (``badger.txt``) with what has the same name beside it: the picture (a drawing that scales
is preferred to its bitmap), the caption spoken in some language (``badger_desc_fr.ogg``), and a sound (``badger.ogg``).
Digits and letters have their *name* spoken as their sound (``7_de.ogg``): it counts as speech, in the languages that
have no recording of the caption. Languages are named as BCP 47 does (``pt-BR``).
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.card import DataCard
from isthmus.data.drawing import SIZE, digest_at, read_drawing
from isthmus.data.fetch import Part, Source, find, located
from isthmus.data.languages import tag
from isthmus.data.records import DataSet, Record, joined, text_record
from isthmus.data.sound import Sound, read_sound
from isthmus.store.disk import sha256_of

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
        "942 pictures (366 photographs, 576 drawings), 61,878 captions in 78 languages, 7,663 recordings of speech in "
        "25 languages (7,363 captions, 300 names of digits and letters), 109 sounds; 707 near-duplicate groups, 112 of "
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
    demo={  # English, and the languages in which more than 300 captions are spoken
        "text": ("en", "be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru"),
        "speech": ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru"),
    },
)

SOURCE = Source(
    client="apt",
    megabytes=161,
    parts=(
        Part(
            package="tuxpaint-stamps-default",
            version="2022.06.04-1",
            sha256="ec38b5fbaab482325c3b35968673131fb3e7273d5f77135ddff4cdc54226c164",
            root="usr/share/tuxpaint/stamps",
            keep=("*.txt", "*.png", "*.svg", "*.ogg", "*.wav"),
        ),
    ),
)

PACKAGE = "tuxpaint-stamps-default"
DRAWN = re.compile(
    r"cartoon|symbols/(alphabets|chess|faces|math|music|shapes)|seasonal/(easter|hanukkah|newyears)|flags"
)
"""Folders whose bitmaps are drawings."""
DRAWN_TOO = {  # drawn bitmaps by folder, where photographs lie too
    "animals/mammals": "echidna hedgehog",
    "clothes": "button t_baseballcap t_glove t_jacket t_pants t_poloshirt t_scarf t_shirt t_sock t_tshirt",
    "food": "pizza",
    "household/arttools": "highlighter",
    "household/dishes": "glass mug",
    "household/tools": "wrench_adjustable",
    "medical": "tooth",
    "people/body_parts": "eye",
    "seasonal/christmas": "Santa bow hard_candy lamp santahat star stocking tree",
    "seasonal/halloween": "bat_left blackcat ghost skull spider",
    "space/planets": "0_sun",
    "sports": "rugby_goal_posts",
    "symbols": "clockface recycle",
    "town/monuments": "inukshuk-outline",
    "town/roadsigns": "arrow crossroads give_way_sign hospital roundabout stop stoplight_01_red stoplight_02_yellow "
    "stoplight_03_green t-junction xing_ped xing_school yield",
    "vehicles": "7spoke256",
    "vehicles/emergency": "sedan_police",
}
NOTHING = re.compile("symbols/money/00_symbols/.*|naturalforces/lightningbolt")
"""Drawings that show nothing: letters of a font that does not come with them, and white on white."""

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
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, caption in captions.items():
        words = " ".join(re.findall(r"\w+", caption.casefold()))
        alike["caption", turned.get(words, words)].append(key)
        folder, _, name = key.casefold().rpartition("/")
        if stem := WHICH_ONE.sub("", name):
            alike["file", folder.removesuffix("/cartoon"), stem].append(key)
    return joined(captions, alike.values())


def is_photograph(key: str, suffix: str) -> bool:
    """Say whether the picture of a stamp is a photograph: a bitmap that is not among the drawn ones.

    Which bitmaps are drawn was told by looking at all of them.
    """
    folder, _, name = key.rpartition("/")
    return suffix == ".png" and not DRAWN.search(folder) and name not in DRAWN_TOO.get(folder, "").split()


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


def open_sound(name: str, root: Path | None = None) -> Sound:
    """Return a recording such as ``animals/mammals/badger_desc_fr.ogg``."""
    place = located("tuxpaint", PACKAGE, root)
    path = place / name
    if path.suffix != ".ogg" or not path.is_file() or not path.resolve().is_relative_to(place.resolve()):
        raise NotFound(f"Tux Paint has no recording {name!r}")
    return read_sound(path)


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
        elif NOTHING.fullmatch(key):
            aside[name] = "the picture shows nothing: a letter of a font that is not here, or white on white"
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
                "kind": "photograph" if is_photograph(key, files[stamp.picture].suffix) else "drawing",
            },
            load=functools.partial(read_drawing, files[stamp.picture], size),
            digest=functools.partial(digest_at, files[stamp.picture], size),
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
                digest=functools.partial(sha256_of, files[name]),
            )
