"""Which texts and items the matching loss is asked about: the least aligned language, and hard negatives."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isthmus.core.errors import BadInput

__all__ = ["Mined", "Prefer", "mine"]

Prefer = Literal["any", "weight", "similarity"]
SMALL = 1e-5
"""What the released code adds to every weight, so that each can be drawn."""


@dataclass(frozen=True)
class Mined:
    """For each of n items: the row of its chosen text, that of a wrong text, and a wrong item for the chosen text."""

    text: Int[Tensor, " n"]
    negative_text: Int[Tensor, " n"]
    negative_item: Int[Tensor, " n"]


def mine(
    scores: Float[Tensor, "n nk"],
    k: int,
    *,
    generator: torch.Generator,
    prefer: Prefer = "weight",
    present: Bool[Tensor, "n k"] | None = None,
) -> Mined:
    """Draw one text of each item and its hard negatives, from scores that are divided by the temperature already.

    With w = softmax of a row + 1e-5, the text of item i is drawn in proportion to (max w + 1e-5) − w_ik, where the
    maximum is over the whole table: the language that is least aligned is the likeliest ("similarity": the same of the
    scores; "any": each alike). The negative text is drawn in proportion to w without all texts of the item, whatever
    their language, the negative item in proportion to the soft-max of the chosen text over items, without its own.

    Raises:
        BadInput: for scores of another shape than (n, n·k), fewer than two items, or an item without a text.
    """
    n = len(scores)
    if scores.ndim != 2 or n < 2 or k < 1 or scores.shape[1] != n * k:
        raise BadInput(f"mining needs scores (n, n·{k}) of at least 2 items, got {tuple(scores.shape)}")
    given = torch.ones(n, k, dtype=torch.bool, device=scores.device) if present is None else present
    if given.shape != (n, k) or not bool(given.any(1).all()):
        raise BadInput(f"mining needs a text of each item; present has the shape {tuple(given.shape)}")
    if prefer not in ("any", "weight", "similarity"):
        raise BadInput(f"prefer is 'any', 'weight' or 'similarity', got {prefer!r}")
    table = scores.detach().masked_fill(~given.reshape(-1), -torch.inf)
    weights = table.softmax(1).masked_fill(~given.reshape(-1), -SMALL) + SMALL
    own = torch.arange(n, device=scores.device)
    if prefer == "any":
        chance = torch.ones(n, k, device=scores.device)
    else:
        of = weights if prefer == "weight" else table
        chance = (of[table > -torch.inf].max() + SMALL) - of.view(n, n, k)[own, own]
    text = own * k + _drawn(chance.where(given, 0), generator)
    elsewhere = own.repeat_interleave(k) != own.unsqueeze(1)
    negative_text = _drawn(weights * elsewhere, generator)
    over_items = scores.detach()[:, text].T.softmax(1) + SMALL
    negative_item = _drawn(over_items.fill_diagonal_(0), generator)
    return Mined(text, negative_text, negative_item)


def _drawn(chance: Float[Tensor, "n m"], generator: torch.Generator) -> Int[Tensor, " n"]:
    return torch.multinomial(chance.cpu(), 1, generator=generator).squeeze(1).to(chance.device)
