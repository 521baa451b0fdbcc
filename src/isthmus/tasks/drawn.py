"""Scenes of the world for tasks: test scenes and training scenes of a seed, which are never the same ones."""

from collections.abc import Callable, Iterator

from isthmus.core.errors import BadInput
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.sampling import scenes
from isthmus.data.world.scene import Scene

__all__ = ["PLAIN", "check_count", "testing", "training"]

PLAIN = Knobs()
PATIENCE = 200
"""How many scenes are looked at for one that will do."""


def testing(
    seed: int, size: int, knobs: Knobs = PLAIN, *, fits: Callable[[Scene], bool] = lambda _: True
) -> tuple[Scene, ...]:
    """Return the first `size` test scenes of a seed that fit; `BadInput` for a size below 1, or when too few fit."""
    if size < 1:
        raise BadInput(f"size = {size}; a test needs at least 1 scene")
    found: list[Scene] = []
    for scene in scenes(2 * seed + 1, PATIENCE * size, knobs=knobs):
        if fits(scene):
            found.append(scene)
            if len(found) == size:
                return tuple(found)
    raise BadInput(f"of {PATIENCE * size} scenes only {len(found)} fit this task; turn fewer knobs, they were {knobs}")


def training(
    seed: int, n: int | None = None, knobs: Knobs = PLAIN, *, fits: Callable[[Scene], bool] = lambda _: True
) -> Iterator[Scene]:
    """Yield training scenes of a seed that fit: `n`, or without end. None is a test scene of the seed."""
    found = 0
    for scene in scenes(2 * seed, knobs=knobs):
        if found == n:
            return
        if fits(scene):
            found += 1
            yield scene


def check_count(given: int, wanted: int, what: str) -> None:
    """Raise `BadInput` unless an answer has as many entries as the task has."""
    if given != wanted:
        raise BadInput(f"the answer has {given} {what}; the task has {wanted}")
