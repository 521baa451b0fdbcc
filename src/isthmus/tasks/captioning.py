"""captioning.v1: describe pictures; what is said is counted against what is there.

The items are scenes of the world. An answer is one text a scene, in the language of the task. It is read back
(`isthmus.data.world.reading`) into slots: each thing, each of its attributes, each whole description, what the person
wears and does. Figures lie in [0, 1]: ``precision``, ``recall`` and ``f1`` of the slots over all scenes, ``exact``
(share of texts with all slots and no others), and ``relations`` (share of the relations said that hold; 0 if none is).

Relations: the full captions → 1; captions of other scenes → what scenes have in common; empty texts → 0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from isthmus.core.task import Task
from isthmus.data.world.grammar import Fact, Mention, holds
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.reading import Slot, read, slots
from isthmus.data.world.renderers import caption, picture
from isthmus.data.world.scene import INVERSE, Scene
from isthmus.tasks.drawn import PLAIN, check_count, testing

__all__ = ["TASK", "Described", "make", "score"]


@dataclass(frozen=True)
class Described:
    """Scenes, and full captions of them, each followed by paraphrases."""

    scenes: tuple[Scene, ...]
    captions: tuple[tuple[str, ...], ...]
    language: str

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw all scenes."""
        return np.stack([picture.render(scene, size=size) for scene in self.scenes])


def make(seed: int, size: int, *, knobs: Knobs = PLAIN, language: str = "en", paraphrases: int = 5) -> Described:
    """Draw `size` scenes by `seed`, with captions. Train on `isthmus.tasks.drawn.training` of the same seed."""
    found = testing(seed, size, knobs)
    texts = (
        tuple(caption.render(scene, language=language, variant=v, clean=True) for v in range(max(paraphrases, 1)))
        for scene in found
    )
    return Described(found, tuple(texts), language)


def score(data: Described, answer: Sequence[str]) -> dict[str, float]:
    """Return slot precision, recall and F1, exact texts, and how many relations hold."""
    check_count(len(answer), len(data.scenes), "texts")
    hits = said_in_all = there_in_all = exact = true = stated = 0
    for scene, text, own in zip(data.scenes, answer, data.captions, strict=True):
        said, there = _things(text, data.language), _things(own[0], data.language)
        hits += (said & there).total()
        said_in_all += said.total()
        there_in_all += there.total()
        exact += said == there
        held = _relations(scene, text, data.language)
        true += sum(held)
        stated += len(held)
    precision, recall = hits / max(said_in_all, 1), hits / max(there_in_all, 1)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / max(said_in_all + there_in_all, 1),
        "exact": exact / len(data.scenes),
        "relations": true / max(stated, 1),
    }


def best(data: Described) -> list[str]:
    """Return the best possible answer: the full captions."""
    return [own[0] for own in data.captions]


def chance(data: Described, seed: int) -> list[str]:
    """Return an answer that has seen no picture: captions of scenes drawn at random, of the same stream."""
    return [data.captions[i][0] for i in np.random.default_rng(seed).integers(0, len(data.scenes), len(data.scenes))]


def _things(text: str, language: str) -> Counter[Slot]:
    """Return the slots of a text but for relations, whose choice is the writer's."""
    return Counter(
        {slot: n for slot, n in slots(text, language).items() if not (len(slot) == 3 and slot[1] in INVERSE)}
    )


def _relations(scene: Scene, text: str, language: str) -> list[bool]:
    """Return for each relation that a text states whether it holds in the scene."""
    said = read(text, language)
    held = []
    for i, name, j in said.relations:
        subject, other = (_mention(scene, said.things[k]) for k in (i, j))
        held.append(subject is not None and other is not None and holds(scene, Fact(subject, name, other)))
    return held


def _mention(scene: Scene, thing: dict[str, str]) -> Mention | None:
    if thing["noun"] == "person":
        return None if scene.figure is None else Mention(person=scene.figure)
    shape = None if thing["noun"] == "object" else thing["noun"]
    return Mention(shape, thing.get("colour"), thing.get("size"), thing.get("material"))


TASK = Task(
    name="captioning.v1",
    ranges=dict.fromkeys(("precision", "recall", "f1", "exact", "relations"), (0.0, 1.0)),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
