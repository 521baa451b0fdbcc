"""statements.v1: say whether a statement about two pictures is true.

Every statement comes with a pair of scenes of the world that it is true of and a pair that it is false of, so that the
words alone, and each picture alone, say little. An answer is (n,) numbers: above 0.5 means true. Figures lie in [0, 1]:
``accuracy``, that of every kind of statement, and ``consistency``, the share of statements with both pairs right.

Relations: the truth → 1; an answer that has read the text only → accuracy exactly 1/2, consistency 0; coins → 1/2, 1/4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import picture, statement
from isthmus.data.world.scene import Scene
from isthmus.tasks.drawn import PLAIN, testing

__all__ = ["TASK", "Statements", "make", "score"]


@dataclass(frozen=True)
class Statements:
    """Texts, left and right scenes, kinds and truths. Items 2k and 2k + 1 have the same text."""

    texts: tuple[str, ...]
    left: tuple[Scene, ...]
    right: tuple[Scene, ...]
    kinds: tuple[str, ...]
    truth: Bool[np.ndarray, " n"]

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "n 2 h w 3"]:
        """Draw all pairs, the left picture first."""
        pairs = zip(self.left, self.right, strict=True)
        return np.stack([np.stack([picture.render(scene, size=size) for scene in pair]) for pair in pairs])


def make(seed: int, size: int, *, knobs: Knobs = PLAIN, language: str = "en") -> Statements:
    """Draw `size` statements by `seed`: 2 · `size` items, of which one of each two is true, in random order.

    Train on `statement.render` of `isthmus.tasks.drawn.training` of the same seed.
    """
    rng = np.random.default_rng(seed)
    items = []
    for scene in testing(seed, size, knobs):
        said = statement.render(scene, language=language)
        order = (True, False) if rng.random() < 0.5 else (False, True)
        items += [(said.text, *(said.true if truth else said.false), said.kind, truth) for truth in order]
    texts, left, right, kinds, truths = zip(*items, strict=True)
    return Statements(texts, left, right, kinds, np.array(truths))


def score(data: Statements, answer: Any) -> dict[str, float]:
    """Return accuracy, also by kind, and consistency; `BadInput` when the answer is not (n,) finite numbers."""
    said = np.asarray(answer, dtype=np.float64)
    if said.shape != data.truth.shape or not np.isfinite(said).all():
        raise BadInput(f"the answer has shape {said.shape}; expected {data.truth.shape}, all finite")
    right = (said > 0.5) == data.truth
    kinds = np.array(data.kinds)
    figures = {kind: float(right[kinds == kind].mean()) for kind in statement.KINDS if kind in data.kinds}
    both = right.reshape(-1, 2).all(1)
    return {"accuracy": float(right.mean()), "consistency": float(both.mean()), **figures}


def best(data: Statements) -> Float[np.ndarray, " n"]:
    """Return the best possible answer: the truth."""
    return data.truth.astype(np.float64)


def chance(data: Statements, seed: int) -> Float[np.ndarray, " n"]:
    """Return an answer that knows nothing: coins."""
    return np.random.default_rng(seed).random(len(data.truth))


TASK = Task(
    name="statements.v1",
    ranges=dict.fromkeys(("accuracy", "consistency", *statement.KINDS), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
