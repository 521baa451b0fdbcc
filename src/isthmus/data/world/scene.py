"""What is in a scene: objects on a ground, at most one person, and the relations that follow from where they are.

Everything else of the world is computed from a `Scene`: pictures, captions, sounds, questions. Lengths are in units
of about 30 cm; x points to the right of the picture, y away from the viewer, z up.
"""

import math
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from isthmus.core.errors import BadInput, NotFound

__all__ = [
    "ATTRIBUTES",
    "COLOURS",
    "FAULTS",
    "HALF_HEIGHT",
    "HATS",
    "INVERSE",
    "LEGS",
    "MATERIALS",
    "MAX_OBJECTS",
    "POSES",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "Entity",
    "Figure",
    "Object",
    "Relation",
    "Scene",
    "aside",
    "generator",
]

SHAPES = ("sphere", "cube", "cylinder", "cone", "pyramid", "ring", "diamond", "cross", "capsule")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "grey")
SIZES = ("small", "large")
MATERIALS = ("rubber", "metal", "glass", "wood")
POSES = ("standing", "waving", "cheering", "walking", "pointing", "sitting")
LEGS = ("trousers", "shorts", "skirt")
HATS = ("none", "cap", "hat")
RELATIONS = ("left of", "right of", "in front of", "behind", "on", "under")
INVERSE = dict(zip(RELATIONS, ("right of", "left of", "behind", "in front of", "under", "on"), strict=True))
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "material": MATERIALS}

FAULTS = ("", "other scene", "wrong attribute", "wrong relation", "boilerplate", "truncated", "keywords")
"""What can be wrong with a caption; "" is nothing."""

RADIUS = {"small": 0.44, "large": 0.74}
HALF_HEIGHT = {
    "sphere": 1.0,
    "cube": 0.78,
    "cylinder": 0.85,
    "cone": 0.95,
    "pyramid": 0.8,
    "ring": 1.0,
    "diamond": 1.05,
    "cross": 0.95,
    "capsule": 1.1,
}
"""Half the height of each shape in radii of the object."""
FLAT = frozenset({"cube", "cylinder"})
"""Shapes that something can stand on."""
MAX_OBJECTS = 8
FRONT, BACK = -2.0, 2.7
"""The part of the ground that things stand on, in y. `aside` says how far it goes in x."""
APART = 0.5
"""What two places must differ by to be told apart, in the units of the world."""
FIGURE_HEIGHT, FIGURE_RADIUS = 2.3, 0.5


@dataclass(frozen=True, slots=True)
class Object:
    """A thing: what it looks like, where it stands (`x`, `y`), how high its foot is (`z`) and how it is turned."""

    shape: str
    colour: str
    size: str
    material: str
    x: float
    y: float
    z: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        for name, known in ATTRIBUTES.items():
            if getattr(self, name) not in known:
                raise NotFound.named(name, str(getattr(self, name)), known)

    @property
    def radius(self) -> float:
        """Half the width, roughly."""
        return RADIUS[self.size]

    @property
    def height(self) -> float:
        """From foot to top."""
        return 2 * self.radius * HALF_HEIGHT[self.shape]

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """Size, colour, material and shape: what a description can say of it."""
        return self.size, self.colour, self.material, self.shape


@dataclass(frozen=True, slots=True)
class Figure:
    """A person: the pose, what it wears in which colour, where it stands and where it looks."""

    pose: str
    shirt: str
    legs: str
    legs_colour: str
    hat: str
    hat_colour: str
    x: float
    y: float
    yaw: float = 0.0
    skin: int = 0
    hair: int = 0

    def __post_init__(self) -> None:
        known = {"pose": POSES, "legs": LEGS, "hat": HATS}
        known |= dict.fromkeys(("shirt", "legs_colour", "hat_colour"), COLOURS)
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise NotFound.named(name, str(getattr(self, name)), values)

    z = 0.0
    radius = FIGURE_RADIUS
    height = FIGURE_HEIGHT


Entity = Object | Figure
Name = Literal["left of", "right of", "in front of", "behind", "on", "under"]


@dataclass(frozen=True, slots=True)
class Relation:
    """Entity `subject` is `name` entity `object`, as indices into `Scene.entities`."""

    subject: int
    name: str
    object: int


@dataclass(frozen=True)
class Scene:
    """Objects and perhaps a person. Scene `index` of `seed` is the same whenever and wherever it is drawn.

    `shift` says how far light, colours and ground are from the usual, 0 to 1, `phase` which part of a stream the
    scene belongs to, `fault` what is wrong with its captions ("": nothing). Raises `BadInput` for scenes that cannot
    be: too many objects, one outside the ground, two in one place, one in the air.
    """

    seed: int
    index: int
    objects: tuple[Object, ...]
    figure: Figure | None = None
    shift: float = 0.0
    phase: int = 0
    fault: str = ""

    def __post_init__(self) -> None:
        told = f"scene {self.index} of seed {self.seed}"
        if len(self.objects) > MAX_OBJECTS:
            raise BadInput(f"{told}: {len(self.objects)} objects are too many, {MAX_OBJECTS} have room")
        if self.fault not in FAULTS:
            raise NotFound.named("caption fault", self.fault, FAULTS)
        if not self.entities:
            raise BadInput(f"{told}: a scene needs an object or a person")
        for i, one in enumerate(self.entities):
            if not (FRONT <= one.y <= BACK and abs(one.x) <= aside(one.y)):
                raise BadInput(
                    f"{told}: entity {i} at ({one.x:.2f}, {one.y:.2f}) stands outside the ground: y must be "
                    f"{FRONT} to {BACK}, and x there at most {aside(one.y):.2f} to each side"
                )
            for j in range(i):
                if _overlap(one, self.entities[j]):
                    raise BadInput(f"{told}: entities {j} and {i} are in one place, near ({one.x:.2f}, {one.y:.2f})")
            if one.z > 0 and not any(_carries(other, one) for other in self.objects):
                raise BadInput(f"{told}: object {i} hangs in the air at z = {one.z:.2f}; let it stand on a cube")

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """The objects, then the person. The mask calls entity i by the number i + 1."""
        return self.objects if self.figure is None else (*self.objects, self.figure)

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        """Every relation that holds, both ways, between entities that are clearly apart."""
        return tuple(
            Relation(i, name, j)
            for i in range(len(self.entities))
            for j in range(len(self.entities))
            if i != j and (name := _relation(self.entities[i], self.entities[j]))
        )

    @cached_property
    def counts(self) -> dict[tuple[str, str, str, str], int]:
        """How many objects there are of each kind, in order of first appearance."""
        counts: dict[tuple[str, str, str, str], int] = {}
        for one in self.objects:
            counts[one.kind] = counts.get(one.kind, 0) + 1
        return counts

    def with_object(self, i: int, one: Object) -> "Scene":
        """Return the scene with `one` in the place of object `i`."""
        return replace(self, objects=(*self.objects[:i], one, *self.objects[i + 1 :]))

    def generator(self, *purpose: str | int) -> np.random.Generator:
        """Return the random generator of this scene for a purpose; a renderer that draws has its own."""
        return generator(self.seed, self.index, *purpose)


def aside(y: float) -> float:
    """Return how far the ground goes to each side of the middle: what stands on it is in the picture."""
    return 1.8 + 0.26 * (y - FRONT)


def generator(*key: str | int) -> np.random.Generator:
    """Return the random generator that belongs to a key, the same on every machine."""
    numbers = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


def _relation(one: Entity, other: Entity) -> str | None:
    if isinstance(one, Object) and isinstance(other, Object) and (one.z > 0 or other.z > 0):
        if _carries(other, one):
            return "on"
        if _carries(one, other):
            return "under"
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) >= abs(dy):
        return None if abs(dx) < APART else "left of" if dx < 0 else "right of"
    return None if abs(dy) < APART else "in front of" if dy < 0 else "behind"


def _carries(lower: Object, upper: Entity) -> bool:
    """Whether one object stands on the other."""
    return (
        upper.z > 0
        and lower.shape in FLAT
        and abs(lower.z + lower.height - upper.z) < 1e-6
        and math.hypot(lower.x - upper.x, lower.y - upper.y) < lower.radius
    )


def _overlap(one: Entity, other: Entity) -> bool:
    """Whether two entities touch, taken as upright cylinders a little narrower than they are."""
    near = 0.85 * (one.radius + other.radius)
    return (
        abs(one.x - other.x) < near
        and abs(one.y - other.y) < near
        and math.hypot(one.x - other.x, one.y - other.y) < near
        and one.z < other.z + other.height - 1e-6
        and other.z < one.z + one.height - 1e-6
    )
