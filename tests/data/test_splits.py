import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.errors import BadInput
from isthmus.data.splits import holdout

KEYS = [f"k{i}" for i in range(100)]
GROUPS = [f"g{i // 3}" for i in range(100)]


def test_oracle():
    """The rule in its own words, written out."""
    for split in range(3):
        made = holdout(KEYS, GROUPS, split=split, n=20)
        ranked = sorted(KEYS, key=lambda key: hashlib.sha256(f"isthmus-{split}:{key}".encode()).hexdigest())
        group = dict(zip(KEYS, GROUPS, strict=True))
        held = {group[key] for key in ranked[:20]}
        assert made.test == set(ranked[:20])
        assert made.dropped == {key for key in ranked[20:] if group[key] in held}
        assert made.train == {key for key in KEYS if group[key] not in held}


@settings(max_examples=30, deadline=None)
@given(split=st.integers(0, 50), n=st.integers(1, 30), order=st.randoms())
def test_properties(split, n, order):
    rows = [(k, g) for k, g in zip(KEYS, GROUPS, strict=True) for _ in range(2)]  # one row a record
    order.shuffle(rows)
    made = holdout([k for k, _ in rows], [g for _, g in rows], split=split, n=n)
    assert made == holdout(KEYS, GROUPS, split=split, n=n)
    assert made.train | made.test | made.dropped == set(KEYS)
    assert len(made.train) + len(made.test) + len(made.dropped) == len(KEYS)
    assert len(made.test) == n
    group = dict(zip(KEYS, GROUPS, strict=True))
    assert not {group[k] for k in made.train} & {group[k] for k in made.test}


def test_splits_differ():
    assert holdout(KEYS, GROUPS, split=0, n=20).test != holdout(KEYS, GROUPS, split=1, n=20).test


def test_pinned():
    """The split is part of every published figure: these three keys must never change."""
    assert holdout(KEYS, KEYS, split=0, n=3).test == {"k22", "k77", "k9"}


def test_errors():
    with pytest.raises(BadInput, match="in parallel, got 2 and 1"):
        holdout(["a", "b"], ["g"], split=0, n=1)
    with pytest.raises(BadInput, match="key 'a' is in two groups: 'g' and 'h'"):
        holdout(["a", "a"], ["g", "h"], split=0, n=1)
    for n in (0, 2, 3):
        with pytest.raises(BadInput, match=f"cannot hold out {n} of 2 keys"):
            holdout(["a", "b"], ["g", "h"], split=0, n=n)
    with pytest.raises(BadInput, match="leaves nothing to train on"):
        holdout(["a", "b"], ["g", "g"], split=0, n=1)
