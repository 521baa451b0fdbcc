"""Which space is meant: a folder, the default space, or the own space of an encoder of several modalities."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import cache_dir
from isthmus.encoders import named
from isthmus.space import HEAD, Map, Space
from isthmus.store.store import Store

__all__ = ["ENCODERS", "default", "default_folder", "opened", "wanted", "witnesses"]

WITNESSES = 512
"""Items of a data set that a space remembers the content of, at most."""

ENCODERS: Mapping[str, str] = {"text": "e5_small", "image": "efficientnet_lite0", "speech": "whisper_tiny_en"}
"""The encoders of the default space."""


def default_folder() -> Path:
    """Return where the default space is kept, with the stores that it is made of."""
    return cache_dir() / "spaces" / "default"


def default() -> Space:
    """Return the default space; `NotFound`, saying how to make it, before it has been built."""
    home = default_folder() / "space"
    if not (home / HEAD).exists():
        raise NotFound(
            "no space was named, and the default space has not been built yet: name one with --space, or make it with "
            "`isthmus space build default` (about 15 minutes on two cores; `isthmus data fetch all` first)"
        )
    return Space.load(home)


def opened(store: Store | str | Path, space: Space | str | Path | None) -> tuple[Store, Space]:
    """Return the store and the space (see `wanted`), opened where paths were given.

    A space that was trained on several data sets is returned with the part of its ``training`` that is of this store:
    the data set whose records the store holds, whatever it is called.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    space = wanted(store, space)
    training, source = space.card.get("training", {}), store.manifest["source"]
    if part := _part(store, training.get("parts", {})):
        part = {name: value for name, value in part.items() if name != "content"}
        space = Space(space.maps, {**space.card, "training": {**training, **part, "source": source}})
    return store, space


def witnesses(store: Store) -> dict[str, str]:
    """Return {id: content hash} of some items, one record a modality: what the data set of a store is known by.

    They are the items of the smallest hashes of their keys, so that a store of some of the items has its share of them.
    """
    table = store.records(columns=("id", "key", "modality", "content_hash")).to_pylist()
    keys = sorted({row["key"] for row in table}, key=lambda key: hashlib.sha256(key.encode()).digest())
    chosen = set(keys[:WITNESSES])
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for row in sorted(table, key=lambda row: row["id"]):
        if row["key"] in chosen:
            found.setdefault((row["key"], row["modality"]), (row["id"], row["content_hash"]))
    return dict(found.values())


def _part(store: Store, parts: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the data set of a space's training that a store is of, or None.

    It is the one that has most records of the same id and the same content, if these are half of those of the same id.
    Where no record tells (a store of few items, a space of an older isthmus) it is the one of the same name, if half of
    the store's items are among its own.
    """
    if not parts:
        return None
    rows = store.records(columns=("id", "key", "content_hash"))
    held = dict(zip(rows["id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
    source = store.manifest["source"]
    # a folder of somebody's own may be called like a data set, and is none
    namesake = None if source.get("by_path") else parts.get(source.get("name"))
    best, most = None, 0
    for part in [*filter(None, [namesake]), *parts.values()]:  # of two that fit alike the one of the name
        shared = [held[i] == content for i, content in part.get("content", {}).items() if i in held]
        if sum(shared) > most and 2 * sum(shared) >= len(shared):
            best, most = part, sum(shared)
    if best is not None or namesake is None or any(i in held for i in namesake.get("content", {})):
        return best
    keys = set(rows["key"].to_pylist())
    return namesake if 2 * len(keys & {*namesake["keys"], *namesake["held_out"]}) >= len(keys) else None


def wanted(store: Store, space: Space | str | Path | None) -> Space:
    """Return a space by its folder, the default space for None, or that of an encoder by the encoder's name.

    An encoder that reads several modalities, such as ``open_clip/MODEL/PRETRAINED``, has put them into one space
    already; its vectors in the store say all that is to be known. Raises `NotFound` when there is no such space,
    `BadInput` for an encoder of one modality.
    """
    if space is None:
        return default()
    if isinstance(space, Space):
        return space
    own = {f.modality: f for f in store.fingerprints.values() if f.encoder == str(space)}
    if not own or Path(space).exists():
        known = named(str(space))
        if known is not None and len(known.modalities) > 1 and not Path(space).exists():
            raise NotFound(
                f"{store.path} has no vectors of {space}: isthmus embed SOURCE --encoder image={space} "
                f"--encoder text={space} --out STORE makes them (its weights are fetched on first use)"
            )
        return Space.load(space)
    if len(own) < 2:
        raise BadInput(
            f"{space} has given {store.path} vectors of {', '.join(own)} alone; a space joins two modalities"
        )
    maps = {m: Map([{"op": "normalise"}], {}, fingerprint) for m, fingerprint in own.items()}
    return Space(maps, {"name": f"the own space of {space}"})
