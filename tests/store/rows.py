"""Rows and vectors for the tests of store, space and index."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import row_id


def fingerprint(dim=4, **changes):
    fields = {
        "encoder": "tiny",
        "modality": "text",
        "weights": "ab" * 32,
        "preprocess": "lower case",
        "pooling": "mean",
        "normalised": False,
    }
    return Fingerprint(**{**fields, "dim": dim, **changes})


@dataclass(frozen=True)
class Item:
    """A row with its content in hand."""

    key: str
    content: str = ""
    modality: str = "text"
    variant: str = ""
    group: str = ""
    text: str | None = None
    uri: str | None = None
    meta: dict = field(default_factory=dict)

    @property
    def id(self):
        return row_id(self.key, self.modality, self.variant)

    def digest(self):
        return hashlib.sha256((self.content or self.key).encode()).hexdigest()


def items(n, start=0, **fields):
    return [Item(f"k{i}", **fields) for i in range(start, start + n)]


def vector_of(item, dim=4):
    """A vector that depends on nothing but the content of the item."""
    seed = int.from_bytes(bytes.fromhex(item.digest())[:4], "big")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def vectors_of(rows, dim=4):
    return np.stack([vector_of(row, dim) for row in rows]) if rows else np.empty((0, dim), np.float32)
