"""Saying things about a scene: facts without a language, their truth, and sentences for them in three languages.

A `Mention` is a description that may leave attributes out, a `Fact` says that something is there, where it is, or
what the person does. `holds` decides whether a fact is true of a scene, `say` puts facts into words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.data.world.scene import INVERSE, Entity, Figure, Object, Scene
from isthmus.data.world.words import COLOUR, GARMENT, MATERIAL, NOUN, NUMBERS, POSE, RELATION, SIZE, Noun, known

__all__ = ["Fact", "Mention", "holds", "matching", "mention", "noun_phrase", "relative", "say", "sentence"]


@dataclass(frozen=True, slots=True)
class Mention:
    """A description: of objects with these attributes (None: left out) and how many, or of the person."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    material: str | None = None
    count: int = 1
    person: Figure | None = None

    @staticmethod
    def of(name: str, value: str) -> "Mention":
        """Return the description that gives one attribute alone: `of("colour", "red")` is "a red thing"."""
        said = {name: value}
        return Mention(said.get("shape"), said.get("colour"), said.get("size"), said.get("material"))

    def fits(self, one: Entity) -> bool:
        """Whether the description is true of an entity."""
        if isinstance(one, Figure) or self.person is not None:
            return self.person is not None and isinstance(one, Figure) and _worn(self.person) == _worn(one)
        return (
            self.shape in (None, one.shape)
            and self.colour in (None, one.colour)
            and self.size in (None, one.size)
            and self.material in (None, one.material)
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """There are exactly `subject.count` such things.

    With a `relation`, one of them is so to one of `object`; with `pose`, the person is in its pose.
    """

    subject: Mention
    relation: str | None = None
    object: Mention | None = None
    pose: bool = False


def _worn(person: Figure) -> tuple[str, ...]:
    hat_colour = "" if person.hat == "none" else person.hat_colour
    return person.shirt, person.legs, person.legs_colour, person.hat, hat_colour


def mention(one: Entity, *, count: int = 1) -> Mention:
    """Return the full description of an entity."""
    if isinstance(one, Object):
        return Mention(one.shape, one.colour, one.size, one.material, count)
    return Mention(person=one)


def matching(scene: Scene, wanted: Mention) -> list[int]:
    """Return the indices of the entities that a description fits."""
    return [i for i, one in enumerate(scene.entities) if wanted.fits(one)]


def holds(scene: Scene, fact: Fact) -> bool:
    """Whether a fact is true of a scene."""
    subjects = matching(scene, fact.subject)
    if fact.pose:
        person, said = scene.figure, fact.subject.person
        return bool(subjects) and person is not None and said is not None and person.pose == said.pose
    if fact.relation is None or fact.object is None:
        return len(subjects) == fact.subject.count
    objects = matching(scene, fact.object)
    return any(r.name == fact.relation and r.subject in subjects and r.object in objects for r in scene.relations)


def noun_phrase(
    said: Mention, language: str, *, case: str = "nom", definite: bool = False, words: int = 0, article: bool = True
) -> str:
    """Return a description in words, such as ``a small red metal cube``.

    `case` is nom, acc or dat and changes German only. `words` chooses among synonyms. Counts above one give a
    number and the plural; 0 gives ``no`` with the singular in French and German.
    """
    if said.person is not None:
        return _person(said.person, language, case, definite)
    synonyms = NOUN[known(language)][said.shape or "object"]
    noun = synonyms[words % len(synonyms)]
    many = said.count > 1 or (said.count == 0 and language == "en")
    name = noun.many if many else noun.one
    if language == "en":
        sizes = SIZE["en"][said.size] if said.size else ("",)
        parts = [
            sizes[words // 2 % len(sizes)],
            said.colour or "",
            MATERIAL["en"][said.material] if said.material else "",
        ]
        return _spaced(_english(said.count, definite, article, _spaced(*parts, name)))
    if language == "fr":
        form = 2 * many + (noun.gender == "f")
        size, colour = (
            table["fr"][value][form] if value else "" for table, value in ((SIZE, said.size), (COLOUR, said.colour))
        )
        material = MATERIAL["fr"][said.material] if said.material else ""
        phrase = _spaced(_french(said.count, definite, article, noun, size or name), size, name, colour, material)
        return phrase.replace("l' ", "l'")
    return _german(said, noun, name, case, definite, article)


def relative(relation: str, phrase: str, language: str) -> str:
    """Return a relation with what it relates to, such as ``to the left of a cube``; French contracts ``de le``."""
    word = RELATION[language][relation]
    if language == "fr" and word.endswith(" de"):
        if phrase.startswith("le "):
            return f"{word[:-2]}du {phrase[3:]}"
        if phrase.startswith(("un ", "une ")):
            return f"{word[:-2]}d'{phrase}"
    return f"{word} {phrase}"


RELATES = {
    "en": ("{S} is {r}", "There is {s} {r}", "You can see {s} {r}", "{R} there is {s}"),
    "fr": ("{S} est {r}", "Il y a {s} {r}", "On voit {s} {r}", "{R} se trouve {s}"),
    "de": ("{S} ist {r}", "Es gibt {a} {r}", "Man sieht {a} {r}", "{R} ist {s}"),
}
EXISTS = {
    "en": ("There {is} {s}", "The scene shows {s}", "You can see {s}"),
    "fr": ("Il y a {s}", "La scène montre {s}", "On voit {s}"),
    "de": ("Es gibt {a}", "Die Szene zeigt {a}", "Man sieht {a}"),
}


def sentence(fact: Fact, language: str, variant: int = 0, told: Sequence[Mention] = ()) -> str:
    """Return a sentence for a fact. What is in `told` has been mentioned already: ``the cube``, not ``a cube``.

    Every variant says the same; they differ in construction, in synonyms, and in which side of a relation is the
    subject. Variant 0 is the plain one.
    """
    known(language)
    words = variant // 8
    if fact.relation is not None and fact.object is not None:
        subject, relation, other = fact.subject, fact.relation, fact.object
        if variant % 2 and other not in told:
            subject, relation, other = other, INVERSE[relation], subject
        stands = RELATES[language][0 if subject in told else variant // 2 % 4]
        phrase = noun_phrase(other, language, case="dat", definite=other in told, words=words)
        where = relative(relation, phrase, language)
    else:
        subject, where = fact.subject, ""
        stands = EXISTS[language][variant % 3]
        if fact.pose and subject.person is not None:
            stands = f"{{S}} {POSE[language][subject.person.pose]}"
    case = {
        name: noun_phrase(subject, language, case=name, definite=subject in told, words=words)
        for name in ("nom", "acc")
    }
    text = stands.format(
        s=case["nom"],
        a=case["acc"],
        S=_capital(case["nom"]),
        r=where,
        R=_capital(where),
        **{"is": "is" if subject.count == 1 else "are"},
    )
    return f"{text}."


def say(facts: Sequence[Fact], language: str, variants: Sequence[int] = ()) -> str:
    """Return sentences for facts, one after the other, each in its variant (0 where none is given)."""
    told: list[Mention] = []
    sentences = []
    for i, fact in enumerate(facts):
        sentences.append(sentence(fact, language, variants[i] if i < len(variants) else 0, told))
        told += [said for said in (fact.subject, fact.object) if said is not None]
    return " ".join(sentences)


def _english(count: int, definite: bool, article: bool, phrase: str) -> str:
    if not article:
        return phrase
    if definite:
        return f"the {phrase}" if count == 1 else f"the {NUMBERS['en'][count]} {phrase}"
    if count != 1:
        return f"{NUMBERS['en'][count]} {phrase}"
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _french(count: int, definite: bool, article: bool, noun: Noun, following: str) -> str:
    if not article:
        return ""
    if definite:
        if count > 1:
            return f"les {NUMBERS['fr'][count]}"
        return "l'" if following[0] in "aeiouéh" else "la" if noun.gender == "f" else "le"
    if count > 1:
        return NUMBERS["fr"][count]
    return NUMBERS["fr"][count] + ("e" if noun.gender == "f" else "")


EIN = {"nom": ("", "e", ""), "acc": ("en", "e", ""), "dat": ("em", "er", "em")}  # m, f, n
DER = {"nom": ("der", "die", "das"), "acc": ("den", "die", "das"), "dat": ("dem", "der", "dem")}
MIXED = {"nom": ("er", "e", "es"), "acc": ("en", "e", "es"), "dat": ("en", "en", "en")}
WEAK = {"nom": ("e", "e", "e"), "acc": ("en", "e", "e"), "dat": ("en", "en", "en")}
STRONG_DATIVE = {"m": "em", "f": "er", "n": "em", "p": "en"}


def _german(said: Mention, noun: Noun, name: str, case: str, definite: bool, article: bool) -> str:
    g = "mfn".index(noun.gender)
    if said.count > 1:
        start = "" if not article else NUMBERS["de"][said.count]
        if definite and article:
            start = f"{'den' if case == 'dat' else 'die'} {start}"
        ending = "en" if case == "dat" or definite else "e"
        if case == "dat" and not name.endswith(("n", "s")):
            name += "n"
    elif definite:
        start, ending = DER[case][g], WEAK[case][g]
    else:
        start, ending = NUMBERS["de"][said.count] + EIN[case][g], MIXED[case][g]
    stems = [SIZE["de"][said.size][0] if said.size else "", COLOUR["de"][said.colour][0] if said.colour else ""]
    adjectives = [f"{stem}{ending}" for stem in stems if stem]
    return _spaced(start if article else "", *adjectives, name, MATERIAL["de"][said.material] if said.material else "")


def _person(person: Figure, language: str, case: str, definite: bool) -> str:
    """Return ``a person in a red shirt, blue shorts and a yellow cap``, or ``the person``."""
    noun = NOUN[language]["person"][0]
    if definite:
        the = {"en": "the", "fr": "la", "de": DER[case][1]}[language]
        return f"{the} {noun.one}"
    worn = [("shirt", person.shirt), (person.legs, person.legs_colour)]
    if person.hat != "none":
        worn.append((person.hat, person.hat_colour))
    *first, last = (_garment(GARMENT[language][what], colour, language) for what, colour in worn)
    a, inside, also = {
        "en": ("a", "in", "and"),
        "fr": ("une", "en", "et"),
        "de": (f"ein{EIN[case][1]}", "in", "und"),
    }[language]
    return f"{a} {noun.one} {inside} {', '.join(first)} {also} {last}"


def _garment(noun: Noun, colour: str, language: str) -> str:
    if language == "en":
        a = "" if noun.gender == "p" else "an " if colour[0] in "aeiou" else "a "
        return f"{a}{colour} {noun.one}"
    if language == "fr":
        return f"{noun.one} {COLOUR['fr'][colour][noun.gender == 'f']}"
    return f"{COLOUR['de'][colour][0]}{STRONG_DATIVE[noun.gender]} {noun.one}"


def _spaced(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
