"""grounding.v1: find the box of the thing that an expression refers to.

The queries are expressions about scenes of the world that fit one entity and no other, by its attributes or by a
relation. An answer is (q, 4) boxes: left, top, right, bottom in pixels. Figures lie in [0, 1]: ``iou`` (mean overlap
with the true box), ``acc@0.5`` and ``acc@0.75`` (share of boxes that overlap that much), and ``attributes`` and
``relation``, acc@0.5 for either way of referring.

Relations: the true boxes → 1; the box of any visible entity → about one over their number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import boxes, picture, referring
from isthmus.data.world.scene import Scene
from isthmus.tasks.drawn import PLAIN, testing

__all__ = ["TASK", "Queries", "make", "overlap", "score"]

SEEN = 12
"""An entity with fewer pixels is not asked for."""


@dataclass(frozen=True)
class Queries:
    """Scenes, and for each query its text, scene, entity, true box, and whether it refers by a relation."""

    scenes: tuple[Scene, ...]
    pixels: int
    texts: tuple[str, ...]
    scene: Int[np.ndarray, " q"]
    entity: Int[np.ndarray, " q"]
    boxes: Float[np.ndarray, "q 4"]
    related: Int[np.ndarray, " q"]

    def pictures(self) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw all scenes; query i is about picture ``scene[i]``."""
        return np.stack([picture.render(scene, size=self.pixels) for scene in self.scenes])


def make(seed: int, size: int, *, pixels: int = 64, knobs: Knobs = PLAIN, language: str = "en") -> Queries:
    """Draw `size` scenes by `seed`, with all expressions for their entities.

    Train on `isthmus.tasks.drawn.training` of the same seed.
    """
    found = testing(seed, size, knobs, fits=lambda scene: bool(_asked(scene, pixels, language)))
    asked = [(i, said, box) for i, scene in enumerate(found) for said, box in _asked(scene, pixels, language)]
    return Queries(
        found,
        pixels,
        tuple(said.text for _, said, _ in asked),
        np.array([i for i, _, _ in asked]),
        np.array([said.entity for _, said, _ in asked]),
        np.stack([box for _, _, box in asked]),
        np.array([int(said.by == "relation") for _, said, _ in asked]),
    )


def overlap(a: Float[np.ndarray, "q 4"], b: Float[np.ndarray, "q 4"]) -> Float[np.ndarray, " q"]:
    """Return intersection over union of boxes, row by row; 0 for boxes without area."""
    inside = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(1) for x in (a, b)]
    both = areas[0] + areas[1] - inside
    shares: np.ndarray = np.where(both > 0, inside / np.where(both > 0, both, 1), 0)
    return shares


def score(data: Queries, answer: Any) -> dict[str, float]:
    """Return the figures of an answer; `BadInput` when it is not (q, 4) finite numbers."""
    said = np.asarray(answer, dtype=np.float64)
    if said.shape != data.boxes.shape or not np.isfinite(said).all():
        raise BadInput(f"boxes have shape {said.shape}; expected {data.boxes.shape}, all finite")
    share = overlap(said, data.boxes)
    right = share >= 0.5
    related = data.related.astype(bool)
    return {
        "iou": float(share.mean()),
        "acc@0.5": float(right.mean()),
        "acc@0.75": float((share >= 0.75).mean()),
        "attributes": float(right[~related].mean()) if (~related).any() else 0.0,
        "relation": float(right[related].mean()) if related.any() else 0.0,
    }


def best(data: Queries) -> Float[np.ndarray, "q 4"]:
    """Return the best possible answer: the true boxes."""
    return data.boxes.copy()


def chance(data: Queries, seed: int) -> Float[np.ndarray, "q 4"]:
    """Return an answer that has not read the text: the box of any entity that is seen in the picture."""
    rng = np.random.default_rng(seed)
    found = [boxes.render(scene, size=data.pixels) for scene in data.scenes]
    seen = [all_.boxes[all_.pixels > 0] for all_ in found]
    return np.stack([seen[i][rng.integers(len(seen[i]))] for i in data.scene])


def _asked(scene: Scene, pixels: int, language: str) -> list[tuple[referring.Expression, np.ndarray]]:
    found = boxes.render(scene, size=pixels)
    least = SEEN * (pixels / 64) ** 2
    return [
        (said, found.boxes[said.entity])
        for said in referring.render(scene, language=language)
        if found.pixels[said.entity] >= least
    ]


TASK = Task(
    name="grounding.v1",
    ranges=dict.fromkeys(("iou", "acc@0.5", "acc@0.75", "attributes", "relation"), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
