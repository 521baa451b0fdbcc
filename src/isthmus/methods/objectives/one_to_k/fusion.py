"""Reading a text and an item together: matching, masked words, and ranking the first candidates anew."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.roles import Tokens
from isthmus.methods.objectives.one_to_k.mining import Mined

__all__ = ["Fusion", "masked_words", "masked_words_loss", "matching_loss", "rerank"]


class Fusion(nn.Module):
    """Text tokens that look at the tokens of an item: `depth` layers of self- and cross-attention of `width` numbers.

    A learned token is put before the text; what becomes of it says whether the two belong together (`match`). With
    `vocabulary` the states of the other tokens predict words (`words`).
    """

    def __init__(
        self, text: int, item: int, width: int = 256, *, depth: int = 2, heads: int = 4, vocabulary: int = 0
    ) -> None:
        super().__init__()
        if min(text, item, width, depth, heads) < 1 or width % heads:
            raise BadInput(f"width {width} must be a multiple of {heads} heads, and all sizes at least 1")
        self.text, self.item = nn.Linear(text, width), nn.Linear(item, width)
        self.first = nn.Parameter(torch.randn(width) * 0.02)
        layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, depth, norm=nn.LayerNorm(width))
        self.match = nn.Linear(width, 2)
        self.words = nn.Linear(width, vocabulary) if vocabulary else None

    def forward(self, text: Tokens, item: Tokens) -> Float[Tensor, "n t1 w"]:
        """Return the states of the first token and of the text's, having seen the item's (n pairs)."""
        if len(text.values) != len(item.values):
            raise BadInput(f"{len(text.values)} texts are read with {len(item.values)} items: one each")
        first = self.first.expand(len(text.values), 1, -1)
        x = torch.cat([first, self.text(text.values)], 1)
        blank = torch.cat([text.mask.new_ones(len(text.mask), 1), text.mask], 1).logical_not()
        states: Tensor = self.layers(
            x, self.item(item.values), tgt_key_padding_mask=blank, memory_key_padding_mask=item.mask.logical_not()
        )
        return states

    def score(self, text: Tokens, item: Tokens) -> Float[Tensor, " n"]:
        """Return the log-odds that text i and item i belong together."""
        logits = self.match(self(text, item)[:, 0])
        return torch.as_tensor(logits[:, 1] - logits[:, 0])


def matching_loss(fusion: Fusion, texts: Tokens, items: Tokens, mined: Mined) -> Float[Tensor, ""]:
    """Return the cross-entropy of three pairs an item: right, its text with a wrong item, it with a wrong text."""
    n = len(items.values)
    own = torch.arange(n, device=items.values.device)
    asked = torch.cat([mined.text, mined.text, mined.negative_text])
    shown = torch.cat([own, mined.negative_item, own])
    logits = fusion.match(fusion(_take(texts, asked), _take(items, shown))[:, 0])
    return nn.functional.cross_entropy(logits, (torch.arange(3 * n, device=own.device) < n).long())


def masked_words(
    ids: Int[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    generator: torch.Generator,
    blank: int,
    vocabulary: int,
    share: float = 0.4,
    most: int = 12,
) -> tuple[Int[Tensor, "n t"], Bool[Tensor, "n t"]]:
    """Return the words with some hidden, and which are: a `share` of each text, at least one and at most `most`.

    Of those that are asked for, four fifths become `blank`, a tenth another word, a tenth stay.
    """
    if ids.shape != mask.shape or not bool(mask.any(1).all()) or not 0 < share <= 1 or most < 1:
        raise BadInput(f"masking needs words (n, t) with their mask, got {tuple(ids.shape)} and {tuple(mask.shape)}")
    count = (share * mask.sum(1)).round().clamp(1, most)
    place = torch.rand(ids.shape, generator=generator).where(mask, 2.0).argsort(1).argsort(1)
    hidden = (place < count.unsqueeze(1)) & mask
    kind = torch.rand(ids.shape, generator=generator)
    other = torch.randint(vocabulary, ids.shape, generator=generator)
    shown = torch.where(hidden & (kind < 0.8), blank, ids)
    return torch.where(hidden & (kind >= 0.9), other, shown), hidden


def masked_words_loss(
    fusion: Fusion,
    read: Callable[[Tensor, Tensor], Tokens],
    ids: Int[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    items: Tokens,
    *,
    generator: torch.Generator,
    blank: int,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of hidden words, told from the rest of the text and the item.

    `read` makes tokens of word numbers and their mask, one a word. Raises `BadInput` for a fusion without vocabulary.
    """
    if fusion.words is None:
        raise BadInput("this fusion predicts no words: build it with vocabulary=…")
    shown, hidden = masked_words(ids, mask, generator=generator, blank=blank, vocabulary=fusion.words.out_features)
    states = fusion(read(shown, mask), items)[:, 1:]
    return nn.functional.cross_entropy(fusion.words(states[hidden]), ids[hidden])


def rerank(
    scores: Float[np.ndarray, "q n"], match: Callable[[int, np.ndarray], np.ndarray], *, first: int = 128
) -> Float[np.ndarray, "q n"]:
    """Return scores whose `first` candidates of each query are in the order of ``match(query, items)``.

    The others keep their order behind them. Relations: `match` = the scores → the same order.
    """
    if scores.ndim != 2 or first < 1:
        raise BadInput(f"rerank needs scores (q, n) and first of at least 1, got {scores.shape} and {first}")
    found = np.array(scores, dtype=np.float64)
    first = min(first, scores.shape[1])
    for query, row in enumerate(found):
        top = np.argpartition(-row, first - 1)[:first]
        told = np.asarray(match(query, top), dtype=np.float64)
        if told.shape != (first,) or not np.isfinite(told).all():
            raise BadInput(f"match gave {told.shape} for {first} candidates of query {query}; expected finite numbers")
        row[top] = told - told.min() + row.max() + 1
    return found


def _take(tokens: Tokens, rows: Tensor) -> Tokens:
    return Tokens(tokens.values[rows], tokens.mask[rows])
