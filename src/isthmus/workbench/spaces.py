"""Which space is meant: a folder, the default space, or the own space of an encoder of several modalities."""

from collections.abc import Mapping
from pathlib import Path

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import cache_dir
from isthmus.space import HEAD, Map, Space
from isthmus.store.store import Store

__all__ = ["ENCODERS", "default", "default_folder", "opened", "wanted"]


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

    A space that was trained on several data sets is returned with the part of its ``training`` that is of this store.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    space = wanted(store, space)
    training, source = space.card.get("training", {}), store.manifest["source"]
    # a folder of somebody's own may be called like a data set, and is none
    if not source.get("by_path") and (part := training.get("parts", {}).get(source.get("name"))):
        space = Space(space.maps, {**space.card, "training": {**training, **part, "source": source}})
    return store, space


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
        if str(space).startswith("open_clip/"):
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
