"""Vectors with fields to filter by, which tests of every backend put into an index."""

import numpy as np

from isthmus.store.rows import Vectors
from tests.store.rows import fingerprint

from .test_index import WIDTHS

KINDS = ("animals", "plants", "stones")


def made(keys, modality="image", seed=0, **changes):
    """Vectors of an encoder, with fields to filter by."""
    of = fingerprint(WIDTHS[modality], modality=modality, **changes)
    rng = np.random.default_rng([seed, *map(ord, modality)])
    meta = [{"kind": KINDS[int(k[1:]) % 3], "year": str(1990 + int(k[1:]) % 40)} for k in keys]
    texts = [f"thing {k}" for k in keys] if modality == "text" else [None] * len(keys)
    return Vectors.of(rng.standard_normal((len(keys), of.dim)), of, keys=keys, meta=meta, texts=texts)


def keys(start, stop):
    return [f"k{i}" for i in range(start, stop)]
