"""A statement about two pictures, with a pair of scenes for which it is true and a pair for which it is not.

Every statement is used with both, so that the words alone say nothing about the answer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from isthmus.data.world.grammar import Mention, matching, noun_phrase
from isthmus.data.world.renderers import picture
from isthmus.data.world.sampling import sample
from isthmus.data.world.scene import ATTRIBUTES, Scene
from isthmus.data.world.words import known

__all__ = ["KIND", "KINDS", "TITLE", "Statement", "render", "show", "words"]

TITLE, KIND = "two-picture statement", "text"
TRIES = 400
WORDING = {
    "en": {
        "more left": "There are more {plural} in the left picture than in the right one.",
        "both": "Both pictures show {s}.",
        "only one": "Exactly one of the two pictures shows {s}.",
        "total": "The two pictures together show exactly {n}.",
        "left right": "The left picture shows {s}, and the right one shows {also}.",
        "same number": "Both pictures have the same number of objects.",
    },
    "fr": {
        "more left": "L'image de gauche contient plus de {plural} que celle de droite.",
        "both": "Les deux images montrent {s}.",
        "only one": "Une seule des deux images montre {s}.",
        "total": "Les deux images montrent ensemble exactement {n}.",
        "left right": "L'image de gauche montre {s}, et celle de droite montre {also}.",
        "same number": "Les deux images ont le même nombre d'objets.",
    },
    "de": {
        "more left": "Im linken Bild gibt es mehr {plural} als im rechten.",
        "both": "Beide Bilder zeigen {a}.",
        "only one": "Genau eines der beiden Bilder zeigt {a}.",
        "total": "Beide Bilder zusammen zeigen genau {n}.",
        "left right": "Das linke Bild zeigt {a}, und das rechte zeigt {also_a}.",
        "same number": "Beide Bilder haben gleich viele Gegenstände.",
    },
}
KINDS = tuple(WORDING["en"])
Pair = tuple[Scene, Scene]


@dataclass(frozen=True)
class Statement:
    """A statement of a `kind`, a pair (left, right) of scenes that it is true of, and one that it is false of."""

    text: str
    kind: str
    true: Pair
    false: Pair


def render(scene: Scene, *, language: str = "en") -> Statement:
    """Return a statement about the scene and another of the same stream of scenes.

    The scene is in one of the two pairs at least; the other scenes are drawn by the key of this one.
    """
    known(language)
    rng = scene.generator("statement")
    partners = (sample(_seed(scene), k) for k in rng.integers(0, 2**31, 6).tolist())
    others = [replace(partner, shift=scene.shift) for partner in partners]  # seen in the same light
    for _ in range(TRIES):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        said, also = _mention(scene, others, rng), _mention(scene, others, rng)
        total = int(rng.integers(1, 4))
        check = _check(kind, said, also, total)
        flipped = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in [(scene, other) for other in others]]
        # the other way round first: then the pictures are the same and only their order differs
        pairs = [*flipped, *((b, a) for a, b in flipped), *zip(others[1:], others, strict=False)]
        truths = [check(*pair) for pair in pairs]
        if any(truths[: len(others)]) and not all(truths):
            true = pairs[truths.index(True)]
            false = _closest(true, [p for p, truth in zip(pairs, truths, strict=True) if not truth])
            return Statement(_words(kind, said, also, total, language), kind, true, false)
    raise AssertionError("some statement tells a scene from six others")


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pair that the statement is true of, above the one that it is false of."""
    found = render(scene)
    rows = [np.concatenate([picture.render(s, size=size // 2) for s in pair], 1) for pair in (found.true, found.false)]
    return np.concatenate(rows, 0)


def _seed(scene: Scene) -> int:
    return int(scene.generator("statement", "partners").integers(2**31))


def _closest(true: Pair, candidates: list[Pair]) -> Pair:
    """Return the false pair that shares most scenes with the true one."""
    return max(candidates, key=lambda pair: len({id(s) for s in pair} & {id(s) for s in true}))


def _mention(scene: Scene, others: list[Scene], rng: np.random.Generator) -> Mention:
    """Describe something that one of the scenes has, by one or two attributes."""
    having = [s for s in (scene, scene, *others) if s.objects]
    if not having:
        return Mention("sphere")
    from_ = having[int(rng.integers(len(having)))]
    one = from_.objects[int(rng.integers(len(from_.objects)))]
    names = [name for name in ATTRIBUTES if rng.random() < 0.4][:2] or ["shape"]
    return Mention(**{name: getattr(one, name) for name in names})


def _check(kind: str, said: Mention, also: Mention, total: int) -> Callable[[Scene, Scene], bool]:
    def number(scene: Scene) -> int:
        return len(matching(scene, said))

    checks: dict[str, Callable[[Scene, Scene], bool]] = {
        "more left": lambda left, right: number(left) > number(right),
        "both": lambda left, right: number(left) > 0 and number(right) > 0,
        "only one": lambda left, right: (number(left) > 0) != (number(right) > 0),
        "total": lambda left, right: number(left) + number(right) == total,
        "left right": lambda left, right: number(left) > 0 and bool(matching(right, also)),
        "same number": lambda left, right: len(left.objects) == len(right.objects),
    }
    return checks[kind]


def _words(kind: str, said: Mention, also: Mention, total: int, language: str) -> str:
    many = Mention(said.shape, said.colour, said.size, said.material, 2)
    some = Mention(said.shape, said.colour, said.size, said.material, total)
    text = WORDING[language][kind].format(
        s=noun_phrase(said, language),
        a=noun_phrase(said, language, case="acc"),
        also=noun_phrase(also, language),
        also_a=noun_phrase(also, language, case="acc"),
        plural=noun_phrase(many, language, article=False),
        n=re.sub("^an? ", "one ", noun_phrase(some, language, case="acc")),
    )
    return text.replace(" de objets", " d'objets").replace(" de anneaux", " d'anneaux")


def words(scene: Scene) -> str:
    """Return the statement in three languages: true of the upper pair, false of the lower one."""
    languages = ("en", "fr", "de")
    return "\n".join(render(scene, language=language).text for language in languages)
