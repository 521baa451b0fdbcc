"""A space: one fitted map a modality into a common space, as data that any machine can run.

A map is a short list of steps from a closed set, with named tensors. It holds no code, so that it can be stored as
JSON and safetensors, read without trust, and run on numpy or torch alike. Steps work on the last axis:

    {"op": "centre", "mean": t}                         x − mean
    {"op": "scale", "factor": number or t}              x · factor
    {"op": "linear", "weight": t, "bias": t?}           x · weightᵀ + bias, with weight (out, in)
    {"op": "layernorm", "weight": t?, "bias": t?, "eps": number?}   (x − mean x) / √(var x + eps) · weight + bias
    {"op": "gelu"}                                      x · Φ(x), the exact form with erf
    {"op": "relu"}                                      max(x, 0)
    {"op": "residual", "steps": […]}                    x + steps(x)
    {"op": "masked_mean"}                               (n, t, d) → (n, d), mean over the tokens of the mask
    {"op": "normalise"}                                 x / ‖x‖, a zero vector stays zero

where t is the name of a tensor and ? marks what may be left out. torch is imported by none of this; it is used
when the input is a torch tensor.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

import isthmus
from isthmus.core.errors import BadInput, NotFound
from isthmus.store.disk import HEX8, claim, clean, filed, locked, plain_name, read_json, write_json
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Map", "Space", "Step"]

FORMAT_VERSION = 1
HEAD = "space.json"
TENSORS = f"tensors-{HEX8}.safetensors"
BLOCK = 16384
"""Rows mapped at a time, which bounds the memory of hidden layers."""

Step = Mapping[str, Any]
Get = Callable[[str], Any]
"""Gives a tensor of the map by its name, in the type and on the device of the input."""


def _centre(x: Any, step: Step, get: Get, xp: Any) -> Any:
    return x - get(step["mean"])


def _scale(x: Any, step: Step, get: Get, xp: Any) -> Any:
    factor = step["factor"]
    return x * (get(factor) if isinstance(factor, str) else factor)


def _linear(x: Any, step: Step, get: Get, xp: Any) -> Any:
    y = x @ get(step["weight"]).T
    return y + get(step["bias"]) if step.get("bias") else y


def _layernorm(x: Any, step: Step, get: Get, xp: Any) -> Any:
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    y = centred / xp.sqrt(variance + step.get("eps", 1e-5))
    if step.get("weight"):
        y = y * get(step["weight"])
    return y + get(step["bias"]) if step.get("bias") else y


def _gelu(x: Any, step: Step, get: Get, xp: Any) -> Any:
    return x * (0.5 * (1.0 + _erf(x * math.sqrt(0.5))))


def _erf(x: Any) -> Any:
    """Return the error function, which is in neither numpy nor the array standard."""
    if array_api_compat.is_torch_array(x):
        return sys.modules["torch"].special.erf(x)
    from scipy.special import erf

    return erf(x)


def _relu(x: Any, step: Step, get: Get, xp: Any) -> Any:
    return xp.maximum(x, xp.zeros_like(x))


def _residual(x: Any, step: Step, get: Get, xp: Any) -> Any:
    return x + _run(x, step["steps"], get, xp)


def _normalise(x: Any, step: Step, get: Get, xp: Any) -> Any:
    length = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    return x / xp.where(length > 0, length, xp.ones_like(length))


def _masked_mean(x: Any, mask: Any, xp: Any) -> Any:
    """Return the mean over the tokens; a token outside of the mask is left out, not multiplied by zero."""
    kept = xp.where(mask[..., None], x, xp.zeros_like(x))
    count = xp.sum(xp.astype(mask, x.dtype), axis=-1)
    return xp.sum(kept, axis=-2) / count[..., None]


@dataclass(frozen=True)
class _Op:
    """An operation: how it runs, and the kind of each argument that its step needs or may take."""

    run: Callable[[Any, Step, Get, Any], Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, str] = field(default_factory=dict)


_OPS = {
    "centre": _Op(_centre, {"mean": "vector"}),
    "scale": _Op(_scale, {"factor": "number or vector"}),
    "linear": _Op(_linear, {"weight": "matrix"}, {"bias": "vector"}),
    "layernorm": _Op(_layernorm, {}, {"weight": "vector", "bias": "vector", "eps": "positive number"}),
    "gelu": _Op(_gelu),
    "relu": _Op(_relu),
    "residual": _Op(_residual, {"steps": "steps"}),
    "normalise": _Op(_normalise),
}
_POOL = "masked_mean"  # the one operation that needs the mask and changes the shape; only at the top level


def _run(x: Any, steps: Sequence[Step], get: Get, xp: Any, mask: Any = None) -> Any:
    for step in steps:
        x = _masked_mean(x, mask, xp) if step["op"] == _POOL else _OPS[step["op"]].run(x, step, get, xp)
    return x


@dataclass
class _Check:
    """Walks the steps of a map once and raises `BadInput` naming the first that cannot be run."""

    tensors: Mapping[str, np.ndarray]
    used: set[str] = field(default_factory=set)
    pools: int = 0

    def steps(self, steps: Any, width: int, where: str, *, nested: bool = False) -> int:
        """Return the width after the steps."""
        if not isinstance(steps, Sequence) or isinstance(steps, str):
            raise BadInput(f"{where}: steps are a list, got {steps!r}")
        for number, step in enumerate(steps):
            here = f"{where}, step {number}"
            name = step.get("op") if isinstance(step, Mapping) else None
            if name == _POOL and set(step) == {"op"} and not nested and not self.pools:
                self.pools += 1
                continue
            if name not in _OPS:
                known = ", ".join([*_OPS, f"and {_POOL} once, outside of residual"])
                raise BadInput(f"{here} is {step!r}; the operations are {known}")
            op, here = _OPS[name], f"{here} ({name})"
            given = set(step) - {"op"}
            if not set(op.needs) <= given <= {*op.needs, *op.takes}:
                raise BadInput(f"{here} has {sorted(given)}; it needs {sorted(op.needs)}, may take {sorted(op.takes)}")
            for argument, kind in {**op.needs, **op.takes}.items():
                if argument in given:
                    width = self.argument(step[argument], kind, width, f"{here}: {argument}")
        return width

    def argument(self, value: Any, kind: str, width: int, here: str) -> int:
        """Check one argument and return the width after it, which only a matrix changes."""
        if kind == "steps":
            inner = self.steps(value, width, here, nested=True)
            if inner != width:
                raise BadInput(f"{here} lead from width {width} to {inner}; x + steps(x) needs equal widths")
            return width
        if kind == "positive number" or (kind == "number or vector" and not isinstance(value, str)):
            if type(value) not in (int, float) or not math.isfinite(value) or (kind[0] == "p" and value <= 0):
                raise BadInput(f"{here} is {value!r}; a finite {kind} is expected")
            return width
        if not isinstance(value, str) or value not in self.tensors:
            raise BadInput(f"{here} is {value!r}; the tensors are {sorted(self.tensors)}")
        self.used.add(value)
        shape = self.tensors[value].shape
        wanted = f"(out, {width})" if kind == "matrix" else f"({width},)"
        if len(shape) != (2 if kind == "matrix" else 1) or shape[-1] != width or not shape[0]:
            raise BadInput(f"{here} {value!r} has shape {shape}, expected {wanted}")
        return int(shape[0]) if kind == "matrix" else width


@dataclass(frozen=True, eq=False)
class Map:
    """A fitted map of one modality: `steps` (the module says which), the `tensors` they name, and its input.

    `fingerprint` is that of the vectors it was fitted on, the only ones it accepts. Tensors are kept as float32.
    Raises `BadInput` naming the step that is unknown, lacks an argument, or does not fit the width before it.
    """

    steps: Sequence[Step]
    tensors: Mapping[str, np.ndarray]
    fingerprint: Fingerprint
    dim: int = field(init=False)
    """Width of the result."""
    takes_tokens: bool = field(init=False)
    """Whether the map takes tokens (n, t, d) with a mask, rather than vectors (n, d)."""

    def __post_init__(self) -> None:
        where = f"map of {self.fingerprint.column}"
        if slashed := [name for name in self.tensors if "/" in name]:
            raise BadInput(f"{where}: the tensors {slashed} need names without '/'")
        tensors = {name: _float32(value, f"{where}: tensor {name!r}") for name, value in self.tensors.items()}
        check = _Check(tensors)
        object.__setattr__(self, "dim", check.steps(self.steps, self.fingerprint.dim, where))
        if unused := sorted(set(tensors) - check.used):
            raise BadInput(f"{where}: no step uses the tensors {unused}")
        object.__setattr__(self, "takes_tokens", check.pools > 0)
        object.__setattr__(self, "tensors", tensors)
        object.__setattr__(self, "steps", json.loads(json.dumps(self.steps)))

    def __call__(self, x: Any, mask: Any = None) -> Any:
        """Map (n, d) vectors, or (n, t, d) tokens under a `mask` (n, t), to (n, `dim`).

        numpy in, numpy out; torch in, torch out on the same device, with gradients. float64 is computed as such,
        any other float as float32. Raises `BadInput` for a wrong shape or type, and for an item without a token.
        """
        if not array_api_compat.is_array_api_obj(x):
            raise BadInput(f"the map of {self.fingerprint.column} takes an array of numpy or torch, got {type(x)}")
        xp = array_api_compat.array_namespace(x)
        x, mask = self._checked(x, mask, xp)
        if not array_api_compat.is_numpy_array(x) or len(x) <= BLOCK:
            return self._apply(x, mask, xp)
        result = np.empty((len(x), self.dim), x.dtype)
        for start in range(0, len(x), BLOCK):
            block = slice(start, start + BLOCK)
            result[block] = self._apply(x[block], None if mask is None else mask[block], xp)
        return result

    def _apply(self, x: Any, mask: Any, xp: Any) -> Any:
        device = array_api_compat.device(x)

        def get(name: str) -> Any:
            return xp.asarray(self.tensors[name], dtype=x.dtype, device=device)

        return _run(x, self.steps, get, xp, mask)

    def _checked(self, x: Any, mask: Any, xp: Any) -> tuple[Any, Any]:
        axes, shape = ("n", "t", "d") if self.takes_tokens else ("n", "d"), tuple(x.shape)
        if len(shape) != len(axes) or shape[-1] != self.fingerprint.dim or not xp.isdtype(x.dtype, "real floating"):
            raise BadInput(
                f"the map of {self.fingerprint.column} takes floats of shape ({', '.join(axes[:-1])}, "
                f"{self.fingerprint.dim}), got {x.dtype} of shape {shape}"
            )
        if x.dtype not in (xp.float32, xp.float64):
            x = xp.astype(x, xp.float32)
        if not self.takes_tokens:
            if mask is not None:
                raise BadInput(f"the map of {self.fingerprint.column} takes vectors, not tokens with a mask")
            return x, None
        if mask is None:
            mask = xp.ones(shape[:2], dtype=xp.bool, device=array_api_compat.device(x))
        if tuple(mask.shape) != shape[:2] or mask.dtype != xp.bool:
            raise BadInput(f"a mask of booleans {shape[:2]} is expected, got {mask.dtype} of shape {tuple(mask.shape)}")
        if not bool(xp.all(xp.any(mask, axis=-1))):
            raise BadInput("an item has no token under its mask, so that it has no mean: leave it out")
        return x, mask

    def to_json(self) -> dict[str, Any]:
        """Return the map without its tensors, as JSON values."""
        return {"fingerprint": self.fingerprint.to_json(), "steps": self.steps}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> "Map":
        """Return the map of `to_json` and its tensors; raises `BadInput` for what is not one."""
        if not isinstance(stored, Mapping) or set(stored) != {"fingerprint", "steps"}:
            raise BadInput(f"a map is an object with fingerprint and steps, got {stored!r}")
        return cls(stored["steps"], tensors, Fingerprint.from_json(stored["fingerprint"]))


def _float32(value: Any, what: str) -> np.ndarray:
    """Return a tensor as a finite float32 array of our own."""
    if hasattr(value, "detach"):  # a torch tensor, known by its ways because torch need not be there
        value = value.detach().cpu().numpy()
    value = np.asarray(value)
    if value.dtype.kind != "f":
        raise BadInput(f"{what} is {value.dtype}, floats are expected")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused in words
        owned = np.array(value, dtype=np.float32, order="C")
    if not np.isfinite(owned).all():
        raise BadInput(f"{what} holds NaN or infinity")
    return owned


def _refuse_nan(x: Any, mask: Any, what: str) -> None:
    """Raise `BadInput` naming the first rows that are not finite, tokens outside of a mask apart."""
    xp = array_api_compat.array_namespace(x)
    good = xp.all(xp.isfinite(x), axis=-1)
    if mask is not None:
        good = good | ~mask
    if not bool(xp.all(good)):
        rows = np.unique([int(i) for i in xp.nonzero(~good)[0]])
        raise BadInput(f"{what} in {len(rows)} of {len(x)} rows, the first are {rows[:3].tolist()}")


@dataclass(frozen=True, eq=False)
class Space:
    """Maps of several modalities into one space of width `dim`, and a `card` of JSON values about their making.

    Equal content gives an equal `digest`. Raises `BadInput` when the maps lead to different widths, or a map's
    fingerprint is of another modality.
    """

    maps: Mapping[str, Map]
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        widths = {modality: each.dim for modality, each in self.maps.items()}
        if len(set(widths.values())) != 1:
            raise BadInput(f"the maps of a space lead to one width, got {widths}")
        if wrong := {m: each.fingerprint.modality for m, each in self.maps.items() if each.fingerprint.modality != m}:
            raise BadInput(f"maps are filed under the modality of their fingerprint, got {wrong}")

    @property
    def modalities(self) -> list[str]:
        """The modalities that have a map, in alphabetical order."""
        return sorted(self.maps)

    @property
    def dim(self) -> int:
        """Width of the common space."""
        return next(iter(self.maps.values())).dim

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with any map: steps, tensors or accepted fingerprint."""
        sha = hashlib.sha256()
        for modality in self.modalities:
            each = self.maps[modality]
            sha.update(json.dumps([modality, each.to_json()], sort_keys=True).encode())
            for name in sorted(each.tensors):
                sha.update(json.dumps([name, each.tensors[name].shape]).encode())
                sha.update(each.tensors[name].tobytes())
        return sha.hexdigest()[:16]

    def accepts(self, modality: str, fingerprint: Fingerprint) -> None:
        """Raise `WrongFingerprint`, with the fields that differ, unless vectors of `fingerprint` may come in."""
        self._map(modality).fingerprint.require(fingerprint, f"what is offered as {modality}")

    def transform(self, modality: str, x: Any, *, mask: Any = None, fingerprint: Fingerprint | None = None) -> Any:
        """Map (n, d) vectors of a modality into the space: (n, `dim`), on numpy or torch as `Map.__call__` does.

        With a `fingerprint` it is checked first. Raises `NotFound` for an unknown modality, `BadInput` for a wrong
        shape, NaN or infinity.
        """
        each = self._map(modality)
        if fingerprint is not None:
            self.accepts(modality, fingerprint)
        with np.errstate(invalid="ignore", over="ignore"):  # refused in words below
            y = each(x, mask)
        _refuse_nan(x, mask, f"{modality} vectors hold NaN or infinity")
        _refuse_nan(y, None, f"{modality} vectors overflow in the space")
        return y

    def encode(
        self, modality: str, items: Sequence[Any], *, encoder: Any = None, device: str = "cpu", batch_size: int = 64
    ) -> np.ndarray:
        """Encode raw items (texts, pictures, …) and map them into the space: (n, `dim`) float32.

        The encoder is loaded by the name in the fingerprint and kept for the next call; pass your own object as
        `encoder` when it is not one that `isthmus.encoders.load` knows. Raises `WrongFingerprint` when it is not
        the encoder that the map was fitted on.
        """
        if isinstance(items, str | bytes):
            raise BadInput(f"{items[:60]!r} is one item; encode takes a list of items, such as [{items[:20]!r}]")
        each = self._map(modality)
        if encoder is None:
            encoder = self.encoder(modality, device=device)
        self.accepts(modality, encoder.fingerprint)
        if each.takes_tokens:
            tokens = encoder.tokens(modality, items)
            result = self.transform(modality, tokens.values, mask=tokens.mask)
        else:
            result = self.transform(modality, encoder.encode(modality, items, batch_size=batch_size))
        return np.asarray(result, dtype=np.float32)

    def encode_mixed(
        self, items: Sequence[tuple[str, Any]], *, device: str = "cpu", batch_size: int = 64
    ) -> np.ndarray:
        """Encode items of several modalities, [(modality, item), …], and return their vectors in the order given.

        Items of one modality are encoded together. Raises what `encode` does.
        """
        if wrong := [i for i, item in enumerate(items) if not isinstance(item, tuple) or len(item) != 2]:
            raise BadInput(f"item {wrong[0]} is no pair of a modality and an item, such as ('text', 'a cat')")
        asked = np.array([modality for modality, _ in items], dtype=object)
        vectors = np.empty((len(items), self.dim), np.float32)
        for modality in dict.fromkeys(asked.tolist()):
            rows = np.flatnonzero(asked == modality)
            own = [items[i][1] for i in rows.tolist()]
            vectors[rows] = self.encode(modality, own, device=device, batch_size=batch_size)
        return vectors

    def encoder(self, modality: str, *, device: str = "cpu") -> Any:
        """Return the encoder whose vectors a map accepts, loaded by its name at the first call and kept.

        Raises `NotFound` for a modality without a map, and what `isthmus.encoders.load` raises.
        """
        fingerprint = self._map(modality).fingerprint
        cache: dict[tuple[str, str], Any] = self.__dict__.setdefault("_encoders", {})
        if (modality, device) not in cache:
            from isthmus import encoders

            cache[modality, device] = encoders.load(fingerprint.encoder, modality, device=device)
        return cache[modality, device]

    def _map(self, modality: str) -> Map:
        if modality not in self.maps:
            raise NotFound.named("modality", modality, self.maps, "in this space")
        return self.maps[modality]

    @staticmethod
    def claim(path: str | Path) -> None:
        """Make the folder that a space is to be saved in, or say why it cannot be: worth knowing before long work."""
        claim(Path(path), head=HEAD, leftovers=[TENSORS], kind="a space")

    def save(self, path: str | Path) -> Path:
        """Write the space as a folder and return its path; a space that is there already is replaced at once.

        The JSON names the tensors by their checksum and is written last: a kill at any moment leaves the old space
        or the new one. Raises `BadInput` when the folder holds other files.
        """
        from safetensors.numpy import save

        path = Path(path)
        if clash := sorted({"maps", "tensors", "digest"} & set(self.card)):
            raise BadInput(f"the card of a space has no room for {clash}: these names are the space's own")
        arrays = {f"{m}/{name}": value for m, each in self.maps.items() for name, value in each.tensors.items()}
        self.claim(path)
        with locked(path, kind="a space"):
            file, sha256 = filed(path, "tensors", ".safetensors", lambda partial: partial.write_bytes(save(arrays)))
            head = {
                **self.card,
                "format_version": FORMAT_VERSION,
                "isthmus_version": isthmus.__version__,
                "dim": self.dim,
                "digest": self.digest,
                "maps": {modality: self.maps[modality].to_json() for modality in self.modalities},
                "tensors": {"file": file, "sha256": sha256},
            }
            write_json(path / HEAD, head)
            clean(path, [TENSORS], {file})
        return path

    @classmethod
    def load(cls, path: str | Path, *, fingerprints: Mapping[str, Fingerprint] | None = None) -> "Space":
        """Read a space; with `fingerprints` {modality: …}, refuse one that does not accept them.

        Raises `NotFound` where there is none, `BadInput` naming the file that is damaged or of a newer format, and
        `WrongFingerprint` with the fields that differ.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        head = Path(path) / HEAD
        card = read_json(head, kind="a space", format_version=FORMAT_VERSION)
        try:
            maps, tensors = card.pop("maps"), card.pop("tensors")
            digest = card.pop("digest")
            file = head.parent / plain_name(tensors["file"], ending=".safetensors", source=head)
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != tensors["sha256"]:
                raise BadInput(f"{file} is damaged: its SHA-256 is not that of what was written")
            arrays: dict[str, dict[str, np.ndarray]] = {modality: {} for modality in maps}
            for key, value in load(content).items():
                modality, _, name = key.rpartition("/")
                arrays[modality][name] = value
            space = cls({m: Map.from_json(stored, arrays[m]) for m, stored in maps.items()}, card)
        except FileNotFoundError as error:
            raise BadInput(f"{error.filename} is missing: align again") from error
        except (KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise BadInput(f"{head} is damaged: {type(error).__name__} {error}") from error
        if space.digest != digest:
            raise BadInput(f"{head} is damaged: its maps have the digest {space.digest}, written was {digest}")
        for modality, fingerprint in (fingerprints or {}).items():
            space.accepts(modality, fingerprint)
        return space
