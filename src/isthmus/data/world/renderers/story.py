"""A story of several scenes: things come, go, move and change, and the text calls them ``it`` where a person would."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from isthmus.core.errors import BadInput
from isthmus.data.world.grammar import Mention, mention, noun_phrase, relative
from isthmus.data.world.reference import unique
from isthmus.data.world.renderers import caption, picture
from isthmus.data.world.sampling import room
from isthmus.data.world.scene import COLOURS, MATERIALS, MAX_OBJECTS, SHAPES, SIZES, Object, Scene
from isthmus.data.world.words import COLOUR, NOUN, known

__all__ = ["CHANGES", "KIND", "TITLE", "Step", "Story", "render", "show", "words"]

TITLE, KIND = "story", "frames"
CHANGES = ("appears", "leaves", "recoloured", "moves")
IT = {"en": ("it", "it", "it"), "fr": ("il", "elle", "il"), "de": ("er", "sie", "es")}  # m, f, n
WORDING = {
    "en": {
        "appears": "Then {s} appears{where}.",
        "leaves": "{The} goes away.",
        "recoloured": "{The} turns {colour}.",
        "moves": "{The} moves {where}.",
    },
    "fr": {
        "appears": "Puis apparaît {s}{where}.",
        "leaves": "{The} s'en va.",
        "recoloured": "{The} devient {colour}.",
        "moves": "{The} se déplace {where}.",
    },
    "de": {
        "appears": "Dann erscheint {s}{where}.",
        "leaves": "{The} geht weg.",
        "recoloured": "{The} wird {colour}.",
        "moves": "{The} steht nun {where}.",
    },
}


@dataclass(frozen=True)
class Step:
    """What happens: a change of an object, by its place in the scene before (or after, when it ``appears``)."""

    change: str
    entity: int


@dataclass(frozen=True)
class Story:
    """The scenes, the steps between them, and one text a scene; the first describes the first scene."""

    scenes: tuple[Scene, ...]
    steps: tuple[Step, ...]
    texts: tuple[str, ...]


def render(scene: Scene, *, steps: int = 3, language: str = "en") -> Story:
    """Return a story that begins with the scene and has `steps` changes; fewer where nothing more can be told."""
    if not 1 <= steps <= 12:
        raise BadInput(f"steps = {steps}; a story has 1 to 12")
    known(language)
    rng = scene.generator("story")
    shown: list[Scene] = [scene]
    done: list[Step] = []
    texts = [caption.render(scene, language=language, clean=True)]
    last: tuple[float, ...] | None = None
    for _ in range(steps):
        found = _next(shown[-1], rng, None if not done else done[-1])
        if found is None:
            break
        after, step = found
        texts.append(_told(shown[-1], after, step, language, last))
        last = None if step.change == "leaves" else _identity(after.objects[step.entity])
        shown.append(after)
        done.append(step)
    return Story(tuple(shown), tuple(done), tuple(texts))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the first four scenes in a square."""
    shots = [picture.render(s, size=size // 2) for s in render(scene, steps=3).scenes]
    shots += [np.full_like(shots[0], 240)] * (4 - len(shots))
    return np.concatenate([np.concatenate(shots[:2], 1), np.concatenate(shots[2:], 1)], 0)


def _identity(one: Object) -> tuple[float, ...]:
    return one.x, one.y, one.z


def _next(scene: Scene, rng: np.random.Generator, before: Step | None) -> tuple[Scene, Step] | None:
    for k in rng.permutation(len(CHANGES)).tolist():
        change = CHANGES[k]
        if change == "appears":
            shape, colour, size, material = (
                str(known[int(rng.integers(len(known)))]) for known in (SHAPES, COLOURS, SIZES, MATERIALS)
            )
            place = room(scene, size, rng)
            if place is not None and len(scene.objects) < MAX_OBJECTS:
                new = Object(shape, colour, size, material, *place)
                if not any(mention(new).fits(one) for one in scene.objects):
                    return replace(scene, objects=(*scene.objects, new)), Step(change, len(scene.objects))
            continue
        order = rng.permutation(len(scene.objects)).tolist()
        if before is not None and before.change in ("appears", "recoloured", "moves") and rng.random() < 0.6:
            order = [before.entity, *order]  # stories stay with whom they have spoken of
        for i in order:
            if unique(scene, i) is None:
                continue
            changed = _changed(scene, i, change, rng)
            if changed is not None:
                return changed, Step(change, i)
    return None


def _changed(scene: Scene, i: int, change: str, rng: np.random.Generator) -> Scene | None:
    one = scene.objects[i]
    carries = any(r.name == "under" and r.subject == i for r in scene.relations)
    if change == "leaves":
        alone = len(scene.entities) == 1
        return None if carries or alone else replace(scene, objects=scene.objects[:i] + scene.objects[i + 1 :])
    if change == "recoloured":
        colour = COLOURS[int(rng.integers(len(COLOURS)))]
        return None if colour == one.colour else scene.with_object(i, replace(one, colour=colour))
    place = None if carries else room(scene, one.size, rng)
    if place is None:
        return None
    after = scene.with_object(i, replace(one, x=place[0], y=place[1], z=0.0))
    return after if _where(after, i, "en") else None


def _told(before: Scene, after: Scene, step: Step, language: str, last: tuple[float, ...] | None) -> str:
    one = (after if step.change == "appears" else before).objects[step.entity]
    the = (
        noun_phrase(unique(before, step.entity) or mention(one), language, definite=True)
        if step.change != "appears"
        else ""
    )
    gender = "mfn".index(NOUN[language][one.shape][0].gender)
    if last == _identity(one):
        the = IT[language][gender]
    where = _where(after, step.entity, language) if step.change in ("appears", "moves") else ""
    colour = after.objects[step.entity].colour if step.change == "recoloured" else one.colour
    return WORDING[language][step.change].format(
        s=noun_phrase(mention(one), language),
        The=the[:1].upper() + the[1:],
        colour=COLOUR[language][colour][gender if language == "fr" else 0],
        where=f" {where}" if where and step.change == "appears" else where,
    )


def _where(scene: Scene, i: int, language: str) -> str:
    """Say where an object is, by another that can be told from the rest; empty where that cannot be done."""
    for r in scene.relations:
        other: Mention | None = unique(scene, r.object) if r.subject == i else None
        if other is not None:
            return relative(r.name, noun_phrase(other, language, case="dat", definite=True), language)
    return ""


def words(scene: Scene) -> str:
    """Return the story in three languages."""
    return "\n".join(" ".join(render(scene, language=language).texts) for language in ("en", "fr", "de"))
