"""Models of sentence-transformers by name: ``st/NAME``, such as ``st/intfloat/multilingual-e5-base``, or a folder.

You get what ``SentenceTransformer(NAME).encode`` gives, with the default prompt of the model where it has one, or
through `tokens` the states of its tokens. Models that read pictures or recordings do so here. Weights are fetched by
sentence-transformers on first use, which needs a connection.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.core.roles import Tokens
from isthmus.encoders.checks import check_modality, check_texts, checked
from isthmus.encoders.upstream import fetching, weights_digest
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Sentences", "load"]

MODALITIES = ("text", "image", "speech", "sound", "audio")
EXTRA = "backbones"
PREFIX = "st/"
"""Every name that starts like this is an encoder of this file."""
PACKAGE = "sentence_transformers"
RECORDINGS = ("speech", "sound", "audio")
"""What sentence-transformers calls audio has several names here."""


class Sentences:
    """An encoder of one modality around a model of sentence-transformers."""

    def __init__(self, name: str, modality: str, model: Any) -> None:
        own = "audio" if modality in RECORDINGS else modality
        if own not in (read := getattr(model, "modalities", ["text"])):
            raise BadInput(f"{name} reads {', '.join(map(str, read))}, not {modality}")
        self.modality, self._model = modality, model
        prompt = model.prompts.get(model.default_prompt_name, "") if model.default_prompt_name else ""
        modules = [type(module).__name__ for module in model]
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=modality,
            dim=int(model.get_embedding_dimension()),
            weights=weights_digest(model),
            preprocess=_preprocess(model),
            pooling=", ".join(modules),
            normalised=modules[-1:] == ["Normalize"],
            prompt=prompt or "",
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return the vectors of items, float32 (n, d).

        Raises `BadInput` for another modality, and for an empty text.
        """
        self._check(modality, items)
        if not len(items):
            return np.empty((0, self.fingerprint.dim), np.float32)
        vectors = self._model.encode(list(items), batch_size=batch_size, show_progress_bar=False)
        return checked(vectors, len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Tokens:
        """Return the states of the tokens: values (n, t, d), zero where `mask` (n, t) says that an item has ended."""
        self._check(modality, items)
        settings = {"output_value": "token_embeddings", "show_progress_bar": False, "batch_size": batch_size}
        states = [s.float().cpu().numpy() for s in self._model.encode(list(items), **settings)] if len(items) else []
        lengths = np.array([len(s) for s in states], dtype=int)
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        values = np.zeros((*mask.shape, states[0].shape[1] if states else self.fingerprint.dim), np.float32)
        if states:
            values[mask] = np.concatenate(states)
        return Tokens(values, mask)

    def _check(self, modality: str, items: Sequence[Any]) -> None:
        check_modality(modality, self.fingerprint)
        if modality == "text":
            check_texts(items)


def load(name: str, modality: str, *, device: str = "cpu") -> Sentences:
    """Return the model ``st/NAME``; `NotFound` for a model that cannot be fetched, `BadInput` for another modality."""
    return Sentences(name, modality, _made(name, name.removeprefix(PREFIX), device))


@functools.lru_cache(maxsize=1)
def _made(name: str, place: str, device: str) -> Any:
    """Return the model on a device."""
    from sentence_transformers import SentenceTransformer

    with fetching(name, place):
        return SentenceTransformer(place, device=device)


def _preprocess(model: Any) -> str:
    """Return what happens before the network, with a digest of the tokenizer where there is one."""
    tokenizer = getattr(model, "tokenizer", None)
    fast = getattr(tokenizer, "backend_tokenizer", None)
    content = fast.to_str() if fast is not None else json.dumps(sorted(getattr(tokenizer, "get_vocab", dict)().items()))
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"{type(tokenizer).__name__} {digest}, at most {model.max_seq_length} tokens"
