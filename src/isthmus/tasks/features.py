"""Vectors of a real data set for an experiment: encoded once, kept in the run's cache, shared by methods and seeds."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from isthmus.core.errors import BadInput
from isthmus.core.run import Run

__all__ = ["Features", "features"]

BATCH = 64


@dataclass(frozen=True)
class Features:
    """Vectors `x` (n, d) of a modality with the `keys`, near-duplicate `groups` and `variants` (n,) of its records."""

    x: Float[np.ndarray, "n d"]
    keys: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    variants: Shaped[np.ndarray, " n"]

    def take(self, rows: Any) -> "Features":
        """Return some of the rows, by indices or by a boolean mask."""
        return Features(self.x[rows], self.keys[rows], self.groups[rows], self.variants[rows])


def features(
    ctx: Run, source: str, modality: str, *, encoder: str, variants: Collection[str] | None = None
) -> Features:
    """Return the vectors of a data set's records of a modality, of some `variants` or of all.

    They are encoded on the first call and read from `ctx.cache` afterwards; what they depend on (the encoder's
    fingerprint, which records there are, the content of the first and last) is part of the name. Raises `BadInput`
    when the data set has no such records.
    """
    from isthmus import data, encoders

    model = encoders.load(encoder, modality)
    records = [
        r for r in data.load(source).records if r.modality == modality and (variants is None or r.variant in variants)
    ]
    if not records:
        raise BadInput(f"{source} has no {modality} records{f' of {sorted(variants)}' if variants else ''}")

    def make() -> dict[str, np.ndarray]:
        x = []
        for start in range(0, len(records), BATCH):
            items = [r.load() for r in records[start : start + BATCH]]
            x.append(model.encode(modality, items))
            ctx.progress(f"features of {source}", start + len(items), len(records))
        fields = {name: np.array([getattr(r, name) for r in records]) for name in ("key", "group", "variant")}
        return {"x": np.concatenate(x), **{f"{name}s": values for name, values in fields.items()}}

    kept = ctx.cached(
        f"features-{source}-{modality}",
        make,
        fingerprint=model.fingerprint.digest,
        variants=None if variants is None else sorted(variants),
        records=len(records),
        ends=[records[0].digest(), records[-1].digest()],
    )
    return Features(**kept)
