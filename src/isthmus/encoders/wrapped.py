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
    give; change it when the weights change. Without a revision it holds a hash of the code of `fn` and of the answer
    to the probe, so that two models behind the same code are told apart.

    Raises `BadInput` when the width can be found in neither way, and when neither a revision nor a probe tells which
    of several models a method, a partial or an object with state calls.
    """
    name = name or getattr(fn, "__name__", type(fn).__name__).strip("<>")
    small = _small(modality) if probe is None else list(probe)
    answer = None if small is None or (dim is not None and revision is not None) else _answer(fn, name, small)
    if dim is None:
        if answer is None:
            raise BadInput(f"the width of {name} is not known: give dim=…, or items to try it on as probe=[…]")
        dim = int(answer.shape[1])
    if revision is None and answer is None and not inspect.isfunction(fn):
        raise BadInput(
            f"{name} is {type(fn).__name__}, whose code does not tell which model it calls: give revision='…' (change "
            "it when the model changes), or items to try it on as probe=[…]"
        )
    identity = revision if revision is not None else _code(fn) + ("" if answer is None else _shape_of(answer))
    fingerprint = Fingerprint(
        encoder=name,
        modality=modality,
        dim=dim,
        weights=hashlib.sha256(identity.encode()).hexdigest(),
        preprocess="by the callable",
        pooling="by the callable",
        normalised=False,
    )
    return Wrapped(fn, fingerprint)


def _small(modality: str) -> list[Any] | None:
    """Return an item that any encoder of the modality reads, where there is one."""
    if modality == "text":
        return ["a text"]
    if modality == "image":
        from PIL import Image

        return [Image.new("RGB", (64, 64), "white")]
    return None


def _answer(fn: Callable[[list[Any]], Any], name: str, probe: list[Any]) -> np.ndarray:
    found = _numpy(fn(list(probe)))
    if found.ndim != 2 or len(found) != len(probe):
        raise BadInput(f"{name} gave shape {found.shape} for {len(probe)} items; expected ({len(probe)}, d)")
    return found


def _shape_of(answer: np.ndarray) -> str:
    """Return which numbers lie above the median, and their size to a factor of 1.1: no rounding reaches that."""
    x = answer.astype(np.float64)
    size = np.round(np.log(np.linalg.norm(x) + 1e-30) / np.log(1.1))
    return f"{size:.0f}:{np.packbits(x > np.median(x)).tobytes().hex()}"


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
