"""hard_negatives.v1: find the caption of a picture, and the picture of a caption, among ones that differ in one thing.

The items are scenes of the world and their exact negatives (`isthmus.data.world.negatives`), each with a picture and a
caption. An answer is one of

- ``{"picture": (m, d), "caption": (m, d)}``, vectors of all items, compared by cosine;
- the (m, m) scores of pictures (rows) and captions (columns).

``picture_to_caption r@1`` and ``caption_to_picture r@1`` are over all m items. For every kind of negative, over its
pairs of a scene and its negative: ``text`` (each picture prefers its own caption of the two), ``image`` (each caption
prefers its own picture) and ``group`` (both), then their means over kinds. Ties count against the answer.

Relations: own caption always highest → 1 everywhere; scores that ignore what differs → 0; random scores → text and
image 1/4, group 1/6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.negatives import KINDS, negative
from isthmus.data.world.renderers import caption, picture
from isthmus.data.world.scene import Scene
from isthmus.metrics.vectors import matrix, pair, unit
from isthmus.tasks.drawn import PLAIN, testing

__all__ = ["TASK", "Contrast", "make", "score", "score_table"]


@dataclass(frozen=True)
class Contrast:
    """All scenes, their captions, and by kind the (p, 2) indices of a scene and its negative."""

    scenes: tuple[Scene, ...]
    captions: tuple[str, ...]
    pairs: Mapping[str, Int[np.ndarray, "p 2"]]

    def pictures(self, size: int = 64) -> UInt8[np.ndarray, "m h w 3"]:
        """Draw all scenes."""
        return np.stack([picture.render(scene, size=size) for scene in self.scenes])


def make(seed: int, size: int, *, knobs: Knobs = PLAIN, language: str = "en") -> Contrast:
    """Draw `size` scenes by `seed`, and of each a negative of every kind that it allows.

    Train on `isthmus.tasks.drawn.training` of the same seed. Raises `BadInput` for a size below 1.
    """
    found = list(testing(seed, size, knobs))
    pairs: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for i in range(size):
        for kind in KINDS:
            other = negative(found[i], kind)
            if other is not None:
                pairs[kind].append((i, len(found)))
                found.append(other)
    captions = tuple(caption.render(scene, language=language, clean=True) for scene in found)
    return Contrast(tuple(found), captions, {kind: np.array(rows) for kind, rows in pairs.items() if rows})


def score_table(data: Contrast, answer: Any) -> Float[np.ndarray, "m m"]:
    """Return the scores of pictures (rows) and captions (columns); `BadInput` for an answer that does not fit."""
    if isinstance(answer, Mapping):
        if set(answer) != {"picture", "caption"}:
            raise BadInput(f"the answer has vectors of {sorted(answer)}; the task asks for picture and caption")
        pictures, captions = pair(answer["picture"], answer["caption"], ("picture", "caption"))
        table: np.ndarray = unit(pictures, "picture") @ unit(captions, "caption").T
    else:
        table = matrix(answer, "scores")
    if table.shape != (len(data.scenes),) * 2:
        raise BadInput(f"the answer gives {table.shape} scores; the task has {len(data.scenes)} items")
    return table


def score(data: Contrast, answer: Any) -> dict[str, float]:
    """Return recall over all items, and text, image and group by kind and in the mean."""
    s = score_table(data, answer)
    own = np.diagonal(s)
    figures = {
        "picture_to_caption r@1": float(((s >= own[:, None]).sum(1) == 1).mean()),
        "caption_to_picture r@1": float(((s >= own[None, :]).sum(0) == 1).mean()),
    }
    for kind, rows in data.pairs.items():
        a, b = rows.T
        text = (s[a, a] > s[a, b]) & (s[b, b] > s[b, a])
        image = (s[a, a] > s[b, a]) & (s[b, b] > s[a, b])
        for name, right in (("text", text), ("image", image), ("group", text & image)):
            figures[f"{kind} {name}"] = float(right.mean())
    for name in ("text", "image", "group"):
        figures[name] = float(np.mean([figures[f"{kind} {name}"] for kind in data.pairs]))
    return figures


def best(data: Contrast) -> Float[np.ndarray, "m m"]:
    """Return the best possible answer: every picture scores 1 with its own caption, 0 with others."""
    return np.eye(len(data.scenes), dtype=np.float32)


def chance(data: Contrast, seed: int) -> Float[np.ndarray, "m m"]:
    """Return an answer that knows nothing: random scores."""
    return np.random.default_rng(seed).standard_normal((len(data.scenes),) * 2, dtype=np.float32)


TASK = Task(
    name="hard_negatives.v1",
    ranges=dict.fromkeys(
        ("picture_to_caption r@1", "caption_to_picture r@1", "text", "image", "group"),
        (0.0, 1.0),
    ),
    make=make,
    score=score,
    best=best,
    chance=chance,
)
