"""Drawing scenes: scene i of a seed alone, or a stream of them that keeps nothing in memory."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.scene import (
    BACK,
    COLOURS,
    FAULTS,
    FLAT,
    FRONT,
    HATS,
    LEGS,
    MATERIALS,
    POSES,
    SHAPES,
    SIZES,
    Entity,
    Figure,
    Object,
    Scene,
    aside,
    generator,
)

__all__ = ["room", "sample", "scenes", "shapes_of"]

PLAIN = Knobs()
TRIES, RESTARTS, PATIENCE = 60, 200, 20
HIDING = 0.62
"""How far behind a thing of height 1 another must stand to be seen well enough."""


def scenes(seed: int, n: int | None = None, *, knobs: Knobs = PLAIN, start: int = 0) -> Iterator[Scene]:
    """Yield scenes `start`, `start` + 1, … of a seed: `n` of them, or without end."""
    index = start
    while n is None or index < start + n:
        yield sample(seed, index, knobs)
        index += 1


def sample(seed: int, index: int, knobs: Knobs = PLAIN) -> Scene:
    """Return scene `index` of a seed: the same whichever scenes are drawn before it, or on which machine."""
    if seed < 0 or index < 0:
        raise BadInput(f"scene {index} of seed {seed}: both must be 0 or more")
    rng = generator(seed, index, "scene")
    phase = index // knobs.phase_length % knobs.phases
    kinds = _kinds(seed, knobs, phase, rng)
    with_person = bool(rng.random() < knobs.person)
    looks = _figure(rng) if with_person or not kinds else None
    for attempt in range(RESTARTS):
        figure = None if looks is None else _placed_figure(looks, rng)
        # where many objects must share the ground, they may stand closer and hide each other more and more
        objects = _placed(kinds, figure, knobs.stacked, max(0.0, 1 - attempt / PATIENCE), rng)
        if objects is not None:
            return Scene(
                seed, index, objects, figure, knobs.domain_shift, phase, _fault(seed, index, knobs.caption_noise)
            )
    raise BadInput(
        f"scene {index} of seed {seed}: {len(kinds)} objects{' and a person' if looks else ''} found no room in "
        f"{RESTARTS} attempts; lower max_objects"
    )


def _fault(seed: int, index: int, share: float) -> str:
    """Draw what is wrong with the captions of a scene, by a generator of its own: the scene is the same without."""
    if share == 0:
        return ""
    wrong, which = generator(seed, index, "caption noise").random(2).tolist()
    return FAULTS[1 + int(which * (len(FAULTS) - 1))] if wrong < share else ""


def shapes_of(phase: int, phases: int) -> tuple[str, ...]:
    """Return the shapes that appear in a phase of a stream."""
    return SHAPES[phase::phases]


def room(scene: Scene, size: str, rng: np.random.Generator) -> tuple[float, float] | None:
    """Return a free place on the ground of a scene for one more object of a size, or None."""
    probe = Object("sphere", "red", size, "rubber", 0.0, 0.0)
    return _place(probe, [one for one in scene.entities if one.z == 0], 0.5, rng)


def _kinds(seed: int, knobs: Knobs, phase: int, rng: np.random.Generator) -> list[tuple[str, str, str, str]]:
    """Draw what the objects look like: shape, colour, size, material."""
    n = int(rng.integers(knobs.min_objects, knobs.max_objects + 1))
    pairs, bounds = _pairs(seed, knobs.long_tail, phase, knobs.phases)
    kinds: list[tuple[str, str, str, str]] = []
    draws = rng.random((n, 5)).tolist()
    for twin, pair, size, material, which in draws:
        if kinds and twin < knobs.twins:
            kinds.append(kinds[int(which * len(kinds))])
        else:
            shape, colour = pairs[min(int(np.searchsorted(bounds, pair, side="right")), len(pairs) - 1)]
            kinds.append((shape, colour, SIZES[int(size * len(SIZES))], MATERIALS[int(material * len(MATERIALS))]))
    return kinds


@lru_cache(maxsize=64)
def _pairs(seed: int, exponent: float, phase: int, phases: int) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return all pairs of shape and colour, the most frequent first (which, the seed decides), and their summed shares.

    A phase keeps the shares that its pairs have among all.
    """
    pairs = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    order = generator(seed, "long tail").permutation(len(pairs))
    known = set(shapes_of(phase, phases))
    ranked = [(rank, pairs[i]) for rank, i in enumerate(order) if pairs[i][0] in known]
    weights = np.array([(rank + 1.0) ** -exponent for rank, _ in ranked])
    return [pair for _, pair in ranked], np.cumsum(weights / weights.sum())


def _figure(rng: np.random.Generator) -> Figure:
    picks = rng.random(8).tolist()

    def pick(known: tuple[str, ...], i: int) -> str:
        return known[int(picks[i] * len(known))]

    return Figure(
        pick(POSES, 0),
        pick(COLOURS, 1),
        pick(LEGS, 2),
        pick(COLOURS, 3),
        pick(HATS, 4),
        pick(COLOURS, 5),
        0.0,
        0.0,
        skin=int(picks[6] * 4),
        hair=int(picks[7] * 4),
    )


def _placed_figure(looks: Figure, rng: np.random.Generator) -> Figure:
    u, v, turn = rng.random(3).tolist()
    y = FRONT + (0.35 + 0.6 * v) * (BACK - FRONT)
    return Figure(
        looks.pose,
        looks.shirt,
        looks.legs,
        looks.legs_colour,
        looks.hat,
        looks.hat_colour,
        round((2 * u - 1) * (aside(y) - 0.3), 3),
        round(y, 3),
        round((turn - 0.5) * 1.2, 3),
        looks.skin,
        looks.hair,
    )


def _placed(
    kinds: list[tuple[str, str, str, str]],
    figure: Figure | None,
    stacked: float,
    ease: float,
    rng: np.random.Generator,
) -> tuple[Object, ...] | None:
    """Return the objects in places where all can be seen, or None when that did not work out."""
    placed: list[Object] = []
    standing: list[Entity] = [] if figure is None else [figure]
    free = {i: None for i, (shape, _, size, _) in enumerate(kinds) if shape in FLAT and size == "large"}
    for i, (shape, colour, size, material) in enumerate(kinds):
        yaw = round(float(rng.random()) * math.pi / 2 - math.pi / 4, 3)
        below = next((j for j in free if j < i), None)
        if size == "small" and below is not None and rng.random() < stacked:
            del free[below]
            base = placed[below]
            placed.append(Object(shape, colour, size, material, base.x, base.y, base.z + base.height, yaw))
            continue
        one = Object(shape, colour, size, material, 0.0, 0.0, 0.0, yaw)
        place = _place(one, standing, ease, rng)
        if place is None:
            return None
        one = Object(shape, colour, size, material, *place, 0.0, yaw)
        placed.append(one)
        standing.append(one)
    return tuple(placed)


def _place(one: Object, standing: list[Entity], ease: float, rng: np.random.Generator) -> tuple[float, float] | None:
    for u, v in rng.random((TRIES, 2)).tolist():
        y = round(FRONT + v * (BACK - FRONT), 3)
        x = round((2 * u - 1) * (aside(y) - 0.001), 3)
        if all(_clear(one, x, y, other, ease) for other in standing):
            return x, y
    return None


def _clear(one: Object, x: float, y: float, other: Entity, ease: float) -> bool:
    """Whether two entities on the ground neither touch nor, at full `ease`, hide each other."""
    dx, dy, reach = abs(x - other.x), y - other.y, one.radius + other.radius
    apart = (0.9 + 0.18 * ease) * reach
    if dx > apart:
        return True
    ahead = other if dy > 0 else one
    return abs(dy) > apart and abs(dy) > ease * (0.6 * reach + HIDING * ahead.height * (1 - 0.45 * dx / reach))
