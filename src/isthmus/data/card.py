"""The facts about a data set, written once as literals and shown by `isthmus data show NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DataCard"]


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What a data set holds, where it comes from, and what a user of it must know.

    `packages` name what must be installed, `extra` the extra of Isthmus that brings them. `counts` says in words
    how much there is. `split` and `near_duplicates` are the rules by which `isthmus.data.splits.holdout` and the
    data set itself keep like with like. `by_path` marks sources that are opened by a path, not by their name;
    `schemes` are the prefixes of the `uri` of its records. `demo` names the variants of a modality that
    `isthmus demo` takes, the most important first; a modality that it does not name comes whole. `relatives` says
    what items have in common whose records have the same ``relatives`` in their meta: they are no near-duplicates,
    but a space that was trained on one has an easier time with the other, and `isthmus demo` counts them apart.
    """

    name: str
    title: str
    licence: str
    attribution: str
    packages: tuple[str, ...]
    extra: str
    counts: str
    modalities: tuple[str, ...]
    variants: tuple[str, ...]
    split: str
    near_duplicates: str
    schemes: tuple[str, ...]
    by_path: bool = False
    demo: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relatives: str = ""

    def __post_init__(self) -> None:
        wanted = ("name", "title", "licence", "counts", "modalities", "split", "near_duplicates", "schemes")
        if empty := [n for n in wanted if not getattr(self, n)]:
            raise ValueError(f"data card {self.name!r}: empty {', '.join(empty)}")
