"""An item that a search found."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Hit"]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """An item found: `score` is its inner product with the query, a cosine where the space has unit length.

    In a corrected search it is that less the item's bias, which is 0 in the mean over a modality's items.
    """

    id: str
    key: str
    modality: str
    variant: str
    score: float
    text: str | None = None
    uri: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any], score: float) -> "Hit":
        """Return the hit of a row of the items."""
        fields = {name: row[name] for name in ("id", "key", "modality", "variant", "text", "uri")}
        return cls(**fields, score=score, meta=json.loads(row["meta"]))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)
