"""The held-out items of a space, as the page needs them: vectors in the space, and how each item is shown."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import IsthmusError
from isthmus.data import open_uri
from isthmus.metrics.vectors import unit
from isthmus.space import Space
from isthmus.store.rows import Vectors
from isthmus.store.store import Store
from isthmus.workbench.report_page.thumbnails import Sheet

__all__ = ["Shelf", "Side", "by_hash", "sides_of"]


@dataclass(frozen=True)
class Side:
    """The held-out records of one modality with their unit vectors `z` (n, d) in the space.

    `written` says which records are nothing but their text, so that there is no picture to show for them.
    """

    vectors: Vectors
    z: Float[np.ndarray, "n d"]
    written: list[bool]

    @property
    def modality(self) -> str:
        """What the records are."""
        return self.vectors.modality

    def rows(self, variant: str) -> Int[np.ndarray, " m"]:
        """Return the rows of a variant; all rows where the modality does not have that variant."""
        rows = np.flatnonzero(self.vectors.variants == variant)
        return rows if len(rows) else np.arange(len(self.z))


def sides_of(store: Store, space: Space, modalities: Iterable[str], keys: Collection[str]) -> dict[str, Side]:
    """Map the records of `keys` into the space, one `Side` a modality."""
    sides = {}
    for modality in modalities:
        vectors = store.vectors(modality, keys=keys)
        z = space.transform(modality, vectors.x, fingerprint=vectors.fingerprint)
        known = store.records(modality, ["id", "content_hash"])
        content = dict(zip(known["id"].to_pylist(), known["content_hash"].to_pylist(), strict=True))
        written = [
            text is not None and content[i] == hashlib.sha256(text.encode()).hexdigest()
            for i, text in zip(vectors.ids.tolist(), vectors.texts, strict=True)
        ]
        sides[modality] = Side(vectors, unit(z, modality), written)
    return sides


class Shelf:
    """Turns a record into the ITEM of the page: its picture where it has one, its text otherwise."""

    def __init__(self, sides: Mapping[str, Side], variants: Mapping[str, Mapping[str, str]], root: Path | None) -> None:
        self.sheet = Sheet()
        self._sides, self._variants, self._root = sides, variants, root
        self._without: set[str] = set()
        self._names = _names(sides.values(), list(variants))

    def item(self, modality: str, row: int) -> dict[str, Any]:
        """Return {label, text, thumb, modality, lang} of a row of a side."""
        side = self._sides[modality]
        v = side.vectors
        thumb = None if side.written[row] else self._thumb(v.uris[row])
        return {
            "label": self.name(str(v.keys[row])),
            "text": v.texts[row] if thumb is None else None,
            "thumb": thumb,
            "modality": modality,
            "lang": self._variants.get(str(v.variants[row]), {}).get("lang", ""),
        }

    def name(self, key: str) -> str:
        """Return what people call the item of a key."""
        return self._names.get(key, key)

    def _thumb(self, uri: str | None) -> int | None:
        if uri is None or uri in self._without:
            return None
        if (number := self.sheet.number(uri)) is not None:
            return number
        try:
            return self.sheet.add(uri, open_uri(uri, self._root))
        except (IsthmusError, OSError):
            # a text or a sound, or a picture that is gone: it is shown by its text
            self._without.add(uri)
            return None


def by_hash(names: Iterable[str], purpose: str) -> list[int]:
    """Return the order of names by a hash: arbitrary, the same on every machine, and nobody's choice."""
    hashed = [(hashlib.sha256(f"isthmus-{purpose}:{name}".encode()).hexdigest(), i) for i, name in enumerate(names)]
    return [i for _, i in sorted(hashed)]


def _names(sides: Iterable[Side], order: list[str]) -> dict[str, str]:
    """Return {key: name}: the `name` of a record's meta, or its text, in the variant that comes first."""
    place = {variant: i for i, variant in enumerate(order)}
    best: dict[str, tuple[tuple[int, int], str]] = {}
    for side in sides:
        v = side.vectors
        for key, variant, text, meta in zip(v.keys.tolist(), v.variants.tolist(), v.texts, v.meta, strict=True):
            name = meta.get("name") or text
            rank = (0 if meta.get("name") else 1, place.get(variant, len(place)))
            if name and (key not in best or rank < best[key][0]):
                best[key] = (rank, name)
    return {key: name for key, (_, name) in best.items()}
