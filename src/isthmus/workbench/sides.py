"""The two sides of a measurement: the stored records of a modality, and their vectors in a space."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput, NotFound
from isthmus.space import Space
from isthmus.store.rows import Vectors
from isthmus.store.store import Store

__all__ = ["ALL", "Side", "in_space", "two", "variant_rows"]

ALL = "all"
"""Name of the only variant, where records have none."""
Side = tuple[Vectors, Float[np.ndarray, "n d"]]
"""Records of a modality and their vectors in the space."""


def in_space(
    store: Store, space: Space, modality: str, keys: Collection[str] | None
) -> tuple[Vectors, Float[np.ndarray, "n d"]]:
    """Return the stored records of a modality and their vectors in the space.

    Of several encoders the one that the space accepts is taken. Raises `NotFound` for a modality that the store or
    the space lacks, `WrongFingerprint` for vectors the space does not accept, `BadInput` when no record has a key
    of `keys`.
    """
    if modality not in store.modalities():
        raise NotFound.named("modality", modality, store.modalities(), f"in {store.path}")
    if modality not in space.maps:
        raise NotFound.named("modality", modality, space.maps, "in this space")
    accepted = space.maps[modality].fingerprint.column
    has = any(part["column"] == accepted and part["modality"] == modality for part in store.parts)
    if not has:
        space.accepts(modality, store.fingerprint(modality))
    vectors = store.vectors(modality, accepted, keys)
    if not len(vectors):
        raise BadInput(f"{store.path} has no {modality} record of the {len(keys or ())} keys given")
    return vectors, space.transform(modality, vectors.x, fingerprint=vectors.fingerprint)


def variant_rows(first: Vectors, second: Vectors) -> dict[str, tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]]:
    """Cut two modalities by the variants of the one that has more: {variant: (rows of first, rows of second)}."""
    names = [sorted(set(v.variants.tolist())) for v in (first, second)]
    side = int(len(names[1]) > len(names[0]))
    cut = {}
    for name in names[side]:
        rows = [np.arange(len(first)), np.arange(len(second))]
        rows[side] = np.flatnonzero((first, second)[side].variants == name)
        cut[name or ALL] = (rows[0], rows[1])
    return cut


def two(pair: str) -> tuple[str, str]:
    """Return the modalities of a pair such as ``text:image``; `BadInput` for anything else."""
    names = pair.split(":")
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise BadInput(f"pair {pair!r} must be two different modalities, such as text:image")
    return names[0], names[1]
