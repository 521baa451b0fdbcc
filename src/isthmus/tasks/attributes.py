"""attributes.v1: say the shape, colour, size and material of a thing from descriptions, in unseen combinations.

The items are scenes of the world with one object. The combinations of shape and colour of all test scenes are held out:
`training` yields scenes without them. An answer maps each attribute to the (n, c) scores of its values, or to a
tuple (items (n, d), values (c, d)) of vectors, compared by cosine; `prompts` has texts for the values.

Figures lie in [0, 1]: ``shape``, ``colour``, ``size`` and ``material`` (share of items whose own value scores highest,
ties against the answer), their ``mean``, and ``all`` (share of items with all four right).

Relations: own values highest → 1; random scores → one over the number of values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.grammar import Mention, noun_phrase
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import picture
from isthmus.data.world.scene import ATTRIBUTES, COLOURS, SHAPES, Object, Scene, generator
from isthmus.tasks import drawn
from isthmus.tasks.zero_shot import Classes, class_scores

__all__ = ["TASK", "Attributes", "make", "score", "training"]

HELD = 12
"""Combinations of shape and colour, of 72, that are held out."""
PAINTED = Knobs(min_objects=1, max_objects=1, person=0.0)


@dataclass(frozen=True)
class Attributes:
    """Scenes with one object each; `labels` are places in the values of each attribute (`ATTRIBUTES`)."""

    scenes: tuple[Scene, ...]
    labels: Mapping[str, Int[np.ndarray, " n"]]
    held: frozenset[tuple[str, str]]

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw all scenes."""
        return np.stack([picture.render(scene, size=size) for scene in self.scenes])

    def prompts(self, language: str = "en") -> dict[str, list[str]]:
        """Return a text for every value of every attribute, such as ``a red object``."""
        return {
            name: [noun_phrase(Mention.of(name, value), language) for value in values]
            for name, values in ATTRIBUTES.items()
        }


def make(seed: int, size: int) -> Attributes:
    """Draw `size` scenes of one object, whose combinations of shape and colour `seed` holds out of training."""
    held = _held(seed)
    found = drawn.testing(seed, size, PAINTED, fits=lambda scene: _combination(scene.objects[0]) in held)
    labels = {
        name: np.array([values.index(getattr(scene.objects[0], name)) for scene in found])
        for name, values in ATTRIBUTES.items()
    }
    return Attributes(found, labels, held)


def training(seed: int, n: int | None = None, knobs: Knobs = drawn.PLAIN) -> Iterator[Scene]:
    """Yield training scenes in which no object has a held-out combination."""
    held = _held(seed)
    return drawn.training(
        seed, n, knobs, fits=lambda scene: not any(_combination(one) in held for one in scene.objects)
    )


def score(data: Attributes, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of right values by attribute, in the mean, and of items with all right."""
    if set(answer) != set(ATTRIBUTES):
        raise BadInput(f"the answer has {sorted(answer)}; the task asks for {sorted(ATTRIBUTES)}")
    right = {}
    for name, values in ATTRIBUTES.items():
        rows = np.arange(len(data.scenes))
        scores = class_scores(Classes(values, data.labels[name], rows, rows[:0]), answer[name])
        own = scores[rows, data.labels[name]]
        right[name] = (scores >= own[:, None]).sum(1) == 1
    figures = {name: float(hit.mean()) for name, hit in right.items()}
    return figures | {
        "mean": float(np.mean(list(figures.values()))),
        "all": float(np.all(list(right.values()), axis=0).mean()),
    }


def best(data: Attributes) -> dict[str, Float[np.ndarray, "n c"]]:
    """Return the best possible answer: the values of each item, one-hot."""
    return {name: np.eye(len(values), dtype=np.float32)[data.labels[name]] for name, values in ATTRIBUTES.items()}


def chance(data: Attributes, seed: int) -> dict[str, Float[np.ndarray, "n c"]]:
    """Return an answer that knows nothing: random scores."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((len(data.scenes), len(values)), dtype=np.float32)
        for name, values in ATTRIBUTES.items()
    }


def _combination(one: Object) -> tuple[str, str]:
    return one.shape, one.colour


def _held(seed: int) -> frozenset[tuple[str, str]]:
    """Return held-out combinations; every shape and every colour stays in training with others."""
    pairs = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    order = generator(seed, "held combinations").permutation(len(pairs))
    return frozenset(pairs[i] for i in order[:HELD])


TASK = Task(
    name="attributes.v1",
    ranges=dict.fromkeys((*ATTRIBUTES, "mean", "all"), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
