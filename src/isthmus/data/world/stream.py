"""Scenes with what several renderers make of them, one after the other, and nothing kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.core.errors import BadInput
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import render, renderer
from isthmus.data.world.sampling import sample
from isthmus.data.world.scene import Scene, generator

__all__ = ["Item", "present", "stream"]

PLAIN = Knobs()


@dataclass(frozen=True)
class Item:
    """A scene and its `values` by renderer. What is missing by the knobs is not there."""

    scene: Scene
    values: Mapping[str, Any]


def stream(
    seed: int,
    n: int | None = None,
    *,
    renderers: Sequence[str] = ("picture", "caption"),
    knobs: Knobs = PLAIN,
    start: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Item]:
    """Yield scenes `start`, `start` + 1, … with what the renderers make of them: `n`, or without end.

    `options` are those of renderers by name, such as ``{"picture": {"size": 128}}``. Raises `NotFound` for an unknown
    renderer and `BadInput` for options of one that is not asked for, before the first scene is drawn.
    """
    for name in renderers:
        renderer(name)
    chosen = dict(options or {})
    if strange := sorted(set(chosen) - set(renderers)):
        raise BadInput(f"options for {', '.join(strange)}, but the renderers are {', '.join(renderers)}")
    return _items(seed, n, tuple(renderers), knobs, start, chosen)


def present(seed: int, index: int, names: Sequence[str], knobs: Knobs = PLAIN) -> tuple[str, ...]:
    """Return which of some modalities a scene comes in: all, but for the knobs `unpaired` and `missing`."""
    if len(names) < 2 or (knobs.unpaired == 0 and knobs.missing == 0):
        return tuple(names)
    rng = generator(seed, index, "present")
    alone, which = rng.random(2).tolist()
    only = names[int(which * len(names))]
    if alone < knobs.unpaired:
        return (only,)
    kept = tuple(name for name in names if rng.random() >= knobs.missing)
    return kept or (only,)


def _items(
    seed: int, n: int | None, names: tuple[str, ...], knobs: Knobs, start: int, options: Mapping[str, Mapping[str, Any]]
) -> Iterator[Item]:
    index = start
    while n is None or index < start + n:
        scene = sample(seed, index, knobs)
        here = present(seed, index, names, knobs)
        yield Item(scene, {name: render(name, scene, **options.get(name, {})) for name in here})
        index += 1
