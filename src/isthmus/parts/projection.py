"""A linear projection a modality into one space, trained with any loss of pairs: what a new head of two towers is."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.metrics.vectors import matrix
from isthmus.parts.items import Items
from isthmus.parts.train import train

__all__ = ["PairLoss", "Projection", "checked_settings", "fit_projections"]

PairLoss = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""From unit vectors (n, d) and (n, d) of n different items to "loss" and what else is to be recorded."""


class Projection(nn.Module):
    """Vectors, standardised as those that it is trained on, then dropout and a linear map to `width` numbers."""

    def __init__(self, x: Float[Tensor, "n d"], width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.mean, self.spread = nn.Buffer(x.mean(0)), nn.Buffer(x.std(0, correction=0) + 1e-6)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(x.shape[1], width)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Return unit vectors."""
        return nn.functional.normalize(self.linear(self.drop((x - self.mean) / self.spread)), dim=-1)

    def steps(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Return the same function, without dropout, as steps for `isthmus.space` and their tensors."""
        held = {"centre": self.mean, "factor": 1 / self.spread}
        held |= {"weight": self.linear.weight, "bias": self.linear.bias}
        steps: list[dict[str, Any]] = [
            {"op": "centre", "mean": "centre"},
            {"op": "scale", "factor": "factor"},
            {"op": "linear", "weight": "weight", "bias": "bias"},
            {"op": "normalise"},
        ]
        return steps, {name: value.detach().numpy().copy() for name, value in held.items()}


def checked_settings(**given: float) -> None:
    """Raise `BadInput` for settings of `fit_projections` out of range, naming the first."""
    ranges: dict[str, tuple[float, float]] = {
        "width": (1, math.inf),
        "steps": (1, math.inf),
        "batch": (2, math.inf),
        "lr": (1e-9, 1),
        "dropout": (0, 0.99),
        "weight_decay": (0, math.inf),
    }
    for name, value in given.items():
        low, high = ranges[name]
        if not low <= value <= high:
            raise BadInput(f"{name} = {value} must lie between {low:g} and {high:g}")


def fit_projections(
    pairs: Mapping[str, Any],
    loss: PairLoss,
    *,
    width: int,
    dropout: float,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    keys: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Projection], list[dict[str, float]]]:
    """Train one projection a modality on vectors {modality: (n, d)}; return them, and what each step reported.

    Records belong together when their `keys` {modality: (n,)} are equal, row i to row i without them. Of an item with
    several records of a modality one is drawn each step, in proportion to its `weights` {modality: (n,)}, so that an
    item stands in a batch once. With more than two modalities the loss is the mean over the pairs of them.

    Raises `BadInput` for vectors that are not finite (n, d) tables, settings out of range, or what `Items.of` refuses.
    """
    checked_settings(width=width, dropout=dropout, steps=steps, batch=batch, lr=lr, weight_decay=weight_decay)
    data = {m: torch.from_numpy(matrix(x, f"pairs[{m!r}]").astype(np.float32)) for m, x in pairs.items()}
    items = Items.of({m: len(x) for m, x in data.items()}, keys=keys, weights=weights)
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        heads = {m: Projection(x, width, dropout=dropout) for m, x in data.items()}
        trained = [p for head in heads.values() for p in head.parameters()]

        def found(chosen: Tensor) -> Iterator[Mapping[str, Tensor]]:
            rows = items.draw(chosen, generator)
            for one, other in combinations(data, 2):
                both = (rows[one] >= 0) & (rows[other] >= 0)
                if int(both.sum()) > 1:
                    yield loss(*(heads[m](data[m][rows[m][both]]) for m in (one, other)))

        def step(chosen: Tensor) -> Mapping[str, Tensor]:
            each = list(found(chosen))
            if not each:  # no two items of the batch have two modalities in common
                return {"loss": torch.stack([p.sum() for p in trained]).sum() * 0}
            return {name: torch.stack([values[name] for values in each]).mean() for name in each[0]}

        history = train(
            step,
            trained,
            items.batches(batch, steps, generator),
            lr=lr,
            weight_decay=weight_decay,
            warmup=0.03,
            total=steps,
            stop=lambda done: done >= steps,
            progress=progress,
        )
    return {m: head.eval() for m, head in heads.items()}, history
