"""correspondence.v1: find the points of one picture of a scene in another, from another side or in another light.

The items are pairs of views of scenes of the world, with points of the first view that are seen in both. An answer is
(n, p, 2) places in the second view: column and row in pixels. Figures: ``pck@1``, ``pck@3`` and ``pck@5``, the shares
of points less than 1, 3 and 5 pixels (of a picture 64 wide, in proportion for others) from their place, in [0, 1], and
``error``, the median distance in pixels, from 0 to the diagonal of the largest picture.

Relations: the true places → 1 and error 0; the same place in both pictures → right only where nothing moved.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.geometry import CAMERA, SIZES, Camera, trace
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import render, renderer
from isthmus.data.world.renderers.views import correspondences
from isthmus.data.world.scene import Scene
from isthmus.tasks.drawn import PLAIN, testing

__all__ = ["TASK", "Pairs", "make", "score"]


@dataclass(frozen=True)
class Pairs:
    """Scenes, the camera of each second view, `points` in the first view, and `truth`, where they are in the second."""

    scenes: tuple[Scene, ...]
    cameras: tuple[Camera, ...]
    pixels: int
    renderers: tuple[str, str]
    points: Float[np.ndarray, "n p 2"]
    truth: Float[np.ndarray, "n p 2"]

    def pictures(self) -> tuple[UInt8[np.ndarray, "n h w ..."], UInt8[np.ndarray, "n h w ..."]]:
        """Draw the first and the second views."""
        first, second = self.renderers
        pairs = list(zip(self.scenes, self.cameras, strict=True))
        return (
            np.stack([render(first, scene, size=self.pixels) for scene, _ in pairs]),
            np.stack([render(second, scene, size=self.pixels, camera=camera) for scene, camera in pairs]),
        )


def make(
    seed: int,
    size: int,
    *,
    points: int = 32,
    pixels: int = 64,
    degrees: float = 25.0,
    renderers: tuple[str, str] = ("picture", "picture"),
    knobs: Knobs = PLAIN,
) -> Pairs:
    """Draw `size` pairs of views by `seed`, the second from up to `degrees` to either side.

    Three of four points lie on things, the others on the ground. `renderers` make the two views: ``("picture",
    "night")`` asks for the same points by day and by night, with 0 degrees without a change of place.
    """
    for name in renderers:
        if renderer(name).KIND != "pixels":
            raise BadInput(f"{name} is not a picture but {renderer(name).KIND}")
    if points < 1 or not 0 <= degrees <= 180:
        raise BadInput(f"points = {points}, degrees = {degrees}; expected at least 1 point, and 0 to 180 degrees")
    found = testing(seed, size, knobs)
    cameras, starts, ends = [], [], []
    for scene in found:
        rng = scene.generator("correspondence", seed)
        camera = CAMERA.around(float(rng.uniform(-degrees, degrees)))
        places, seen = correspondences(scene, CAMERA, camera, size=pixels)
        things = trace(scene, CAMERA, pixels).entity > 0
        on, off = np.argwhere(seen & things), np.argwhere(seen & ~things)
        wanted = points - points // 4 if len(on) else 0
        chosen = np.concatenate([rng.choice(on, wanted) if wanted else on[:0], rng.choice(off, points - wanted)])
        starts.append(chosen[:, ::-1] + 0.5)
        ends.append(places[chosen[:, 0], chosen[:, 1]])
        cameras.append(camera)
    return Pairs(found, tuple(cameras), pixels, renderers, np.stack(starts), np.stack(ends))


def score(data: Pairs, answer: Any) -> dict[str, float]:
    """Return the shares of points found, and the median error; `BadInput` when not (n, p, 2) finite numbers."""
    said = np.asarray(answer, dtype=np.float64)
    if said.shape != data.truth.shape or not np.isfinite(said).all():
        raise BadInput(f"places have shape {said.shape}; expected {data.truth.shape}, all finite")
    away = np.linalg.norm(said - data.truth, axis=-1)
    near = {f"pck@{k}": float((away < k * data.pixels / 64).mean()) for k in (1, 3, 5)}
    return {**near, "error": float(np.median(np.minimum(away, 2**0.5 * data.pixels)))}


def best(data: Pairs) -> Float[np.ndarray, "n p 2"]:
    """Return the best possible answer: the true places."""
    return data.truth.copy()


def chance(data: Pairs, seed: int) -> Float[np.ndarray, "n p 2"]:
    """Return an answer that knows nothing: random places in the picture."""
    return np.random.default_rng(seed).uniform(0, data.pixels, data.truth.shape)


TASK = Task(
    name="correspondence.v1",
    ranges={**dict.fromkeys(("pck@1", "pck@3", "pck@5"), (0.0, 1.0)), "error": (0.0, 2**0.5 * SIZES[1])},
    make=make,
    score=score,
    best=best,
    chance=chance,
)
