"""Adapters to pretrained encoders: an item in, a vector with a fingerprint out.

An encoder is an object with `modality`, `fingerprint` and ``encode(modality, items) -> (n, d)``; one that also has
``tokens(modality, items) -> Tokens`` gives a sequence of vectors for every item. Every file or package of this folder
that holds `NAMES` offers ``load(name, modality, device=…)`` for them; the names are read without importing the file.
`wrap` makes an encoder of any callable. A file with a `PREFIX` offers every model of a hub, ``PREFIX`` and the model's
name.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from isthmus.core.catalog import read_literal
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.encoders.wrapped import Wrapped, wrap
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Available", "Encoder", "Wrapped", "available", "load", "named", "wrap"]


class Encoder(Protocol):
    """What `load` and `wrap` return. For the type checker; nothing inherits from it."""

    modality: str
    fingerprint: Fingerprint

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = ...) -> np.ndarray:
        """Return float32 (n, d), finite; `BadInput` for items that cannot be encoded."""
        ...


@dataclass(frozen=True)
class Available:
    """An encoder that `load` knows: its name, the modalities it reads, and whether its weights are `installed`."""

    name: str
    modalities: tuple[str, ...]
    extra: str
    package: str
    file: str

    @property
    def installed(self) -> bool:
        """Whether the package of the weights is there."""
        return importlib.util.find_spec(self.package) is not None


def available() -> dict[str, Available]:
    """Return every encoder that has a name, whether its package is installed or not."""
    found = {}
    for file, path in _files():
        for name, package in read_literal(path, "NAMES", {}, default={}).items():
            modalities, extra = read_literal(path, "MODALITIES", {}), read_literal(path, "EXTRA", {})
            found[name] = Available(name, modalities, extra, package, file)
    return found


def _files() -> list[tuple[str, Path]]:
    """Return the files that may hold encoders, and the packages, each with the name of its module."""
    here = Path(__file__).parent
    packages = [(path.parent.name, path) for path in here.glob("[!_]*/__init__.py")]
    return sorted([*((path.stem, path) for path in here.glob("[!_]*.py")), *packages])


def named(name: str) -> Available | None:
    """Return the encoder of a name, also of one that a hub knows (``PREFIX/…``); None for an unknown name."""
    if "/" not in name:
        return available().get(name)
    for file, path in _files():
        if name.startswith(read_literal(path, "PREFIX", {}, default="") or "//"):
            modalities, extra = read_literal(path, "MODALITIES", {}), read_literal(path, "EXTRA", {})
            return Available(name, modalities, extra, read_literal(path, "PACKAGE", {}), file)
    return None


def load(name: str, modality: str, *, device: str = "cpu") -> Encoder:
    """Return the encoder of a name for a modality, on a device as torch names them.

    Raises `NotFound` for an unknown name, `BadInput` when it reads another modality or the device cannot be used,
    `MissingExtra` when its packages are not installed.
    """
    found = named(name)
    if found is None:
        known = available()
        fitting = [n for n, a in known.items() if modality in a.modalities]
        raise NotFound.named("encoder", name, known, hint=f"for {modality}: {', '.join(fitting) or 'none'}")
    if modality not in found.modalities:
        raise BadInput(f"the encoder {name} reads {' or '.join(found.modalities)}, not {modality!r}")
    try:
        module = importlib.import_module(f"isthmus.encoders.{found.file}")
        encoder: Encoder = module.load(name, modality, device=device)
    except ModuleNotFoundError as error:
        raise MissingExtra.of(str(error.name), found.extra, f"the encoder {name}") from error
    except (AssertionError, RuntimeError) as error:  # what torch raises for a device that it does not know or have
        if device == "cpu":
            raise
        reason = str(error).partition("\n")[0]
        raise BadInput(f"the encoder {name} cannot run on the device {device!r}: {reason}") from error
    return encoder
