"""A small tower that learns from scratch: from a sequence (states of a speech encoder, bytes of a text) to a vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.roles import Tokens

__all__ = ["SequenceTower", "bytes_of", "windows"]

LETTERS = 256


class SequenceTower(nn.Module):
    """Sequences to vectors: tokens to `width`, places added, transformer layers, mean over the tokens, `out` numbers.

    `d` is the width of the tokens, or None for whole numbers below 256 (`bytes_of` a text). A sequence may have
    `longest` tokens at most.

    Relations: padding where the mask is False → nothing changes.
    """

    def __init__(
        self,
        d: int | None,
        out: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        longest: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.d, self.longest = d, longest
        self.settings: dict[str, Any] = {
            "d": d,
            "out": out,
            "width": width,
            "layers": layers,
            "heads": heads,
            "longest": longest,
            "dropout": dropout,
        }
        self.embed = nn.Embedding(LETTERS, width) if d is None else nn.Sequential(nn.LayerNorm(d), nn.Linear(d, width))
        self.places = nn.Parameter(0.02 * torch.randn(longest, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, out)

    def forward(self, values: Tensor, mask: Bool[Tensor, "n t"]) -> Tensor:
        """Return (n, out) of values (n, t, d), or (n, t) of whole numbers, where `mask` says what is there.

        Raises `BadInput` for another shape, a sequence that is too long, or one without any token.
        """
        shape = tuple(values.shape)
        if (
            mask.shape != shape[:2]
            or len(shape) != (2 if self.d is None else 3)
            or shape[2:] != (self.d,)[: len(shape) - 2]
        ):
            wanted = "(n, t)" if self.d is None else f"(n, t, {self.d})"
            raise BadInput(f"the tower takes {wanted} with a mask (n, t), got {shape} and {tuple(mask.shape)}")
        if shape[1] > self.longest or not bool(mask.any(1).all()):
            raise BadInput(f"every sequence needs 1 to {self.longest} tokens, got {shape[1]} places")
        x = self.embed(values if self.d is None else values.where(mask.unsqueeze(-1), 0).float())
        x = self.layers(x + self.places[: shape[1]], src_key_padding_mask=~mask)
        vectors: Tensor = self.out(x.where(mask.unsqueeze(-1), 0).sum(1) / mask.sum(1, keepdim=True))
        return vectors


def windows(states: Tokens, *, size: int = 20, longest: int = 64) -> Tokens:
    """Return the means of `size` states in a row, at most `longest` of them: a fifth of a second of speech is a token.

    The last window is shorter where a sequence does not fill it. Relations: size = 1 → the states.

    Raises `BadInput` for a size below 1.
    """
    values, mask = np.asarray(states.values), np.asarray(states.mask)
    if size < 1 or values.ndim != 3 or mask.shape != values.shape[:2]:
        raise BadInput(f"windows of {size} states need (n, t, d) and (n, t), got {values.shape} and {mask.shape}")
    n, t, d = values.shape
    fill = -t % size
    held = np.pad(mask, ((0, 0), (0, fill))).reshape(n, -1, size)
    parts = np.pad(np.where(mask[..., None], values, 0), ((0, 0), (0, fill), (0, 0))).reshape(n, -1, size, d)
    count = held.sum(2)
    means = (parts.sum(2) / np.maximum(count, 1)[..., None]).astype(np.float32)
    return Tokens(means[:, :longest], (count > 0)[:, :longest])


def bytes_of(texts: Sequence[str], *, longest: int = 64) -> Tokens:
    """Return texts as their UTF-8 bytes, (n, t) whole numbers with a mask, cut at `longest`.

    Raises `BadInput` for a text that is empty or not a text.
    """
    if wrong := [i for i, t in enumerate(texts) if not isinstance(t, str) or not t]:
        raise BadInput(f"item {wrong[0]} is not a text with a letter in it: {texts[wrong[0]]!r}")
    coded = [t.encode()[:longest] for t in texts]
    values = np.zeros((len(coded), max(map(len, coded), default=1)), dtype=np.int64)
    for row, code in zip(values, coded, strict=True):
        row[: len(code)] = list(code)
    lengths = np.array([len(code) for code in coded])
    return Tokens(values, np.arange(values.shape[1]) < lengths[:, None])
