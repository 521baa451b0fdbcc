"""Emoji as two artists draw them, with the names and keywords that Unicode's CLDR has in every locale.

A key is the code of the emoji as OpenMoji writes it, and the groups are those of OpenMoji's rule, so that the sets can
be put together: the same key is the same emoji. As there, skin tones and flags are left out. The art of Apple and
Facebook, which the same packages' makers offer too, is proprietary and not used.
"""

import functools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isthmus.core.errors import NotFound
from isthmus.data.card import DataCard
from isthmus.data.fetch import Part, Source, find
from isthmus.data.openmoji import LANGUAGES, same_picture
from isthmus.data.picture import read_picture
from isthmus.data.records import DataSet, Record, joined, text_record
from isthmus.store.disk import sha256_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CARD", "SOURCE", "STYLES", "groups", "languages", "load", "open_picture"]

CARD = DataCard(
    name="emoji_styles",
    title="Emoji of two artists (Noto Emoji, Twemoji) with CLDR names and keywords in every locale",
    licence="Apache-2.0 (Noto Emoji); CC BY 4.0 (Twemoji); Unicode-3.0 (names and keywords); MIT (categories)",
    attribution="Noto Emoji © Google; Twemoji © Twitter, Inc. and other contributors; Unicode CLDR",
    packages=(
        "emoji-datasource-google (npm)",
        "emoji-datasource-twitter (npm)",
        "cldr-annotations-full (npm)",
        "cldr-annotations-derived-full (npm)",
    ),
    extra="",
    counts=(
        "1,636 emoji in 2 styles (3,272 pictures), 22,901 names in 14 languages; with languages='all' 197,634 names "
        "in 157 languages (85 of them complete), with keywords=True 203,379 lists of keywords; 1,482 near-duplicate "
        "groups, 65 of them of several emoji (219 emoji)"
    ),
    modalities=("image", "text"),
    variants=("image: google, twitter", "text: a language", "text: LANGUAGE-x-keywords"),
    split=(
        "the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is the code as in openmoji"
    ),
    near_duplicates=(
        "the groups of openmoji (codes equal but for 'facing right'; English names equal but for a direction or a "
        "number; pairs that OpenMoji draws alike), and what these artists draw alike: all families, and 11 pairs "
        "such as the back and the palm of a raised hand. No two emoji of different groups differ by less than 2 % "
        "of their ink in either style, mirrored or turned"
    ),
    schemes=("emoji_styles",),
)

SOURCE = Source(
    client="npm",
    megabytes=147,
    parts=(
        Part(
            package="emoji-datasource-google",
            version="16.0.0",
            sha256="320141d4aa1b55c29d4d0fae23b95be445594b7e530c0ac09a907e0e26f509e5",
            keep=("emoji.json", "img/google/64/*.png"),
        ),
        Part(
            package="emoji-datasource-twitter",
            version="16.0.0",
            sha256="7f719a42fcd0e15d33ffdf6d703e8f2e5b4ec48a40a3731c766da6bffeadd995",
            keep=("img/twitter/64/*.png",),
        ),
        Part(
            package="cldr-annotations-full",
            version="48.2.0",
            sha256="080c6680337cd7248b303a3bb434b9612a59313728219cb522be1b93d97a1afd",
            keep=("annotations/*/annotations.json",),
        ),
        Part(
            package="cldr-annotations-derived-full",
            version="48.2.0",
            sha256="8e05f06df7fa83d9b27df6c0c8743a81b049332f50e56844d61fa64dda08255d",
            keep=("annotationsDerived/*/annotations.json",),
        ),
    ),
)

STYLES = ("google", "twitter")
LEFT_OUT = ("Flags", "Component")
KEYWORDS = "-x-keywords"
"""What the language tag of a text ends in that lists keywords."""

ALIKE = (  # pairs that differ by less than 2 % in a style, and that the rule of openmoji does not find
    ("25B6", "25C0"),  # play button, reverse button
    ("25B6", "1F53C"),  # play button, upwards button
    ("25B6", "1F53D"),  # play button, downwards button
    ("1F6A5", "1F6A6"),  # horizontal and vertical traffic light
    ("1F501", "1F503"),  # repeat button, clockwise vertical arrows
    ("270B", "1F91A"),  # raised hand, raised back of hand
    ("1F91A", "1FAF1"),  # raised back of hand, rightwards hand
    ("270B", "1FAF2"),  # raised hand, leftwards hand
    ("1F64D-200D-2642-FE0F", "1F64E-200D-2642-FE0F"),  # man frowning, man pouting
    ("1F575", "1F575-FE0F-200D-2642-FE0F"),  # detective, man detective
    ("1F9B9", "1F9B9-200D-2642-FE0F"),  # supervillain, man supervillain
)


@dataclass(frozen=True)
class Emoji:
    """One emoji: its key, itself as CLDR writes it, the stem of its picture files, and its class."""

    key: str
    character: str
    file: str
    category: str
    subcategory: str


def load(
    *, languages: Collection[str] | Literal["all"] = LANGUAGES, keywords: bool = False, folder: Path | None = None
) -> DataSet:
    """Return two pictures of every emoji, and its name in every one of `languages` that has one.

    The pictures are 64 pixels wide. Their meta holds the English ``name``, the ``category`` and ``subcategory``; that
    of a name its ``keywords`` in that language, which with `keywords` are texts too, of the variant ``de-x-keywords``
    beside ``de``. The languages are those of openmoji unless others, or "all", are asked for. `folder` is a fetched
    set elsewhere than in the cache.

    Raises `NotFound` when the set has not been fetched, or for a language that it does not have.
    """
    root = find("emoji_styles") if folder is None else folder
    known = _files(root)
    for language in () if languages == "all" else languages:
        if language not in known:
            raise NotFound.named("language", language, known)
    wanted = [language for language in known if languages == "all" or language in languages]
    return DataSet("emoji_styles", list(_records(root, _emoji(root), known, wanted, keywords)), CARD, root=root)


def languages(folder: Path | None = None) -> list[str]:
    """Return the tags of all languages that have names; `NotFound` when the set has not been fetched."""
    return list(_files(find("emoji_styles") if folder is None else folder))


def groups(names: Mapping[str, str], subcategories: Mapping[str, str]) -> dict[str, str]:
    """Return {key: group} for the English names and subcategories by key: the near-duplicate rule of the card.

    That is `openmoji.same_picture`, and what these artists draw alike: all families, and the pairs in `ALIKE`.
    """
    group = same_picture(names, subcategories)
    families = [key for key, name in names.items() if name.startswith("family")]
    drawn_alike = [pair for pair in ALIKE if names.keys() >= set(pair)]
    return joined(names, [*([first, key] for key, first in group.items()), families, *drawn_alike])


def open_picture(rest: str, root: Path | None = None) -> "Image.Image":
    """Return a picture such as ``google/1f600``."""
    style, _, file = rest.partition("/")
    place = find("emoji_styles") if root is None else root
    path = _picture(place, style, file)
    if style not in STYLES or "/" in file or not path.is_file():
        raise NotFound(f"there is no emoji {rest!r}; they are called as google/1f600 or twitter/1f600")
    return read_picture(path)


def _picture(root: Path, style: str, file: str) -> Path:
    return root / f"emoji-datasource-{style}" / "img" / style / "64" / f"{file}.png"


def _emoji(root: Path) -> list[Emoji]:
    """Read which emoji there are, in Unicode's order."""
    text = (root / "emoji-datasource-google" / "emoji.json").read_text(encoding="utf-8")
    found = []
    for entry in sorted(json.loads(text), key=lambda entry: entry["sort_order"]):
        if entry["category"] in LEFT_OUT or not all(entry[f"has_img_{style}"] for style in STYLES):
            continue
        code = entry["unified"]
        character = "".join(chr(int(part, 16)) for part in code.split("-")).replace("\ufe0f", "")
        # OpenMoji writes the selector of a style within a sequence, and not after a lone code
        key = code if code.count("-") > 1 else code.removesuffix("-FE0F")
        file = entry["image"].removesuffix(".png")
        found.append(Emoji(key, character, file, entry["category"], entry["subcategory"]))
    return found


def _files(root: Path) -> dict[str, list[Path]]:
    """Return the files of every language: what CLDR says of characters, and what it derives from that of sequences."""
    found: dict[str, list[Path]] = {}
    for kind in ("cldr-annotations-full/annotations", "cldr-annotations-derived-full/annotationsDerived"):
        for path in sorted((root / kind).glob("*/annotations.json")):
            found.setdefault(path.parent.name, []).append(path)
    return dict(sorted(found.items()))


def _said(paths: list[Path]) -> dict[str, dict[str, list[str]]]:
    """Return what a language says of every character: its name (``tts``) and its keywords (``default``)."""
    said: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        (top,) = json.loads(path.read_text(encoding="utf-8")).values()
        said |= top.get("annotations", {})
    return said


def _records(
    root: Path, emoji: list[Emoji], files: Mapping[str, list[Path]], wanted: list[str], keywords: bool
) -> Iterator[Record]:
    english = _said(files["en"])
    name = {e.key: english[e.character]["tts"][0] for e in emoji}
    group = groups(name, {e.key: e.subcategory for e in emoji})
    for e in emoji:
        meta = {"name": name[e.key], "category": e.category, "subcategory": e.subcategory}
        for style in STYLES:
            path = _picture(root, style, e.file)
            yield Record(
                key=e.key,
                modality="image",
                variant=style,
                group=group[e.key],
                text=name[e.key],
                uri=f"emoji_styles:{style}/{e.file}",
                meta=meta,
                load=functools.partial(read_picture, path),
                digest=functools.partial(sha256_of, path),
            )
    for language in wanted:
        said = _said(files[language])
        for e in emoji:
            entry: dict[str, Any] = said.get(e.character, {})
            words = ", ".join(entry.get("default", ()))
            if "tts" in entry:
                meta = {"keywords": words} if words else {}
                yield text_record(e.key, entry["tts"][0], variant=language, group=group[e.key], meta=meta)
            if keywords and words:
                yield text_record(e.key, words, variant=language + KEYWORDS, group=group[e.key])
