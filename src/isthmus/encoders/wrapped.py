"""Any callable as an encoder: what people bring along that nobody wrote an adapter for."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.encoders.checks import check_modality, checked
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Wrapped", "wrap"]


class Wrapped:
    """An encoder around a callable from a list of items to (n, d) numbers; made by `wrap`."""

    def __init__(self, fn: Callable[[list[Any]], Any], fingerprint: Fingerprint) -> None:
        self.fn = fn
        self.fingerprint = fingerprint
        self.modality = fingerprint.modality

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return what the callable gives, as float32 (n, d).

        Raises `BadInput` for another modality, another width than declared, or a result that is not finite.
        """
        check_modality(modality, self.fingerprint)
        parts = [
            checked(_numpy(self.fn(batch)), len(batch), self.fingerprint)
            for batch in (list(items[start : start + batch_size]) for start in range(0, len(items), batch_size))
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.fingerprint.dim), np.float32)


def wrap(
    fn: Callable[[list[Any]], Any],
    *,
    modality: str,
    name: str | None = None,
    dim: int | None = None,
    revision: str | None = None,
    probe: Sequence[Any] | None = None,
) -> Wrapped:
    """Return an encoder around `fn`, a callable from a list of items to an (n, d) array or tensor.

    `dim` is the width; without it `fn` is tried on the `probe` items, or on one small item of the modality where
    Isthmus knows one (a text, a white picture). The fingerprint holds the name, the width and the `revision` that you
    give (change it when the weights change); without one it holds a hash of the code of `fn`, which knows nothing of
    weights that `fn` refers to. Raises `BadInput` when the width can be found in neither way.
    """
    name = name or getattr(fn, "__name__", type(fn).__name__).strip("<>")
    if dim is None:
        dim = _width(fn, name, modality, probe)
    fingerprint = Fingerprint(
        encoder=name,
        modality=modality,
        dim=dim,
        weights=hashlib.sha256((revision if revision is not None else _code(fn)).encode()).hexdigest(),
        preprocess="by the callable",
        pooling="by the callable",
        normalised=False,
    )
    return Wrapped(fn, fingerprint)


def _width(fn: Callable[[list[Any]], Any], name: str, modality: str, probe: Sequence[Any] | None) -> int:
    if probe is None:
        from PIL import Image

        small: dict[str, list[Any]] = {"text": ["a text"], "image": [Image.new("RGB", (64, 64), "white")]}
        if modality not in small:
            raise BadInput(f"the width of {name} is not known: give dim=…, or items to try it on as probe=[…]")
        probe = small[modality]
    found = _numpy(fn(list(probe)))
    if found.ndim != 2 or len(found) != len(probe):
        raise BadInput(f"{name} gave shape {found.shape} for {len(probe)} items; expected ({len(probe)}, d)")
    return int(found.shape[1])


def _numpy(values: Any) -> np.ndarray:
    """Return an array or a tensor of any device as numpy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values)


def _code(fn: Callable[..., Any]) -> str:
    """Return what identifies the code of a callable: its source, or failing that its qualified name."""
    try:
        return inspect.getsource(fn if inspect.isroutine(fn) else type(fn))
    except (OSError, TypeError):
        return f"{getattr(fn, '__module__', type(fn).__module__)}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
