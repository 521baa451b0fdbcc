"""What every encoder promises about its answer, checked before it leaves the encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.store.fingerprint import Fingerprint

__all__ = ["check_modality", "check_texts", "checked"]


def checked(vectors: Any, n: int, fingerprint: Fingerprint) -> Float[np.ndarray, "n d"]:
    """Return `vectors` as float32 (n, d); `BadInput` for a wrong shape, or items not finite or all zeros."""
    array = np.asarray(vectors, dtype=np.float32)
    if array.shape != (n, fingerprint.dim):
        raise BadInput(f"{fingerprint.encoder} gave shape {array.shape} for {n} items; expected {(n, fingerprint.dim)}")
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise BadInput(
            f"{fingerprint.encoder} gave NaN or infinity for {(~finite).sum()} of {n} items, "
            f"first for item {int(finite.argmin())}"
        )
    nothing = ~array.any(1)
    if nothing.any():  # no direction, so that nothing is near it or far from it
        raise BadInput(
            f"{fingerprint.encoder} gave a vector of zeros for {nothing.sum()} of {n} items, "
            f"first for item {int(nothing.argmax())}"
        )
    return array


def check_modality(modality: str, fingerprint: Fingerprint) -> None:
    """Raise `BadInput` unless `modality` is the one that the encoder of `fingerprint` reads."""
    if modality != fingerprint.modality:
        raise BadInput(f"{fingerprint.encoder} encodes {fingerprint.modality!r}, not {modality!r}")


def check_texts(items: Sequence[Any]) -> None:
    """Raise `BadInput` for the first item that is no text, or a blank one."""
    for i, item in enumerate(items):
        if not isinstance(item, str) or not item.strip():
            raise BadInput(f"item {i} is an empty text, or none: {item!r:.80}")
