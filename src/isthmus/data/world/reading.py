"""Reading captions back: which things a text names, with which attributes, and how they stand to each other.

It reads what `grammar` writes, and forgives what a model may write: other orders, missing words, unknown words.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from isthmus.data.world.words import COLOUR, GARMENT, MATERIAL, NOUN, NUMBERS, POSE, RELATION, SIZE, known

__all__ = ["Read", "Slot", "read", "slots"]

Slot = tuple[str, ...]
AFTER = {"en": (), "fr": ("colour", "material"), "de": ("material",)}
"""Which attributes follow their noun; the others come before it."""
INFLECTED = ("", "e", "er", "es", "en", "em", "n", "s")
DEFINITE = {"en": {"the"}, "fr": {"le", "la", "les", "l", "du"}, "de": {"der", "die", "das", "den", "dem"}}


@dataclass(frozen=True)
class Read:
    """What a text says: the `things` in order, and `relations` between them as (index, relation, index)."""

    things: list[dict[str, str]] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)


def read(text: str, language: str = "en") -> Read:
    """Return what a text says. Unknown words are passed over."""
    table, longest = _table(known(language))
    found = Read()
    for part in re.split(r"[.!?]+", text.lower()):
        _sentence(re.findall(r"\w+", part), table, longest, language, found)
    return found


def slots(text: str, language: str = "en") -> Counter[Slot]:
    """Return what a text says as countable facts, for precision and recall against another text.

    They are ``(shape,)`` and ``(shape, attribute, value)`` for every thing that is newly told of, as often as its
    number says, ``(whole description)``, so that swapped attributes of two alike shapes show, ``(shape, relation,
    shape)``, and for a person its pose and clothes. A relation counts from both sides as one.
    """
    said = read(text, language)
    counted: Counter[Slot] = Counter()
    for thing in said.things:
        if thing.get("again"):
            continue
        name = thing["noun"]
        number = int(thing.get("number", "1"))
        details = {key: value for key, value in thing.items() if key not in ("noun", "number", "again")}
        counted[name,] += number
        for key, value in details.items():
            counted[name, key, value] += number
        if name != "person":
            counted["whole", name, *(details.get(key, "") for key in ("size", "colour", "material"))] += number
    for i, relation, j in said.relations:
        subject, other = said.things[i]["noun"], said.things[j]["noun"]
        if relation in TURNED:
            subject, relation, other = other, TURNED[relation], subject
        counted[subject, relation, other] += 1
    return counted


TURNED = {"right of": "left of", "behind": "in front of", "under": "on"}


def _sentence(words: list[str], table: dict[str, tuple[str, str]], longest: int, language: str, found: Read) -> None:
    """Read a sentence: attributes go to the next noun or the last one, a relation to the nouns around it."""
    ahead: dict[str, str] = {}
    start = len(found.things)
    relation, first, pending_garment = "", False, ""
    at = 0
    while at < len(words):
        for n in range(min(longest, len(words) - at), 0, -1):
            if (entry := table.get(" ".join(words[at : at + n]))) is not None:
                break
        else:
            # an unknown word ends what an article or a number before it may belong to
            ahead.pop("again", None)
            ahead.pop("number", None)
            if words[at] in DEFINITE[language]:
                ahead = {"again": "yes"}
            at += 1
            continue
        at += n
        what, value = entry
        things = found.things[start:]
        if what == "noun":
            found.things.append({"noun": value, **ahead})
            ahead, pending_garment = {}, ""
        elif what == "relation":
            relation, first = value, not things
        elif what == "garment" and things:
            colour = ahead.pop("colour", "")
            things[-1]["shirt" if value == "shirt" else value] = colour
            pending_garment = value if language == "fr" else ""
        elif what == "pose":
            if things and things[0]["noun"] == "person":
                things[0]["pose"] = value
        elif what == "colour" and pending_garment and things:
            things[-1][pending_garment] = value
        elif what in AFTER[language] and things:
            things[-1].setdefault(what, value)
        else:
            ahead[what] = value
    now = len(found.things) - start
    if relation and now >= 2:
        # "left of B is A" has the relation before both
        i, j = (start + 1, start) if first else (start, start + 1)
        found.relations.append((i, relation, j))


@lru_cache(maxsize=8)
def _table(language: str) -> tuple[dict[str, tuple[str, str]], int]:
    """Return what each word or phrase of a language means, and how many words the longest has."""
    table: dict[str, tuple[str, str]] = {}

    def add(phrase: str, what: str, value: str) -> None:
        table.setdefault(" ".join(re.findall(r"\w+", phrase.lower())), (what, value))

    for relation, phrase in RELATION[language].items():
        plain = phrase.removesuffix(" de")
        add(plain, "relation", relation)
    for pose, phrase in POSE[language].items():
        add(phrase, "pose", pose)
    for shape, nouns in NOUN[language].items():
        for noun in nouns:
            for form in (noun.one, noun.many, f"{noun.many}n"):
                add(form, "noun", shape)
    for garment, noun in GARMENT[language].items():
        add(noun.one, "garment", garment)
    for what, values in (("colour", COLOUR[language]), ("size", SIZE[language])):
        for value, forms in values.items():
            for form in forms:
                for ending in INFLECTED if language == "de" else ("",):
                    add(form + ending, what, value)
    for value, phrase in MATERIAL[language].items():
        add(phrase, "material", value)
    for n, word in enumerate(NUMBERS[language]):
        if n > 1:
            add(word, "number", str(n))
    return table, max(len(phrase.split()) for phrase in table)
