"""Full-size encoders by name, as torch modules that can be frozen or trained: pictures, speech, sentences.

`isthmus.encoders` gives finished vectors of an encoder as it is; this gives the module itself, for training with it.

    timm/NAME                         pictures (n, 3, h, w), by timm
    open_clip/MODEL/PRETRAINED        pictures (n, 3, h, w), the image tower of a CLIP of open_clip
    openai/whisper-SIZE               log-mel energies (n, bands, frames), by transformers
    sentence-transformers/NAME        lists of texts, by sentence-transformers

For the last two, ``whisper/PLACE`` and ``st/PLACE`` take any other name on the hub, or a folder. Weights are fetched by
those packages on first use, which needs a connection. Pictures must have been prepared as the model wants them.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput, MissingExtra, NotFound

__all__ = ["Pictures", "Sentences", "Speech", "backbone"]

EXTRA = "backbones"


class Pictures(nn.Module):
    """A picture model as (n, 3, h, w) → (n, width)."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model, self.width = model, width

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return one vector a picture."""
        vectors: Tensor = self.model(x)
        return vectors


class Speech(nn.Module):
    """Whisper's encoder as log-mel energies (n, bands, frames) → (n, width): the mean of its states."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder, self.width = encoder, int(encoder.config.d_model)

    def forward(self, mels: Float[Tensor, "n b f"]) -> Float[Tensor, "n d"]:
        """Return one vector a recording; `BadInput` for another number of bands or frames than the model hears."""
        wanted = (self.encoder.config.num_mel_bins, 2 * self.encoder.config.max_source_positions)
        if mels.shape[1:] != wanted:
            raise BadInput(f"this Whisper hears (n, {wanted[0]}, {wanted[1]}), got {tuple(mels.shape)}")
        states: Tensor = self.encoder(mels).last_hidden_state
        return states.mean(1)


class Sentences(nn.Module):
    """A model of sentence-transformers as a list of texts → (n, width), with a gradient where it is not frozen."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.width = model, int(_width(model))

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return one vector a text."""
        device = next(self.model.parameters()).device
        # older releases call it tokenize
        split = self.model.preprocess if hasattr(self.model, "preprocess") else self.model.tokenize
        features = {k: v.to(device) if hasattr(v, "to") else v for k, v in split(list(texts)).items()}
        vectors: Tensor = self.model(features)["sentence_embedding"]
        return vectors


def backbone(name: str, *, pretrained: bool = True) -> Pictures | Speech | Sentences:
    """Return a model by name, in evaluation mode; `pretrained` False leaves a picture model at random.

    Raises `NotFound` for a name of another form, `MissingExtra` without the package that has it, and what that package
    raises for a model that it does not know or cannot fetch.
    """
    kind, _, place = name.partition("/")
    model: Pictures | Speech | Sentences
    if kind == "timm" and place:
        made = _package("timm", name).create_model(place, pretrained=pretrained, num_classes=0)
        # models with a convolution after the pooling are wider there than their last features
        model = Pictures(made, int(getattr(made, "head_hidden_size", None) or made.num_features))
    elif kind == "open_clip" and place:
        architecture, _, weights = place.partition("/")
        if pretrained and not weights:
            raise BadInput(f"{name!r} names no weights: open_clip/MODEL/PRETRAINED, such as open_clip/ViT-B-32/openai")
        whole = _package("open_clip", name).create_model(architecture, pretrained=weights if pretrained else None)
        model = Pictures(whole.visual, int(whole.visual.output_dim))
    elif name.startswith("openai/whisper-") or (kind == "whisper" and place):
        where = name if kind == "openai" else place
        model = Speech(_package("transformers", name).WhisperModel.from_pretrained(where).encoder)
    elif kind in ("sentence-transformers", "st") and place:
        where = place if kind == "st" else name
        model = Sentences(_package("sentence_transformers", name).SentenceTransformer(where, device="cpu"))
    else:
        raise NotFound(
            f"no backbone is called {name!r}; names are timm/NAME, open_clip/MODEL/PRETRAINED, openai/whisper-SIZE, "
            f"sentence-transformers/NAME, whisper/PLACE, st/PLACE"
        )
    return model.eval()


def _package(package: str, wanted_for: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if error.name not in (None, package):
            raise
        raise MissingExtra.of(package, EXTRA, f"the backbone {wanted_for}") from None


def _width(model: Any) -> int:
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())
