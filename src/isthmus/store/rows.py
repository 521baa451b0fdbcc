"""What a row of a store holds, and the vectors that come back out of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from isthmus.core.errors import BadInput
from isthmus.store.fingerprint import Fingerprint

__all__ = ["COLUMNS", "Row", "Vectors", "row_id", "to_arrow"]

COLUMNS = ("id", "key", "group", "modality", "variant", "content_hash", "text", "uri", "meta")
"""The text columns of a store, in order; `meta` is a JSON object."""


class Row(Protocol):
    """One datum to store; `isthmus.data.records.Record` is one.

    Rows of equal `key` are the same thing in several modalities or variants; rows of one `group` are
    near-duplicates. `id` is `row_id(key, modality, variant)`. `digest()` changes whenever the content does.
    """

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def modality(self) -> str: ...  # noqa: D102
    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str | None: ...  # noqa: D102
    @property
    def uri(self) -> str | None: ...  # noqa: D102
    @property
    def meta(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def digest(self) -> Callable[[], str]: ...  # noqa: D102


def row_id(key: str, modality: str, variant: str = "") -> str:
    """Return the id of a row. Only a key may hold the separator, so that no two rows share an id by accident."""
    if not key or not modality or "|" in modality or "|" in variant:
        raise BadInput(
            f"a row needs a key, a modality and a variant without '|', got key={key!r}, modality={modality!r}, "
            f"variant={variant!r}"
        )
    return f"{key}|{modality}|{variant}"


def to_arrow(rows: Sequence[Row], digests: Sequence[str]) -> pa.Table:
    """Return the text columns of rows as an Arrow table."""
    columns: dict[str, list[str | None]] = {
        "id": [r.id for r in rows],
        "key": [r.key for r in rows],
        "group": [r.group or r.key for r in rows],
        "modality": [r.modality for r in rows],
        "variant": [r.variant for r in rows],
        "content_hash": list(digests),
        "text": [r.text for r in rows],
        "uri": [r.uri for r in rows],
        "meta": [json.dumps(dict(r.meta), ensure_ascii=False, sort_keys=True) for r in rows],
    }
    return pa.table({name: pa.array(columns[name], pa.string()) for name in COLUMNS})


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Vectors of one encoder with what they stand for: `x` is (n, d) float32, all else has n entries.

    `ids`, `keys`, `groups` and `variants` are arrays of text; `texts` and `uris` lists with None where absent;
    `meta` a list of dictionaries. Raises `BadInput` when the lengths or the width disagree.
    """

    ids: np.ndarray
    keys: np.ndarray
    groups: np.ndarray
    variants: np.ndarray
    texts: list[str | None]
    uris: list[str | None]
    meta: list[dict[str, str]]
    x: np.ndarray
    fingerprint: Fingerprint

    def __post_init__(self) -> None:
        names = ("ids", "keys", "groups", "variants", "texts", "uris", "meta", "x")
        lengths = {name: len(getattr(self, name)) for name in names}
        if len(set(lengths.values())) != 1 or self.x.shape[1:] != (self.fingerprint.dim,):
            raise BadInput(
                f"vectors of {self.fingerprint.column} have lengths {lengths} and shape {self.x.shape}; equal lengths "
                f"and (n, {self.fingerprint.dim}) are expected"
            )

    @classmethod
    def of(cls, x: np.ndarray, fingerprint: Fingerprint, *, keys: Sequence[str], **others: Any) -> "Vectors":
        """Return vectors that come from elsewhere than a store: `keys` are needed, any other field may be given."""
        n = len(keys)
        variants = np.asarray(others.get("variants", [""] * n), dtype=np.str_)
        ids = [row_id(k, fingerprint.modality, v) for k, v in zip(keys, variants, strict=True)]
        fields = {
            "ids": np.asarray(ids, dtype=np.str_),
            "groups": np.asarray(keys, dtype=np.str_),
            "texts": [None] * n,
            "uris": [None] * n,
            "meta": [{} for _ in range(n)],
        }
        if unknown := set(others) - set(fields) - {"variants"}:
            raise BadInput(f"vectors have no field {sorted(unknown)}; known: {sorted(fields)}")
        x = np.asarray(x, dtype=np.float32)
        keyed = np.asarray(keys, dtype=np.str_)
        return cls(**{**fields, **others, "variants": variants}, keys=keyed, x=x, fingerprint=fingerprint)

    @classmethod
    def from_arrow(cls, table: pa.Table, x: np.ndarray, fingerprint: Fingerprint) -> "Vectors":
        """Return the rows of a table with the text columns of a store, and their vectors."""
        arrays = {
            field: np.asarray(table[column].to_pylist(), dtype=np.str_)
            for field, column in {"ids": "id", "keys": "key", "groups": "group", "variants": "variant"}.items()
        }
        return cls(
            **arrays,
            texts=table["text"].to_pylist(),
            uris=table["uri"].to_pylist(),
            meta=json.loads(f"[{','.join(table['meta'].to_pylist())}]"),  # in one go: ten times as fast
            x=x,
            fingerprint=fingerprint,
        )

    @property
    def modality(self) -> str:
        """What the vectors are of."""
        return self.fingerprint.modality

    def __len__(self) -> int:
        return len(self.x)

    def take(self, chosen: Any) -> "Vectors":
        """Return some of the rows, by a boolean mask (n,), by indices in any order, or by a slice."""
        positions = np.arange(len(self))[chosen]
        return replace(
            self,
            ids=self.ids[positions],
            keys=self.keys[positions],
            groups=self.groups[positions],
            variants=self.variants[positions],
            texts=[self.texts[i] for i in positions],
            uris=[self.uris[i] for i in positions],
            meta=[self.meta[i] for i in positions],
            x=self.x[positions],
        )
