"""`index` and `search`: the vectors of a store, mapped into a space and made searchable."""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.index.backends import AUTO
from isthmus.index.index import Index
from isthmus.index.segment import ITEMS, items_of
from isthmus.space import Space
from isthmus.store.rows import Vectors
from isthmus.store.store import Store
from isthmus.workbench.correct import Items, corrections, corrector, trained_keys
from isthmus.workbench.sides import in_space
from isthmus.workbench.spaces import opened

__all__ = ["build_index", "check_correction", "left_out", "place", "update_index"]

SAME = 1e-5
"""How far apart vectors in a space may be that were computed from the same ones."""
PLACE = re.compile(r"#(\w+=[^&=#]+(?:&\w+=[^&=#]+)*)$")


def build_index(
    store: Store | str | Path,
    *,
    out: str | Path,
    space: Space | str | Path | None = None,
    modalities: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    correct: str = "none",
    backend: str = AUTO,
    progress: Progress = silent,
) -> Index:
    """Map the vectors of a store through a space and write them as an index that carries the space with it.

    `space` is a `Space`, its folder, the name of an encoder whose own space it is, or None for the default space
    (`workbench.spaces.wanted`). Every modality that both the store and the space know goes in, or only `modalities`;
    `left_out` says what does not, and why. Of several encoders of a modality the one that the space accepts is taken.
    Vectors whose fingerprint the space does not accept are refused, with the fields that differ. `backend` is how the
    index is searched: ``exact``, ``usearch``, or ``auto``, which chooses by size.

    `correct` takes hubs out of every search by name (``is``, ``dual_is``, ``nnn``, ``csls``, ``dn``): its banks are the
    items that the space was trained on, its settings are chosen on those that it was not, and where nothing helps
    there the scores stay plain; `Index.correction` says what was chosen (`workbench.correct.corrections`). A search
    costs what it did. Raises `BadInput` for a correction that is no number an item, or a space that does not name
    its training items.
    """
    store, space = opened(store, space)
    both = [m for m in store.modalities() if m in space.maps]
    wanted = both if modalities is None else list(modalities)
    if not wanted or not set(wanted) <= set(both):
        raise BadInput(
            f"nothing to index for {wanted or 'any modality'}: the store has {store.modalities()}, "
            f"the space maps {sorted(space.maps)}"
        )
    entries = {m: _accepted(store, space, m, keys) for m in wanted}
    if correct == "none":
        return Index.build(out, space=space, entries=entries, backend=backend, progress=progress)
    trained = trained_keys(space)
    whole = {m: Items.of(in_space(store, space, m, None)) for m in both}
    parts = {m: Items.of((v, space.transform(m, v.x, fingerprint=v.fingerprint))) for m, v in entries.items()}
    bias, record = corrections(correct, whole, parts, trained)
    return Index.build(
        out, space=space, entries=entries, bias=bias, correction=record, backend=backend, progress=progress
    )


def update_index(
    store: Store | str | Path, index: Index | str | Path, *, progress: Progress = silent
) -> tuple[Index, dict[str, int]]:
    """Bring an index up to date with the store it was made of; return it with how many items changed, and how.

    {"added": …, "replaced": …, "removed": …}: items whose vector, or anything said of them, is another now are
    replaced, those that the store has no more are removed, and modalities that the space maps and the store has now are
    added. Two changes, each of which is made whole or not at all. An index with a correction is built again in one
    change, with the correction that was asked for, because what is taken off one item depends on all of them.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    index = index if isinstance(index, Index) else Index.open(index)
    fresh: dict[str, Vectors] = {}
    changes = {"added": 0, "replaced": 0, "removed": 0}
    gone: list[str] = []
    has = set(store.modalities())
    for m in sorted({*index.modalities, *(has & set(index.space.maps))}):
        held = index.items(m)["id"].to_pylist() if m in index.modalities else []
        vectors = _accepted(store, index.space, m, None) if m in has else None
        offered = set() if vectors is None else set(vectors.ids.tolist())
        gone += [name for name in held if name not in offered]
        if vectors is not None:
            new = ~np.isin(vectors.ids, held)
            other = ~new & _differs(index, m, vectors) if held else np.zeros(len(vectors), bool)
            changes["added"] += int(new.sum())
            changes["replaced"] += int(other.sum())
            if (new | other).any():
                fresh[m] = vectors.take(new | other)
    if index.correction:
        if fresh or gone:
            changes["removed"] = len(gone)
            (asked,) = {str(record["asked"]) for record in index.correction.values()}
            index = build_index(
                store, out=index.path, space=index.space, correct=asked, backend=index.backend, progress=progress
            )
        return index, changes
    if fresh:
        index.upsert(fresh, progress=progress)
    if gone:
        changes["removed"] = index.remove(gone, progress=progress)
    return index, changes


def left_out(store: Store | str | Path, space: Space) -> dict[str, str]:
    """Return {modality of the store that the space does not map: the reason in words}."""
    store = store if isinstance(store, Store) else Store.open(store)
    known = ", ".join(space.modalities)
    return {
        m: f"the space maps {known}; `isthmus align` makes one that maps {m} too"
        for m in store.modalities()
        if m not in space.maps
    }


def place(uri: str) -> tuple[str, str]:
    """Return a uri without the place inside the file, and the place in words.

    >>> place("file:talk.mp4#t=72.5")
    ('file:talk.mp4', '1:12.5')
    >>> place("file:book.pdf#page=3&passage=2")
    ('file:book.pdf', 'page 3, passage 2')
    >>> place("file:a #1 hit.png")
    ('file:a #1 hit.png', '')
    """
    found = PLACE.search(uri)
    if found is None:
        return uri, ""
    parts = [part.partition("=") for part in found[1].split("&")]
    return uri[: found.start()], ", ".join(
        _clock(value) if name == "t" else f"{name} {value}" for name, _, value in parts
    )


def _clock(seconds: str) -> str:
    """Return seconds as minutes and seconds, as they stand where they are no number."""
    if not re.fullmatch(r"\d+(\.\d+)?", seconds):
        return seconds
    minutes, rest = divmod(float(seconds), 60)
    return f"{int(minutes)}:{rest:05.2f}".rstrip("0").rstrip(".") if rest % 1 else f"{int(minutes)}:{int(rest):02d}"


def _accepted(store: Store, space: Space, modality: str, keys: Collection[str] | None) -> Vectors:
    """Return the vectors of a modality; of several encoders those that the space accepts."""
    column = space.maps[modality].fingerprint.column
    made = {part["column"] for part in store.parts if part["modality"] == modality}
    return store.vectors(modality, column if column in made else None, keys)


def _differs(index: Index, modality: str, vectors: Vectors) -> np.ndarray:
    """Return (n,) whether the index holds another vector or other words of an item; False for one that it lacks."""
    index.space.accepts(modality, vectors.fingerprint)
    items = index.items(modality)
    rows = {name: i for i, name in enumerate(items["id"].to_pylist())}
    mine = np.array([i for i, name in enumerate(vectors.ids.tolist()) if name in rows], dtype=np.int64)
    theirs = np.array([rows[str(vectors.ids[i])] for i in mine], dtype=np.int64)
    z = index.space.transform(modality, vectors.x[mine])
    other = np.abs(z - index.vectors(modality)[theirs]).max(axis=1, initial=0) > SAME
    now, then = items_of(modality, vectors.take(mine)), items.take(theirs)
    for name in ITEMS:
        pairs = zip(now[name].to_pylist(), then[name].to_pylist(), strict=True)
        other |= np.fromiter((a != b for a, b in pairs), bool, len(mine))
    differs = np.zeros(len(vectors), bool)
    differs[mine] = other
    return differs


def check_correction(index: Index, name: str) -> None:
    """Raise `BadInput` unless an index can be searched with the correction `name`: its own, or "none".

    An index carries one number an item and no banks, so that any other correction would have to be built in.
    """
    if name == "none":
        return
    word, cls = corrector(name)
    if not cls.per_item:
        raise BadInput(f"--correct {name} does not work on an index: {cls.why}; `isthmus evaluate` takes it")
    asked = {record["asked"] for record in (index.correction or {}).values()}
    if asked != {word}:
        built = f"with {', '.join(sorted(asked))}" if asked else "without a correction"
        raise BadInput(f"{index.path} was built {built}: build it again with `isthmus index … --correct {name}`")
