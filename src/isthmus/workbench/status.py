"""`status`: what a store or an index holds, and whether its files are as they were written."""

from pathlib import Path
from typing import Any

from isthmus.core.errors import NotFound
from isthmus.index.head import HEAD
from isthmus.index.index import Index
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.manifest import MANIFEST
from isthmus.store.store import Store

__all__ = ["status"]


def status(path: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Return what the store or index in a folder holds, as JSON values.

    Both have ``kind``, ``bytes``, ``fingerprints``, and ``columns``: one record {modality, rows, encoder, fingerprint,
    dim} a modality and encoder; the rest is what `Store.status` and `Index.status` say. With `verify` every byte is
    read, and ``damage`` maps the files that are not as they were written to what is wrong.

    Raises `NotFound` where there is neither, `BadInput` where the manifest or head is damaged.
    """
    path = Path(path)
    if (path / HEAD).exists():
        index = Index.open(path)
        found = index.status()
        accepted = {m: Fingerprint.from_json(stored) for m, stored in found["fingerprints"].items()}
        columns = [_column(m, found["rows"][m], accepted[m]) for m in index.modalities]
        damage = index.verify() if verify else None
        kind = "index"
    elif (path / MANIFEST).exists():
        store = Store.open(path)
        found = store.status()
        found["fingerprints"] = {name: f.to_json() for name, f in store.fingerprints.items()}
        columns = [_column(m, n, store.fingerprints[name]) for m, of in found["rows"].items() for name, n in of.items()]
        damage = store.verify() if verify else None
        kind = "store"
    else:
        raise NotFound(f"{path} is neither a store nor an index: it has no {MANIFEST} and no {HEAD}")
    return {"kind": kind, **found, "columns": columns, **({} if damage is None else {"damage": damage})}


def _column(modality: str, rows: int, fingerprint: Fingerprint) -> dict[str, Any]:
    return {
        "modality": modality,
        "rows": rows,
        "encoder": fingerprint.encoder,
        "fingerprint": fingerprint.digest[:8],
        "dim": fingerprint.dim,
    }
