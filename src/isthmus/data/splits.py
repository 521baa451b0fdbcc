"""Splits by concept, fixed by a hash of the key: never by row order, the same on every machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.core.errors import BadInput

__all__ = ["Split", "holdout"]


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of keys that cover all of them.

    `dropped` holds the keys that share a near-duplicate group with a test key: they are neither trained on nor
    candidates of a search.
    """

    train: frozenset[str]
    test: frozenset[str]
    dropped: frozenset[str]


def holdout(keys: Sequence[str], groups: Sequence[str], *, split: int, n: int = 300) -> Split:
    """Hold out exactly `n` keys: those with the smallest SHA-256 of ``isthmus-{split}:{key}``.

    `keys` and `groups` run in parallel and may repeat a key (one row a record), always with the same group.
    Raises `BadInput` when they do not fit together, or when `n` keys leave nothing to train on.
    """
    if len(keys) != len(groups):
        raise BadInput(f"keys and groups must run in parallel, got {len(keys)} and {len(groups)}")
    group_of: dict[str, str] = {}
    for key, group in zip(keys, groups, strict=True):
        if group_of.setdefault(key, group) != group:
            raise BadInput(f"key {key!r} is in two groups: {group_of[key]!r} and {group!r}")
    if not 1 <= n < len(group_of):
        raise BadInput(f"cannot hold out {n} of {len(group_of)} keys: at least 1, and fewer than all")
    # The key itself breaks the (practically impossible) tie, so the order of the rows never matters.
    order = sorted(group_of, key=lambda key: (hashlib.sha256(f"isthmus-{split}:{key}".encode()).hexdigest(), key))
    test = frozenset(order[:n])
    held = {group_of[key] for key in test}
    dropped = frozenset(key for key in order[n:] if group_of[key] in held)
    train = frozenset(order[n:]) - dropped
    if not train:
        raise BadInput(
            f"holding out {n} of {len(group_of)} keys leaves nothing to train on: all others are near-duplicates "
            f"of held-out ones; hold out fewer"
        )
    return Split(train, test, dropped)
