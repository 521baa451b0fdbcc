"""Near-duplicate groups from marks: what shares a mark is in one group."""

from collections.abc import Hashable, Iterable, Mapping

__all__ = ["joined"]


def joined(marks: Mapping[str, Iterable[Hashable]]) -> dict[str, str]:
    """Return {key: group} for the marks of every key; a group is named by the first of its keys.

    Two keys are in one group when they share a mark, or when a chain of keys that do leads from one to the other.
    """
    group = {key: key for key in marks}
    order = {key: index for index, key in enumerate(marks)}

    def first(key: str) -> str:
        while group[key] != key:
            group[key] = group[group[key]]
            key = group[key]
        return key

    bearer: dict[Hashable, str] = {}
    for key, own in marks.items():
        for mark in own:
            one, other = sorted((first(key), first(bearer.setdefault(mark, key))), key=order.__getitem__)
            group[other] = one
    return {key: first(key) for key in marks}
