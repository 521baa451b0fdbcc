"""One datum of one modality, with everything but its content in memory and the content one call away."""

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput
from isthmus.data.card import DataCard

__all__ = ["DataSet", "Record", "joined", "text_record"]


@dataclass(frozen=True, kw_only=True, slots=True)  # slots, because a set may have half a million
class Record:
    """One datum: a picture, a name in one language, a recording.

    Records with the same `key` are the same thing in several modalities or variants; records of one `group` are
    near-duplicates and stay on one side of a split (a record alone in its group is grouped by its key).
    `load()` gives the content: a string, an RGB `PIL.Image.Image` on white, or an array; it raises `BadInput`
    for content that cannot be read. `digest()` gives the SHA-256 of the content in hex without decoding it.
    """

    key: str
    modality: str
    load: Callable[[], Any]
    digest: Callable[[], str]
    variant: str = ""
    group: str = ""
    text: str | None = None
    uri: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.key or not self.modality or "|" in self.modality or "|" in self.variant:
            raise BadInput(
                f"a record needs a key, a modality and a variant without '|', got key={self.key!r}, "
                f"modality={self.modality!r}, variant={self.variant!r}"
            )
        if not self.group:
            object.__setattr__(self, "group", self.key)

    @property
    def id(self) -> str:
        """The name of this record, unique in its data set."""
        return f"{self.key}|{self.modality}|{self.variant}"


def text_record(
    key: str, text: str, *, variant: str = "", group: str = "", uri: str | None = None, meta: Mapping[str, str] = {}
) -> Record:
    """Return the record of a text that is in memory already."""
    return Record(
        key=key,
        modality="text",
        variant=variant,
        group=group,
        text=text,
        uri=uri,
        meta=meta,
        load=text.__str__,
        digest=functools.partial(_digest, text),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def joined(keys: Iterable[str], alike: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return {key: the first key of its group}, where the keys of each sequence in `alike` are in one group."""
    parent = {key: key for key in keys}
    order = {key: i for i, key in enumerate(parent)}

    def first(key: str) -> str:
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    for together in alike:
        for key in together[1:]:
            one, other = sorted((first(together[0]), first(key)), key=order.__getitem__)
            parent[other] = one
    return {key: first(key) for key in parent}


@dataclass(frozen=True)
class DataSet:
    """The records of a source with its card.

    `root` is the folder that ``file:`` uris are relative to. `set_aside` maps what was found and cannot be used
    to the reason.
    """

    name: str
    records: list[Record]
    card: DataCard
    root: Path | None = None
    set_aside: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if twice := [i for i, n in Counter(r.id for r in self.records).items() if n > 1]:
            raise BadInput(f"{self.name}: {len(twice)} ids occur more than once, such as {twice[0]!r}")

    def __len__(self) -> int:
        return len(self.records)

    @property
    def modalities(self) -> list[str]:
        """The modalities that have records, in order."""
        return sorted({r.modality for r in self.records})

    def of(self, modality: str) -> list[Record]:
        """Return the records of a modality, in order."""
        return [r for r in self.records if r.modality == modality]

    def only(self, modalities: Collection[str], variants: Mapping[str, Collection[str]] = {}) -> "DataSet":
        """Return the records of some modalities, of those named in `variants` only these variants."""
        records = [
            r for r in self.records if r.modality in modalities and r.variant in variants.get(r.modality, {r.variant})
        ]
        return replace(self, records=records)

    def describe(self) -> dict[str, Any]:
        """Return plain JSON values that say where the records come from, for the manifest of a store."""
        return {
            "name": self.name,
            "title": self.card.title,
            "licence": self.card.licence,
            "attribution": self.card.attribution,
            "root": None if self.root is None else str(self.root.resolve()),
            "by_path": self.card.by_path,
        }
