"""Picture models of timm by name: ``timm/NAME``, such as ``timm/vit_small_patch14_dinov2.lvd142m``, or a folder.

You get the features before the classifier, of the width of the model, or through `tokens` the last feature map, one
token a place (a transformer's class token among them). Pictures are prepared as the weights were trained with. Names
are those of ``timm.list_models(pretrained=True)``, names on the hub as ``timm/hf-hub:OWNER/NAME``, or a folder that
timm has saved a model to. Weights are fetched by timm on first use, which needs a connection.
"""

import functools
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.roles import Tokens
from isthmus.encoders.checks import check_modality, checked
from isthmus.encoders.upstream import fetching, weights_digest
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Timm", "load"]

MODALITIES = ("image",)
EXTRA = "backbones"
PREFIX = "timm/"
"""Every name that starts like this is an encoder of this file."""
PACKAGE = "timm"


class Timm:
    """A picture encoder around a model of timm."""

    def __init__(self, name: str, model: Any, *, device: str = "cpu") -> None:
        data: Any = importlib.import_module("timm.data")
        (self.modality,) = MODALITIES
        self._model, self._device = model, device
        self._transform = data.create_transform(**data.resolve_model_data_config(model), is_training=False)
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=self.modality,
            # models with a convolution after the pooling are wider there than their last features
            dim=int(getattr(model, "head_hidden_size", None) or model.num_features),
            weights=weights_digest(model),
            preprocess=" ".join(str(self._transform).split()),
            pooling="the model's own, before the classifier",
            normalised=False,
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return the vectors of pictures (of PIL, RGB), float32 (n, d); `BadInput` for another modality."""
        check_modality(modality, self.fingerprint)
        parts = [np.empty((0, self.fingerprint.dim), np.float32)]
        parts += [self._model(x).float().cpu().numpy() for x in self._batches(items, batch_size)]
        return checked(np.concatenate(parts), len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Tokens:
        """Return the last feature map: values (n, t, d), and a mask (n, t) that is True throughout."""
        check_modality(modality, self.fingerprint)
        parts = []
        for x in self._batches(items, batch_size):
            features = self._model.forward_features(x)
            if features.ndim == 4:  # pictures of channels first, or last
                first = getattr(self._model, "output_fmt", "NCHW") != "NHWC"
                features = features.flatten(2).transpose(1, 2) if first else features.flatten(1, 2)
            parts.append(features.float().cpu().numpy())
        values = np.concatenate(parts) if parts else np.empty((0, 0, self.fingerprint.dim), np.float32)
        return Tokens(values, np.ones(values.shape[:2], bool))

    def _batches(self, items: Sequence[Any], batch_size: int) -> Iterator[Any]:
        import torch

        with torch.inference_mode():
            for start in range(0, len(items), batch_size):
                batch = [self._transform(picture) for picture in items[start : start + batch_size]]
                yield torch.stack(batch).to(self._device)


def load(name: str, modality: str, *, device: str = "cpu") -> Timm:
    """Return the model ``timm/NAME``; `NotFound` for a name that timm does not know or cannot fetch."""
    place = name.removeprefix(PREFIX)
    return Timm(name, _made(name, place, device), device=device)


@functools.lru_cache(maxsize=1)
def _made(name: str, place: str, device: str) -> Any:
    """Return the model in evaluation mode on a device."""
    import timm

    if Path(place).is_dir():
        known = f"local-dir:{place}"
    elif ":" in place or "/" in place:
        known = place if ":" in place else f"hf-hub:{place}"
    elif timm.is_model(place.partition(".")[0]):
        known = place
        tags = timm.list_pretrained(f"{place.partition('.')[0]}*")
        if not tags:
            raise BadInput(f"{name}: timm has no trained weights of this model; save yours to a folder and name that")
    else:
        raise NotFound.named("model of timm", place, timm.list_pretrained(), hint="or name a folder with one")
    with fetching(name, place):
        return timm.create_model(known, pretrained=True, num_classes=0).eval().to(device)
