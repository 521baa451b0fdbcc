"""segmentation.v1: say what each pixel shows: the ground, a shape, or the person.

The items are scenes of the world; `names` says what the numbers mean. An answer is (n, h, w) numbers of classes.
Figures lie in [0, 1]: ``miou`` is the mean over classes that occur in the truth of intersection over union, counted
over all pixels of all pictures; ``foreground`` is the same without the ground; ``accuracy`` the share of right pixels.

Relations: the true masks → 1; all ground → ``foreground`` 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import mask, picture
from isthmus.data.world.scene import Scene
from isthmus.tasks.drawn import PLAIN, testing

__all__ = ["TASK", "Masks", "make", "score"]


@dataclass(frozen=True)
class Masks:
    """Scenes, and which class of `names` each pixel of their pictures shows."""

    scenes: tuple[Scene, ...]
    truth: UInt8[np.ndarray, "n h w"]
    names: tuple[str, ...] = mask.NAMES

    def pictures(self) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw all scenes, as large as the masks."""
        return np.stack([picture.render(scene, size=self.truth.shape[1]) for scene in self.scenes])


def make(seed: int, size: int, *, pixels: int = 64, knobs: Knobs = PLAIN) -> Masks:
    """Draw `size` scenes by `seed`, `pixels` a side. Train on `isthmus.tasks.drawn.training` of the same seed."""
    found = testing(seed, size, knobs)
    return Masks(found, np.stack([mask.render(scene, size=pixels, by="shape") for scene in found]))


def score(data: Masks, answer: Any) -> dict[str, float]:
    """Return miou, foreground and accuracy of an answer; `BadInput` for another shape or unknown classes."""
    said = np.asarray(answer)
    if said.shape != data.truth.shape or said.dtype.kind not in "iu":
        raise BadInput(f"masks are {said.dtype} of shape {said.shape}; expected whole numbers of {data.truth.shape}")
    c = len(data.names)
    if said.min() < 0 or said.max() >= c:
        raise BadInput(f"masks hold classes {said.min()} to {said.max()}; known are 0 to {c - 1}")
    table = np.bincount(data.truth.ravel().astype(np.int64) * c + said.ravel(), minlength=c * c).reshape(c, c)
    hits, union = np.diagonal(table), table.sum(0) + table.sum(1) - np.diagonal(table)
    there = table.sum(1) > 0
    iou = hits / np.maximum(union, 1)
    front = there & (np.arange(c) > 0)
    return {
        "miou": float(iou[there].mean()),
        "foreground": float(iou[front].mean()) if front.any() else 0.0,
        "accuracy": float(hits.sum() / table.sum()),
    }


def best(data: Masks) -> Int[np.ndarray, "n h w"]:
    """Return the best possible answer: the true masks."""
    return data.truth.copy()


def chance(data: Masks, seed: int) -> Int[np.ndarray, "n h w"]:
    """Return an answer that knows nothing: a random class for every pixel."""
    return np.random.default_rng(seed).integers(0, len(data.names), data.truth.shape)


TASK = Task(
    name="segmentation.v1",
    ranges=dict.fromkeys(("miou", "foreground", "accuracy"), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
