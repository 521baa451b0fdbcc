"""Models of transformers by name: ``hf/NAME``, such as ``hf/facebook/dinov2-small``, or a folder.

Any model that AutoModel loads with a tokenizer, image processor or feature extractor beside it: one vector an item
through `encode`, the states of its last layer through `tokens`. One vector is, in this order,

- what the model projects into a space of several modalities (CLIP, SigLIP, CLAP: ``get_image_features`` and the like);
- of pictures, the model's own pooled output, when its weights came with the model;
- the mean over the tokens of the last states.

Of a model with an encoder and a decoder (T5, Whisper) the encoder is heard. Texts end where the model's context ends.
Recordings are encoded one by one, as the model's own feature extractor pads them. Weights are fetched by transformers
on first use, which needs a connection; code that comes with a model is never run.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.core.roles import Tokens
from isthmus.encoders.checks import check_modality, check_texts, checked
from isthmus.encoders.recordings import samples
from isthmus.encoders.upstream import fetching, pooled, weights_digest
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Transformer", "load"]

MODALITIES = ("image", "text", "speech", "sound", "audio")
EXTRA = "backbones"
PREFIX = "hf/"
"""Every name that starts like this is an encoder of this file."""
PACKAGE = "transformers"
KINDS = {"image": "AutoImageProcessor", "text": "AutoTokenizer"}
"""What prepares items of a modality; recordings, whatever they are called, have a feature extractor."""
FAR = 1_000_000
"""A context longer than this is what tokenizers say when they do not know it."""


class Transformer:
    """An encoder of one modality around a model of transformers and what prepares its input."""

    def __init__(
        self, name: str, modality: str, model: Any, prepare: Any, *, own_pooling: bool = True, device: str = "cpu"
    ) -> None:
        self.modality, self._prepare, self._device = modality, prepare, device
        kind = modality if modality in KINDS else "audio"
        self._kind = kind
        self._features = getattr(model, f"get_{kind}_features", None)
        side = _side(model, kind)
        self._states = side.get_encoder() if side.config.is_encoder_decoder else side
        self._own = kind == "image" and own_pooling
        self._length = _context(prepare, side) if kind == "text" else None
        pooling = "the last states' mean"
        if self._features is not None:
            pooling = f"get_{kind}_features"
        elif self._own:
            pooling = "the model's own, or the last states' mean"
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=modality,
            # every family keeps its width under another name
            dim=int(self._vectors([_probe(kind)]).shape[1]),
            weights=weights_digest(model),
            preprocess=_described(prepare) + (f", at most {self._length} tokens" if self._length else ""),
            pooling=pooling,
            normalised=False,
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return the vectors of texts, pictures (of PIL, RGB) or recordings (`read_sound`), float32 (n, d).

        Raises `BadInput` for another modality, an empty text, and an item that is not a recording.
        """
        check_modality(modality, self.fingerprint)
        parts = [np.empty((0, self.fingerprint.dim), np.float32)]
        parts += [self._vectors(batch).float().cpu().numpy() for batch in self._batches(items, batch_size)]
        return checked(np.concatenate(parts), len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Tokens:
        """Return the last states: values (n, t, d), zero where `mask` (n, t) says that an item has ended."""
        import torch

        check_modality(modality, self.fingerprint)
        parts = []
        with torch.inference_mode():
            for batch in self._batches(items, batch_size):
                states, mask = self._last(self._prepared(batch))
                parts += list(zip(states.float().cpu().numpy(), mask.cpu().numpy(), strict=True))
        longest = max((len(mask) for _, mask in parts), default=0)
        values = np.zeros((len(parts), longest, parts[0][0].shape[1] if parts else 0), np.float32)
        masks = np.zeros((len(parts), longest), bool)
        for i, (states, mask) in enumerate(parts):
            values[i, : len(mask)] = states * mask[:, None]
            masks[i, : len(mask)] = mask
        return Tokens(values, masks)

    def _batches(self, items: Sequence[Any], batch_size: int) -> Iterator[list[Any]]:
        size = batch_size
        if self._kind == "text":
            check_texts(items)
        if self._kind == "audio":
            rate = int(self._prepare.sampling_rate)
            items, size = [samples(item, i, rate) for i, item in enumerate(items)], 1
        for start in range(0, len(items), size):
            yield list(items[start : start + size])

    def _prepared(self, batch: list[Any]) -> dict[str, Any]:
        if self._kind == "text":
            # a model that takes no mask (SigLIP) was trained on texts of one length
            padding = True if "attention_mask" in self._prepare.model_input_names else "max_length"
            limits = {"truncation": self._length is not None, "max_length": self._length}
            made = self._prepare(batch, padding=padding, return_tensors="pt", **limits)
        elif self._kind == "image":
            made = self._prepare(images=batch, return_tensors="pt")
        else:
            made = self._prepare(batch, sampling_rate=int(self._prepare.sampling_rate), return_tensors="pt")
        return {name: value.to(self._device) for name, value in made.items() if hasattr(value, "to")}

    def _vectors(self, batch: list[Any]) -> Any:
        import torch

        with torch.inference_mode():
            prepared = self._prepared(batch)
            if self._features is not None:
                found = self._features(**prepared)
                return found if isinstance(found, torch.Tensor) else found.pooler_output  # since transformers 5
            if self._own and (own := getattr(self._states(**prepared), "pooler_output", None)) is not None:
                return own.flatten(1)
            return pooled(*self._last(prepared))

    def _last(self, prepared: dict[str, Any]) -> tuple[Any, Any]:
        """Return the last states (n, t, d) and their mask (n, t)."""
        import torch

        states = self._states(**prepared).last_hidden_state
        if states.ndim == 4:  # the feature map of a convolutional network, channels first
            states = states.flatten(2).transpose(1, 2)
        mask = prepared.get("attention_mask")
        if mask is None or mask.shape != states.shape[:2]:
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return states, mask.bool()


def load(name: str, modality: str, *, device: str = "cpu") -> Transformer:
    """Return the model ``hf/NAME`` for a modality.

    Raises `NotFound` for a model that cannot be fetched, `BadInput` for a folder that cannot be loaded, a model whose
    weights are not all there, or one that does not read the modality.
    """
    place = name.removeprefix(PREFIX)
    model, missing = _made(name, place, device)
    side = _side(model, modality if modality in KINDS else "audio")
    owner = next((f"{key}." for key, value in model.named_children() if value is side), "")
    lacking = [key for key in missing if key.startswith(owner)]
    if absent := [key for key in lacking if "pooler" not in key]:
        raise BadInput(f"{name}: {len(absent)} weights are not in the files of the model, such as {absent[0]}")
    prepare = _preparing(name, place, modality)
    return Transformer(name, modality, model, prepare, own_pooling=not lacking, device=device)


@functools.lru_cache(maxsize=1)
def _made(name: str, place: str, device: str) -> tuple[Any, tuple[str, ...]]:
    """Return the model in evaluation mode on a device, and the names of weights that its files lack."""
    import torch
    from transformers import AutoModel

    with fetching(name, place):
        model, found = AutoModel.from_pretrained(place, dtype=torch.float32, output_loading_info=True)
    return model.eval().to(device), tuple(sorted(found["missing_keys"]))


def _preparing(name: str, place: str, modality: str) -> Any:
    import transformers

    kind = KINDS.get(modality, "AutoFeatureExtractor")
    with fetching(name, place):
        prepare = getattr(transformers, kind).from_pretrained(place)
    if kind == "AutoFeatureExtractor" and not hasattr(prepare, "sampling_rate"):
        raise BadInput(f"{name} does not read recordings: it comes with {type(prepare).__name__}")
    return prepare


def _side(model: Any, kind: str) -> Any:
    """Return the part of a model that reads a modality: its tower where it has several, else itself."""
    tower = {"image": "vision_model", "text": "text_model", "audio": "audio_model"}[kind]
    return getattr(model, tower, model) if hasattr(model, f"get_{kind}_features") else model


def _context(tokenizer: Any, model: Any) -> int | None:
    """Return the most tokens that a model reads, or None where it does not say."""
    said = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
    known = [int(n) for n in said if n and n < FAR]
    return min(known, default=None)


def _probe(kind: str) -> Any:
    """Return the smallest item of a modality."""
    if kind == "text":
        return "a"
    if kind == "image":
        from PIL import Image

        return Image.new("RGB", (32, 32), "white")
    return np.zeros(16_000, np.float32)


def _described(prepare: Any) -> str:
    """Return what prepares the input: its class, and a digest of its settings."""
    fast = getattr(prepare, "backend_tokenizer", None)
    if fast is not None:
        content = fast.to_str()
    elif hasattr(prepare, "get_vocab"):
        content = json.dumps(sorted(prepare.get_vocab().items()))
    else:
        content = json.dumps(prepare.to_dict(), sort_keys=True, default=str)
    return f"{type(prepare).__name__} {hashlib.sha256(content.encode()).hexdigest()[:8]}"
