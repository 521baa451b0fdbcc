"""Descriptions that fit one entity of a scene and no other."""

from itertools import combinations

from isthmus.data.world.grammar import Mention, matching, noun_phrase, relative
from isthmus.data.world.scene import Object, Scene

__all__ = ["expression", "unique"]

DISTINGUISHING = ("colour", "size", "material")


def unique(scene: Scene, i: int, *, leave_out: str = "") -> Mention | None:
    """Return the shortest description that fits entity `i` alone, None where there is none.

    The shape is always said, then as few attributes as will do. `leave_out` is not used: who asks for a colour must
    not name it.
    """
    one = scene.entities[i]
    if not isinstance(one, Object):
        return Mention(person=one)
    usable = [name for name in DISTINGUISHING if name != leave_out]
    shape = None if leave_out == "shape" else one.shape
    for n in range(len(usable) + 1):
        for names in combinations(usable, n):
            said = Mention(shape, **{name: getattr(one, name) for name in names})
            if matching(scene, said) == [i]:
                return said
    return None


def expression(scene: Scene, i: int, language: str, *, words: int = 0, related: bool = False) -> str | None:
    """Return words that refer to entity `i` alone; None where that cannot be done.

    With `related`, it is named by its shape and how it stands to another entity that can be named alone.
    """
    if not related:
        said = unique(scene, i)
        return None if said is None else noun_phrase(said, language, definite=True, words=words)
    one = scene.entities[i]
    if not isinstance(one, Object):
        return None
    for brief in (Mention(one.shape), Mention(one.shape, one.colour)):
        alike = matching(scene, brief)
        for r in scene.relations:
            other = unique(scene, r.object)
            rivals = [s for s in scene.relations if (s.name, s.object) == (r.name, r.object) and s.subject in alike]
            if r.subject == i and other is not None and len(rivals) == 1:
                anchor = noun_phrase(other, language, case="dat", definite=True)
                head = noun_phrase(brief, language, definite=True, words=words)
                return f"{head} {relative(r.name, anchor, language)}"
    return None
