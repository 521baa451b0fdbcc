"""CLIP models of open_clip by name: pictures and texts in one space, ``open_clip/MODEL/PRETRAINED``.

You get one vector of length 1 a picture or text, of the width of the model. Which names there are
``open_clip.list_pretrained()`` says; PRETRAINED may also be a file of weights. Weights are fetched by open_clip on
first use, which needs a connection. Both modalities are computed by one model, loaded once a process.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.encoders.checks import check_modality, check_texts, checked
from isthmus.encoders.upstream import weights_digest
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Clip", "load"]

MODALITIES = ("image", "text")
EXTRA = "backbones"
PREFIX = "open_clip/"
"""Every name that starts like this is an encoder of this file."""
PACKAGE = "open_clip"


class Clip:
    """One side of a CLIP model, for pictures or texts."""

    def __init__(
        self, name: str, modality: str, model: Any, transform: Any, tokenizer: Any, *, device: str = "cpu"
    ) -> None:
        self.modality = modality
        self._model, self._transform, self._tokenizer, self._device = (
            model.eval(),
            transform,
            tokenizer,
            device,
        )
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=modality,
            dim=_width(model),
            weights=weights_digest(model),
            preprocess=" ".join(str(transform).split()) if modality == "image" else type(tokenizer).__name__,
            pooling="the model's own",
            normalised=True,
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return the vectors of pictures (of PIL, RGB) or texts, float32 (n, d), of length 1.

        Raises `BadInput` for another modality, and for an empty text.
        """
        import torch

        check_modality(modality, self.fingerprint)
        if modality == "text":
            check_texts(items)
        parts = [np.empty((0, self.fingerprint.dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(items), batch_size):
                batch = list(items[start : start + batch_size])
                if modality == "image":
                    x = torch.stack([self._transform(picture) for picture in batch]).to(self._device)
                    parts.append(self._model.encode_image(x, normalize=True).float().cpu().numpy())
                else:
                    tokens = self._tokenizer(batch).to(self._device)
                    parts.append(self._model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return checked(np.concatenate(parts), len(items), self.fingerprint)


def load(name: str, modality: str, *, device: str = "cpu") -> Clip:
    """Return a side of the model ``open_clip/MODEL/PRETRAINED``; `NotFound` for a name that open_clip does not know."""
    try:
        import open_clip
    except ImportError:
        raise MissingExtra.of("open_clip_torch", EXTRA, f"the encoder {name}") from None
    model, _, pretrained = name.removeprefix(PREFIX).partition("/")
    if not pretrained:
        raise BadInput(f"{name!r} is not of the form open_clip/MODEL/PRETRAINED, such as open_clip/ViT-B-32/openai")
    if model not in open_clip.list_models():
        raise NotFound.named("model of open_clip", model, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise NotFound.named(f"weights of {model}", pretrained, tags, hint="or name a file of weights")
    return Clip(name, modality, *_made(model, pretrained, device), device=device)


@functools.lru_cache(maxsize=1)
def _made(model: str, pretrained: str, device: str) -> tuple[Any, Any, Any]:
    """Return the model on a device, with what goes before it; both modalities share one."""
    import open_clip

    made, _, transform = open_clip.create_model_and_transforms(model, pretrained=pretrained, device=device)
    return made, transform, open_clip.get_tokenizer(model)


def _width(model: Any) -> int:
    return int(model.visual.output_dim)
