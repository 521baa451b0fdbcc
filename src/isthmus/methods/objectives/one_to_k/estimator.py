"""`OneToKMaps`: the loss on stored vectors, as an estimator that the workbench fits and exports."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.one_to_k.loss import Balance, one_to_k_loss
from isthmus.metrics.vectors import matrix
from isthmus.parts.contrast import LogScale
from isthmus.parts.items import Items
from isthmus.parts.params import Params
from isthmus.parts.train import train
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Head", "OneToKMaps"]


class Head(nn.Module):
    """A map of standardised vectors: linear, then a residual block of `hidden` numbers that begins at 0."""

    def __init__(self, d: int, width: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(d, width)
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)
        self.mean, self.spread = nn.Buffer(torch.zeros(d)), nn.Buffer(torch.ones(d))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def standardise(self, x: Float[Tensor, "n d"]) -> Self:
        """Take the mean and the deviation of what it is trained on."""
        self.mean.copy_(x.mean(0))
        self.spread.copy_(x.std(0) + 1e-6)
        return self

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Map vectors."""
        z = self.linear(self.drop((x - self.mean) / self.spread))
        return torch.as_tensor(z + self.last(self.drop(nn.functional.gelu(self.first(z)))))

    def steps(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Return the same function, without dropout, as steps for `isthmus.space` and their tensors."""
        tensors = {"centre": self.mean, "factor": 1 / self.spread}
        layers = {}
        for name, layer in (("linear", self.linear), ("first", self.first), ("last", self.last)):
            tensors |= {f"{name} weight": layer.weight, f"{name} bias": layer.bias}
            layers[name] = {"op": "linear", "weight": f"{name} weight", "bias": f"{name} bias"}
        steps: list[dict[str, Any]] = [
            {"op": "centre", "mean": "centre"},
            {"op": "scale", "factor": "factor"},
            layers["linear"],
            {"op": "residual", "steps": [layers["first"], {"op": "gelu"}, layers["last"]]},
        ]
        return steps, {name: value.detach().numpy().copy() for name, value in tensors.items()}


class OneToKMaps(Params):
    """Maps into one space that give the same answer in every language, trained with 1-to-K contrast.

    All records of an item in each other modality (its names in every language) are positives of each of its records of
    the modality `one`, in one soft-max, at most `most` of them a step. Each modality gets a map to `width` numbers: a
    linear one with a residual block of `hidden`.
    """

    def __init__(
        self,
        *,
        one: str = "image",
        width: int = 256,
        hidden: int = 512,
        dropout: float = 0.3,
        most: int = 16,
        steps: int = 300,
        batch: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        tau: float = 0.07,
        balance: Balance = "repo",
    ) -> None:
        self.one = one
        self.width = width
        self.hidden = hidden
        self.dropout = dropout
        self.most = most
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.tau = tau
        self.balance = balance

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} and return the estimator.

        Records belong together when their `keys` {modality: (n,)} are equal, row i to row i without them. Of an item
        with several records of `one` (or with more than `most` of another modality) some are drawn each step, in
        proportion to their `weights` {modality: (n,)}.

        Raises:
            BadInput: for vectors that are not finite (n, d) tables, settings out of range, or what `Items.of` refuses.
            NotFound: when the modality `one` is not among them.
        """
        if self.one not in pairs:
            raise NotFound.named("modality that stands alone", self.one, pairs, hint="say which with one=…")
        if min(self.width, self.hidden, self.most, self.steps) < 1 or self.batch < 2:
            raise BadInput(f"width, hidden, most and steps must be at least 1, batch at least 2: {self!r}")
        if not (0 < self.lr < 1 and 0 <= self.dropout < 1 and self.weight_decay >= 0 and self.tau >= 0.01):
            raise BadInput(
                f"lr must lie in (0, 1), dropout in [0, 1), weight_decay at least at 0, tau at least at 0.01: {self!r}"
            )
        data = {m: torch.from_numpy(matrix(x, f"pairs[{m!r}]").astype(np.float32)) for m, x in pairs.items()}
        items = Items.of({m: len(x) for m, x in data.items()}, keys=keys, weights=weights)
        generator = torch.Generator().manual_seed(seed)
        scale = LogScale(self.tau)
        with seeded(seed):
            heads = {
                m: Head(x.shape[1], self.width, hidden=self.hidden, dropout=self.dropout).standardise(x)
                for m, x in data.items()
            }
            trained = [p for head in (*heads.values(), scale) for p in head.parameters()]

            def step(chosen: Tensor) -> Mapping[str, Tensor]:
                rows = items.draw(chosen, generator)[self.one]
                here, now = rows >= 0, scale()
                v = nn.functional.normalize(heads[self.one](data[self.one][rows[here]]), dim=-1)
                losses = []
                for m in data:
                    if m == self.one:
                        continue
                    table, present = _several(items, m, chosen[here], self.most, generator)
                    if not bool(present.any()):
                        continue
                    t = nn.functional.normalize(heads[m](data[m][table.flatten()]), dim=-1)
                    losses.append(one_to_k_loss(v, t, table.shape[1], 1 / now, balance=self.balance, present=present))
                loss = torch.stack(losses).mean() if losses else v.sum() * 0
                return {"loss": loss, "tau": 1 / now}

            self.history_ = train(
                step,
                trained,
                items.batches(self.batch, self.steps, generator),
                lr=self.lr,
                weight_decay=self.weight_decay,
                warmup=0.03,
                total=self.steps,
                stop=lambda done: done >= self.steps,
                progress=progress,
            )
        self.sides_ = {}
        for m, head in heads.items():
            steps, tensors = head.eval().steps()
            self.sides_[m] = Map([*steps, {"op": "normalise"}], tensors, _anonymous(m, data[m].shape[1]))
        return self

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to unit vectors of the space; numpy gives numpy, torch gives torch.

        Raises `NotFound` for a modality that it was not fitted on, `BadInput` for another width or NaN.
        """
        side = self._fitted().get(modality)
        if side is None:
            raise NotFound.named("modality", modality, self.sides_)
        if not hasattr(x, "dtype") or not bool((abs(x) < math.inf).all()):  # which NaN is not either
            raise BadInput(f"{modality} needs an array of numpy or torch without NaN or infinity")
        return side(x)

    def maps(self) -> dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]]:
        """Return {modality: (steps, tensors)} for `isthmus.space`."""
        return {m: ([dict(step) for step in side.steps], side.tensors) for m, side in self._fitted().items()}

    def _fitted(self) -> dict[str, Map]:
        if not hasattr(self, "sides_"):
            raise BadInput(f"{type(self).__name__} is not fitted yet; call fit first")
        return self.sides_


def _several(
    items: Items, modality: str, chosen: Tensor, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return (n, k) records of each item, in random order, and which of them there are; k is at most `most`."""
    starts, records = items.members[modality]
    first, count = starts[chosen], starts[chosen + 1] - starts[chosen]
    k = int(count.max().clamp(1, most))
    wide = int(count.max().clamp(1))
    place = torch.arange(wide).expand(len(chosen), wide)
    held = place < count.unsqueeze(1)
    weight = torch.from_numpy(items.weights[modality])[records]
    at = (first.unsqueeze(1) + place).clamp(max=len(records) - 1)
    # The largest of u^(1/w) are a draw without replacement in proportion to w.
    turn = torch.rand(held.shape, generator=generator).pow(1 / weight[at].float()).where(held, -1.0)
    picked = turn.topk(k, dim=1).indices
    return records[at.gather(1, picked)], held.gather(1, picked)


def _anonymous(modality: str, d: int) -> Fingerprint:
    """Return the fingerprint of vectors whose encoder the estimator does not know."""
    return Fingerprint(
        encoder="unknown", modality=modality, dim=d, weights="", preprocess="", pooling="", normalised=False
    )
