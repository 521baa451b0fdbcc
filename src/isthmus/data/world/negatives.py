"""Exact hard negatives: scenes that differ from a scene in one thing.

A negative is a scene, so its picture, its caption and everything else are made by the same renderers, with the same
paraphrase and the same light. The full caption of a negative is never wholly true of the scene, nor the exact caption
of the scene of its negative. (The full caption is still true of a scene with something more in it.)
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.world.grammar import Fact, holds
from isthmus.data.world.renderers import caption
from isthmus.data.world.sampling import room
from isthmus.data.world.scene import COLOURS, MATERIALS, MAX_OBJECTS, SHAPES, SIZES, Object, Scene

__all__ = ["KINDS", "negative", "negatives"]

EXCHANGED = ("colour", "material", "shape")
"""What two objects can exchange without touching something: their sizes stay."""


def negatives(scene: Scene, variant: int = 0) -> dict[str, Scene]:
    """Return a negative of every kind in `KINDS` that the scene allows."""
    return {kind: found for kind in KINDS if (found := negative(scene, kind, variant)) is not None}


def negative(scene: Scene, kind: str, variant: int = 0) -> Scene | None:
    """Return a scene that differs by one change of a kind, None where there is none.

    - ``attribute swap``: two objects exchange their colour, material or shape.
    - ``relation swap``: two entities exchange their places.
    - ``count``: there is one more, or one less, of a kind that is there.
    - ``insertion``: there is an object of another kind besides.

    `variant` is the paraphrase of the captions that are checked. Raises `NotFound` for an unknown kind.
    """
    if kind not in KINDS:
        raise NotFound.named("kind of negative", kind, KINDS)
    rng = scene.generator("negative", kind)
    mine = caption.facts(scene, detail="exact", variant=variant)
    for changed in KINDS[kind](scene, rng):
        try:
            other = replace(scene, **changed)
        except BadInput:  # no room
            continue
        if _differ(scene, mine, other, caption.facts(other, variant=variant)):
            return other
    return None


def _differ(scene: Scene, mine: tuple[Fact, ...], other: Scene, theirs: tuple[Fact, ...]) -> bool:
    return not all(holds(other, fact) for fact in mine) and not all(holds(scene, fact) for fact in theirs)


def _attribute_swap(scene: Scene, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    names = [EXCHANGED[k] for k in rng.permutation(len(EXCHANGED))]
    alone = [scene.counts[one.kind] == 1 for one in scene.objects]
    # those that have no twin first: their captions differ in two words only
    for i, j in sorted(_pairs(len(scene.objects), rng), key=lambda pair: -alone[pair[0]] - alone[pair[1]]):
        one, other = scene.objects[i], scene.objects[j]
        for name in names:
            if getattr(one, name) != getattr(other, name):
                objects = list(scene.objects)
                objects[i] = replace(one, **{name: getattr(other, name)})
                objects[j] = replace(other, **{name: getattr(one, name)})
                yield {"objects": tuple(objects)}


def _relation_swap(scene: Scene, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for i, j in _pairs(len(scene.entities), rng):
        one, other = scene.entities[i], scene.entities[j]
        if isinstance(one, Object) and isinstance(other, Object):
            objects = list(scene.objects)
            objects[i] = replace(one, x=other.x, y=other.y, z=other.z)
            objects[j] = replace(other, x=one.x, y=one.y, z=one.z)
            yield {"objects": tuple(objects)}
        elif isinstance(one, Object) and one.z == 0 and scene.figure is not None:
            objects = list(scene.objects)
            objects[i] = replace(one, x=scene.figure.x, y=scene.figure.y)
            yield {"objects": tuple(objects), "figure": replace(scene.figure, x=one.x, y=one.y)}


def _count(scene: Scene, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for i in rng.permutation(len(scene.objects)).tolist():
        one = scene.objects[i]
        fewer = scene.counts[one.kind] > 1 and rng.random() < 0.5
        if fewer:
            yield {"objects": scene.objects[:i] + scene.objects[i + 1 :]}
        elif len(scene.objects) < MAX_OBJECTS and (place := room(scene, one.size, rng)) is not None:
            yield {"objects": (*scene.objects, replace(one, x=place[0], y=place[1], z=0.0))}


def _insertion(scene: Scene, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    if len(scene.objects) == MAX_OBJECTS:
        return
    for size in (SIZES[int(rng.integers(len(SIZES)))], *SIZES):
        shape, colour, material = (str(known[int(rng.integers(len(known)))]) for known in (SHAPES, COLOURS, MATERIALS))
        if (size, colour, material, shape) not in scene.counts and (place := room(scene, size, rng)) is not None:
            yield {"objects": (*scene.objects, Object(shape, colour, size, material, *place))}


def _pairs(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    pairs = [(i, j) for j in range(n) for i in range(j)]
    return [pairs[k] for k in rng.permutation(len(pairs))]


KINDS: dict[str, Callable[[Scene, np.random.Generator], Iterator[dict[str, Any]]]] = {
    "attribute swap": _attribute_swap,
    "relation swap": _relation_swap,
    "count": _count,
    "insertion": _insertion,
}
