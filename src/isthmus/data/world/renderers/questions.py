"""Questions with one short answer each: is there, how many, which colour, where, and the same or not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from isthmus.data.world.grammar import Fact, Mention, holds, matching, mention, noun_phrase, relative
from isthmus.data.world.reference import unique
from isthmus.data.world.scene import ATTRIBUTES, COLOURS, INVERSE, MAX_OBJECTS, SHAPES, Scene
from isthmus.data.world.words import NOUN, known

__all__ = ["ANSWERS", "KIND", "KINDS", "TITLE", "Question", "render", "show"]

TITLE, KIND = "questions", "text"
ANSWERS = ("yes", "no", *map(str, range(MAX_OBJECTS + 1)), *(v for known in ATTRIBUTES.values() for v in known))
"""All answers that there are, in every language of the questions."""
WORDING = {
    "en": {
        "exists": "Is there {s}?",
        "count": "How many {plural} are there?",
        "colour": "What colour is {the}?",
        "size": "How big is {the}?",
        "material": "What is {the} made of?",
        "shape": "What shape is {the}?",
        "relation": "Is {the} {where}?",
        "same colour": "Do {the} and {other} have the same colour?",
    },
    "fr": {
        "exists": "Y a-t-il {s} ?",
        "count": "Combien y a-t-il de {plural} ?",
        "colour": "De quelle couleur est {the} ?",
        "size": "De quelle taille est {the} ?",
        "material": "En quoi est {the} ?",
        "shape": "Quelle forme a {the} ?",
        "relation": "Est-ce que {the} est {where} ?",
        "same colour": "{The} et {other} ont-ils la même couleur ?",
    },
    "de": {
        "exists": "Gibt es {a}?",
        "count": "Wie viele {plural} gibt es?",
        "colour": "Welche Farbe hat {the}?",
        "size": "Wie groß ist {the}?",
        "material": "Woraus ist {the}?",
        "shape": "Welche Form hat {the}?",
        "relation": "Ist {the} {where}?",
        "same colour": "Haben {the} und {other} dieselbe Farbe?",
    },
}
KINDS = tuple(WORDING["en"])


@dataclass(frozen=True)
class Question:
    """A question of a `kind`, and its answer, one of `ANSWERS`. Whoever sees only the question must guess."""

    text: str
    answer: str
    kind: str


def render(scene: Scene, *, language: str = "en", kinds: tuple[str, ...] = KINDS) -> list[Question]:
    """Return one question of each kind that the scene allows. Yes and no are equally likely."""
    known(language)
    found = []
    for kind in kinds:
        rng = scene.generator("question", kind)
        if (question := ASK[kind](scene, kind, language, rng)) is not None:
            found.append(question)
    return found


def show(scene: Scene, size: int) -> str:
    """Return the questions with their answers."""
    return "\n".join(f"{q.text} {q.answer}" for q in render(scene))


def _exists(scene: Scene, kind: str, language: str, rng: np.random.Generator) -> Question | None:
    true = bool(rng.random() < 0.5) and bool(scene.objects)
    for _ in range(50):
        said = Mention(SHAPES[int(rng.integers(len(SHAPES)))], COLOURS[int(rng.integers(len(COLOURS)))])
        if true:
            one = scene.objects[int(rng.integers(len(scene.objects)))]
            said = Mention(one.shape, one.colour)
        elif scene.objects and rng.random() < 0.5:  # half the absent things are nearly there
            one = scene.objects[int(rng.integers(len(scene.objects)))]
            said = Mention(one.shape, said.colour)
        if bool(matching(scene, said)) == true:
            words = {"s": noun_phrase(said, language), "a": noun_phrase(said, language, case="acc")}
            return Question(WORDING[language][kind].format(**words), "yes" if true else "no", kind)
    return None


def _count(scene: Scene, kind: str, language: str, rng: np.random.Generator) -> Question | None:
    name = ("shape", "colour", "size", "material")[int(rng.integers(4))]
    value = ATTRIBUTES[name][int(rng.integers(len(ATTRIBUTES[name])))]
    if scene.objects and rng.random() < 0.75:
        value = getattr(scene.objects[int(rng.integers(len(scene.objects)))], name)
    said = Mention.of(name, value)
    n = len(matching(scene, said))
    plural = noun_phrase(replace(said, count=2), language, article=False)
    text = WORDING[language][kind].format(plural=plural)
    return Question(text.replace("de objets", "d'objets").replace("de anneaux", "d'anneaux"), str(n), kind)


def _attribute(scene: Scene, kind: str, language: str, rng: np.random.Generator) -> Question | None:
    for i in rng.permutation(len(scene.objects)).tolist():
        said = unique(scene, i, leave_out=kind)
        if said is not None:
            the = noun_phrase(said, language, definite=True)
            return Question(WORDING[language][kind].format(the=the), getattr(scene.objects[i], kind), kind)
    return None


def _relation(scene: Scene, kind: str, language: str, rng: np.random.Generator) -> Question | None:
    true = bool(rng.random() < 0.5)
    for k in rng.permutation(len(scene.relations)).tolist():
        r = scene.relations[k]
        subject, other = unique(scene, r.subject), unique(scene, r.object)
        if subject is None or other is None:
            continue
        name = r.name if true else INVERSE[r.name]
        assert holds(scene, Fact(subject, name, other)) == true
        where = relative(name, noun_phrase(other, language, case="dat", definite=True), language)
        the = noun_phrase(subject, language, definite=True)
        return Question(WORDING[language][kind].format(the=the, where=where), "yes" if true else "no", kind)
    return None


def _same(scene: Scene, kind: str, language: str, rng: np.random.Generator) -> Question | None:
    said = [unique(scene, i, leave_out="colour") for i in range(len(scene.objects))]
    pairs = [(i, j) for j in range(len(said)) for i in range(j) if said[i] and said[j]]
    true = bool(rng.random() < 0.5)
    same = [scene.objects[i].colour == scene.objects[j].colour for i, j in pairs]
    if len(set(same)) < 2:  # asked only where either answer could have been asked for
        return None
    fitting = [pair for pair, alike in zip(pairs, same, strict=True) if alike == true]
    i, j = fitting[int(rng.integers(len(fitting)))]
    one, other = mention(scene.objects[i]), mention(scene.objects[j])
    the, also = (noun_phrase(said[k] or one, language, definite=True) for k in (i, j))
    text = WORDING[language][kind].format(the=the, The=the[:1].upper() + the[1:], other=also)
    if language == "fr" and all(NOUN["fr"][m.shape or "object"][0].gender == "f" for m in (one, other)):
        text = text.replace("ont-ils", "ont-elles")
    return Question(text, "yes" if true else "no", kind)


ASK: dict[str, Callable[[Scene, str, str, np.random.Generator], Question | None]] = {
    "exists": _exists,
    "count": _count,
    **dict.fromkeys(("colour", "size", "material", "shape"), _attribute),
    "relation": _relation,
    "same colour": _same,
}
