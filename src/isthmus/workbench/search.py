"""`index` and `search`: the vectors of a store, mapped into a space and made searchable."""

from collections.abc import Collection
from pathlib import Path

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.index.index import Index
from isthmus.space import Space
from isthmus.store.store import Store
from isthmus.workbench.correct import Items, corrections, corrector, trained_keys
from isthmus.workbench.sides import in_space
from isthmus.workbench.spaces import opened

__all__ = ["build_index", "check_correction"]


def build_index(
    store: Store | str | Path,
    *,
    out: str | Path,
    space: Space | str | Path | None = None,
    modalities: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    correct: str = "none",
    progress: Progress = silent,
) -> Index:
    """Map the vectors of a store through a space and write them as an index that carries the space with it.

    `space` is a `Space`, its folder, the name of an encoder whose own space it is, or None for the default space
    (`workbench.spaces.wanted`). Every modality that both the store and the space know goes in, or only `modalities`.
    Vectors whose fingerprint the space does not accept are refused, with the fields that differ.

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
    entries = {m: store.vectors(m, keys=keys) for m in wanted}
    if correct == "none":
        return Index.build(out, space=space, entries=entries, progress=progress)
    trained = trained_keys(space)
    whole = {m: Items.of(in_space(store, space, m, None)) for m in both}
    parts = {m: Items.of((v, space.transform(m, v.x, fingerprint=v.fingerprint))) for m, v in entries.items()}
    bias, record = corrections(correct, whole, parts, trained)
    return Index.build(out, space=space, entries=entries, bias=bias, correction=record, progress=progress)


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
