"""vqa.v1: answer questions about pictures, each with one word.

The questions are about scenes of the world: whether there is something, how many, which colour, size, material or
shape, where, and whether two have the same colour. An answer is one string a question, out of `ANSWERS`. Figures lie in
[0, 1]: ``accuracy``, the accuracy of every kind, and ``mean``, that over kinds.

Relations: the true answers → 1; a guess by the kind of question → one over its possible answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.renderers import picture, questions
from isthmus.data.world.renderers.questions import ANSWERS, KINDS
from isthmus.data.world.scene import ATTRIBUTES, MAX_OBJECTS, Scene
from isthmus.tasks.drawn import PLAIN, check_count, testing

__all__ = ["ANSWERS", "TASK", "Asked", "make", "possible", "score"]


@dataclass(frozen=True)
class Asked:
    """Scenes, and for each question its text, scene, kind and true answer."""

    scenes: tuple[Scene, ...]
    texts: tuple[str, ...]
    scene: Int[np.ndarray, " q"]
    kinds: tuple[str, ...]
    answers: tuple[str, ...]

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw all scenes; question i is about picture ``scene[i]``."""
        return np.stack([picture.render(scene, size=size) for scene in self.scenes])


def make(seed: int, size: int, *, knobs: Knobs = PLAIN, language: str = "en") -> Asked:
    """Draw `size` scenes by `seed`, with one question of every kind that a scene allows.

    Train on `isthmus.tasks.drawn.training` of the same seed.
    """
    found = testing(seed, size, knobs)
    asked = [(i, q) for i, scene in enumerate(found) for q in questions.render(scene, language=language)]
    return Asked(
        found,
        tuple(q.text for _, q in asked),
        np.array([i for i, _ in asked]),
        tuple(q.kind for _, q in asked),
        tuple(q.answer for _, q in asked),
    )


def possible(kind: str) -> tuple[str, ...]:
    """Return the answers that a kind of question can have."""
    if kind == "count":
        return tuple(str(n) for n in range(MAX_OBJECTS + 1))
    return ATTRIBUTES.get(kind, ("yes", "no"))


def score(data: Asked, answer: Sequence[str]) -> dict[str, float]:
    """Return accuracy in all, by kind, and in the mean over kinds; `BadInput` for answers that are not `ANSWERS`."""
    check_count(len(answer), len(data.answers), "answers")
    if strange := sorted({str(a) for a in answer} - set(ANSWERS)):
        raise BadInput(f"{strange[0]!r} is no answer; answers are {', '.join(ANSWERS)}")
    right = np.array([a == b for a, b in zip(answer, data.answers, strict=True)])
    kinds = np.array(data.kinds)
    figures = {kind: float(right[kinds == kind].mean()) for kind in KINDS if kind in data.kinds}
    return {"accuracy": float(right.mean()), "mean": float(np.mean(list(figures.values()))), **figures}


def best(data: Asked) -> list[str]:
    """Return the best possible answer: the true ones."""
    return list(data.answers)


def chance(data: Asked, seed: int) -> list[str]:
    """Return an answer that has seen no picture: any that the kind of question can have."""
    rng = np.random.default_rng(seed)
    return [str(rng.choice(possible(kind))) for kind in data.kinds]


TASK = Task(
    name="vqa.v1",
    ranges=dict.fromkeys(("accuracy", "mean", *KINDS), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
