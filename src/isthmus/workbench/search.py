"""`index` and `search`: the vectors of a store, mapped into a space and made searchable."""

from collections.abc import Collection
from pathlib import Path

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.index.index import Index
from isthmus.space import Space
from isthmus.store.store import Store

__all__ = ["build_index"]


def build_index(
    store: Store | str | Path,
    *,
    space: Space | str | Path,
    out: str | Path,
    modalities: Collection[str] | None = None,
    keys: Collection[str] | None = None,
    progress: Progress = silent,
) -> Index:
    """Map the vectors of a store through a space and write them as an index that carries the space with it.

    Every modality that both the store and the space know goes in, or only `modalities`. Vectors whose
    fingerprint the space does not accept are refused, with the fields that differ.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    space = space if isinstance(space, Space) else Space.load(space)
    both = [m for m in store.modalities() if m in space.maps]
    wanted = both if modalities is None else list(modalities)
    if not wanted or not set(wanted) <= set(both):
        raise BadInput(
            f"nothing to index for {wanted or 'any modality'}: the store has {store.modalities()}, "
            f"the space maps {sorted(space.maps)}"
        )
    entries = {m: store.vectors(m, keys=keys) for m in wanted}
    return Index.build(out, space=space, entries=entries, progress=progress)
