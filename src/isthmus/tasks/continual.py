"""continual.v1: learn from a stream whose shapes change over time, and do not forget.

The stream is the world's with the knob `phases`: each phase has its own shapes. `train` yields the scenes of a phase.
After each phase t, all test items of all phases are embedded: an answer is a sequence of one entry a phase, each
``{"picture": (n, d), "caption": (n, d)}`` for all test rows, or their (n, n) scores. r[t, p] is the recall at 1 of
phase p after phase t, the mean of both directions, among the test items of phase p alone.

Figures: ``average``, the mean of the last row of r, in [0, 1]; ``forgetting``, the mean over phases but the last of how
far r was higher after an earlier phase than at the end, in [-1, 1]; ``ahead``, the mean of r[p - 1, p], how well a
phase is known before it comes, in [0, 1].

Relations: perfect at all times → average 1, forgetting 0; knowing only the last phase → average about 1 / phases.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.knobs import knobs as turn
from isthmus.data.world.renderers import caption, picture
from isthmus.data.world.sampling import sample
from isthmus.data.world.scene import Scene
from isthmus.metrics.vectors import matrix, pair, unit
from isthmus.tasks.drawn import PLAIN, check_count

__all__ = ["TASK", "Stream", "make", "recalls", "score"]


@dataclass(frozen=True)
class Stream:
    """The test scenes of all phases, their captions, and the phase of each; `knobs` draws the training scenes."""

    seed: int
    knobs: Knobs
    scenes: tuple[Scene, ...]
    captions: tuple[str, ...]
    phase: Int[np.ndarray, " n"]

    def train(self, phase: int) -> Iterator[Scene]:
        """Yield the training scenes of a phase."""
        if not 0 <= phase < self.knobs.phases:
            raise BadInput(f"phase = {phase}; the stream has phases 0 to {self.knobs.phases - 1}")
        length = self.knobs.phase_length
        return (sample(2 * self.seed, i, self.knobs) for i in range(phase * length, (phase + 1) * length))

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw the test scenes."""
        return np.stack([picture.render(scene, size=size) for scene in self.scenes])


def make(
    seed: int, size: int, *, phases: int = 3, length: int = 1000, knobs: Knobs = PLAIN, language: str = "en"
) -> Stream:
    """Draw `size` test scenes a phase by `seed`; each phase has `length` training scenes.

    Raises `BadInput` for fewer than 2 phases or test scenes, or more phases than shapes.
    """
    if phases < 2 or size < 2:
        raise BadInput(f"phases = {phases}, size = {size}; a stream needs at least 2 phases of 2 test scenes each")
    chosen = turn(knobs, phases=phases, phase_length=length)
    testing = turn(chosen, phase_length=size)
    found = tuple(sample(2 * seed + 1, i, testing) for i in range(phases * size))
    texts = tuple(caption.render(scene, language=language, clean=True) for scene in found)
    return Stream(seed, chosen, found, texts, np.repeat(np.arange(phases), size))


def recalls(data: Stream, answer: Sequence[Any]) -> Float[np.ndarray, "t p"]:
    """Return r[t, p]: the recall at 1 within phase p after phase t; ties count against the answer."""
    phases = data.knobs.phases
    check_count(len(answer), phases, "entries, one after each phase")
    r = np.empty((phases, phases))
    for t, entry in enumerate(answer):
        table = _scores(entry, len(data.scenes))
        for p in range(phases):
            mine = np.flatnonzero(data.phase == p)
            s = table[np.ix_(mine, mine)]
            own = np.diagonal(s)
            r[t, p] = (((s >= own[:, None]).sum(1) == 1).mean() + ((s >= own[None, :]).sum(0) == 1).mean()) / 2
    return r


def score(data: Stream, answer: Sequence[Any]) -> dict[str, float]:
    """Return average, forgetting and ahead of an answer."""
    r = recalls(data, answer)
    return {
        "average": float(r[-1].mean()),
        "forgetting": float((r[:-1, :-1].max(0) - r[-1, :-1]).mean()),
        "ahead": float(np.diagonal(r, 1).mean()),
    }


def best(data: Stream) -> list[Float[np.ndarray, "n n"]]:
    """Return the best possible answer: at all times every picture scores highest with its own caption."""
    return [np.eye(len(data.scenes), dtype=np.float32)] * data.knobs.phases


def chance(data: Stream, seed: int) -> list[Float[np.ndarray, "n n"]]:
    """Return an answer that knows nothing: random scores after each phase."""
    rng = np.random.default_rng(seed)
    n = len(data.scenes)
    return [rng.standard_normal((n, n), dtype=np.float32) for _ in range(data.knobs.phases)]


def _scores(entry: Any, n: int) -> Float[np.ndarray, "n n"]:
    if isinstance(entry, Mapping):
        if set(entry) != {"picture", "caption"}:
            raise BadInput(f"the answer has vectors of {sorted(entry)}; the task asks for picture and caption")
        pictures, captions = pair(entry["picture"], entry["caption"], ("picture", "caption"))
        table: np.ndarray = unit(pictures, "picture") @ unit(captions, "caption").T
    else:
        table = matrix(entry, "scores")
    if table.shape != (n, n):
        raise BadInput(f"the answer gives {table.shape} scores; the task has {n} items")
    return table


TASK = Task(
    name="continual.v1",
    ranges={"average": (0.0, 1.0), "forgetting": (-1.0, 1.0), "ahead": (0.0, 1.0)},
    make=make,
    score=score,
    best=best,
    chance=chance,
)
