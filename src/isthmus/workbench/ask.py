"""Asking an index: with a text, a picture or a recording, with several of them at once, and without others.

What is asked with several parts is one vector, the sum of their unit vectors in the space less those of what is not
wanted (Jia et al. 2021, arXiv 2102.05918, section 6.2):

    z = Σ_+ x / ‖x‖ − Σ_− x / ‖x‖,   brought to length 1

Relations: one part → the plain search for it.  ·  parts in another order → the same hits.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.index.hit import Hit
from isthmus.index.index import Index, K
from isthmus.metrics.vectors import unit
from isthmus.space import Space

__all__ = ["Question", "ask", "by_part", "in_turns", "question", "shares"]

RECORDINGS = ("speech", "sound", "audio")
"""What recordings may be called; a query is of the first of them that a space maps."""
CANCELLED = 1e-3
"""The length under which what is wanted and what is not leave nothing to look for."""
LOOKED_UP = 15
"""Hits that are looked up at a time, so that the filter that names them is short."""


@dataclass(frozen=True)
class Question:
    """What is asked for: (modality, item) of what is wanted and of what is not."""

    wanted: tuple[tuple[str, Any], ...]
    unwanted: tuple[tuple[str, Any], ...] = ()

    @property
    def modality(self) -> str:
        """What the question is, where it matters what is offered: of several parts the first that is no text."""
        asked = [modality for modality, _ in self.wanted]
        return next((m for m in asked if m != "text"), asked[0])

    def vector(self, space: Space, *, device: str = "cpu") -> Float[np.ndarray, "1 d"]:
        """Return the unit vector to search with; `BadInput` where the parts cancel out, and what encoding raises."""
        return self.combined(space.encode_mixed([*self.wanted, *self.unwanted], device=device))

    def combined(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "1 d"]:
        """Return the unit vector of the question from those of its parts in the space, the unwanted ones last."""
        signs = np.repeat([1.0, -1.0], [len(self.wanted), len(self.unwanted)])
        total = (signs[:, None] * unit(x)).sum(0, keepdims=True)
        if float(np.linalg.norm(total)) < CANCELLED:
            raise BadInput("what is wanted and what is not are the same: nothing is left to look for")
        return unit(total).astype(np.float32)


def question(
    index: Index,
    *,
    text: str | None = None,
    image: str | Path | None = None,
    sound: str | Path | None = None,
    minus: Sequence[str] = (),
) -> Question:
    """Return the question of a text, a picture file, a recording file, or several of them, less the texts of `minus`.

    Raises `BadInput` when nothing is asked for, for a file that cannot be read, an empty text, and where the space of
    the index does not map what is asked with.
    """
    if all(given is None for given in (text, image, sound)):
        raise BadInput("search needs a text, --image FILE or --sound FILE, or several of them")
    if any(not said.strip() for said in ([] if text is None else [text]) + list(minus)):
        raise BadInput("a text to search with is empty")
    wanted: list[tuple[str, Any]] = []
    if image is not None:
        from isthmus.data.picture import read_picture

        wanted.append(("image", read_picture(image)))
    if sound is not None:
        from isthmus.data.sound import read_sound

        heard = [m for m in RECORDINGS if m in index.space.maps]
        if not heard:
            maps = ", ".join(index.space.modalities)
            raise BadInput(f"{index.path} cannot be searched with a recording: its space maps {maps}")
        wanted.append((heard[0], read_sound(sound)))
    if text is not None:
        wanted.append(("text", text))
    return Question(tuple(wanted), tuple(("text", said) for said in minus))


def ask(
    index: Index,
    asked: Question,
    *,
    k: int | None = None,
    modality: str | Collection[str] | None = None,
    where: str | None = None,
    quota: Mapping[str, int] | None = None,
    corrected: bool = True,
    exact: bool = False,
    device: str = "cpu",
    encoded: Float[np.ndarray, "n d"] | None = None,
) -> list[Hit]:
    """Return the best hits, 10 unless said otherwise, best first; arguments and errors as in `Index.search`.

    Without `modality` and `quota` the hits are of what was not asked with where there is one such modality. Where there
    are several, each gets its share of the places and they come in turns, because scores of different modalities do
    not compare; so they do with a `quota`. A question of a picture and a text looks for pictures like it.
    `encoded` are the parts in the space, where they have been encoded already: those wanted, then the others.
    """
    if k is not None and k < 1:
        raise BadInput(f"k must be at least 1, got {k}")
    others = [m for m in index.modalities if m != asked.modality]
    if modality is None and quota is None:
        if len(asked.wanted) > 1 and asked.modality in index.modalities:
            modality = asked.modality
        elif len(others) == 1:
            modality = others
        elif len(others) > 1:
            quota = shares(index.modalities, k or K)
    settings: dict[str, Any] = {"modality": modality, "where": where, "quota": quota}
    settings |= {"k": None if quota else k, "corrected": corrected, "exact": exact}
    if not asked.unwanted and len(asked.wanted) == 1:
        # What cannot be searched is refused before an encoder is loaded.
        ((name, item),) = asked.wanted
        if encoded is None:
            found = index.search_items(name, [item], device=device, **settings)[0]
        else:
            found = index.search(encoded, **settings)[0]
    else:
        vector = asked.vector(index.space, device=device) if encoded is None else asked.combined(encoded)
        found = index.search(vector, **settings)[0]
    return in_turns(found)[:k] if quota else found


def by_part(index: Index, hits: Sequence[Hit], encoded: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "h n"]:
    """Return how near each hit is to each part of a question, which says what it was found for.

    `encoded` are the parts in the space. Scores are plain inner products with the unit vectors of the parts.

    Relations: of one part of length 1 → the scores of the hits, where nothing is corrected.
    """
    scores = np.zeros((len(hits), len(encoded)), np.float32)
    for start in range(0, len(hits), LOOKED_UP):
        rows = {(hit.modality, hit.id): i for i, hit in enumerate(hits[start : start + LOOKED_UP], start)}
        named = f"id in {[name for _, name in rows]!r}"
        modalities = sorted({modality for modality, _ in rows})
        found = index.search(unit(encoded), k=len(rows), modality=modalities, where=named, corrected=False)
        for part, of in enumerate(found):
            for hit in of:
                scores[rows[hit.modality, hit.id], part] = hit.score
    return scores


def shares(modalities: Sequence[str], k: int) -> dict[str, int]:
    """Return how many of k hits are of each modality: as many of all, the first ones one more where it does not go.

    >>> shares(["image", "speech", "text"], 10)
    {'image': 4, 'speech': 3, 'text': 3}
    """
    return {m: max(1, k // len(modalities) + (i < k % len(modalities))) for i, m in enumerate(modalities)}


def in_turns(hits: Sequence[Hit]) -> list[Hit]:
    """Return the best hit of each modality first, then the second best of each."""
    turns: Counter[str] = Counter()
    placed = []
    for hit in hits:
        turns[hit.modality] += 1
        placed.append((turns[hit.modality], hit.modality, hit))
    return [hit for *_, hit in sorted(placed, key=lambda entry: entry[:2])]
