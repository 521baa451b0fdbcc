"""The method on pooled vectors, as estimators that the workbench fits and exports."""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.spaces.projectors.export import block_steps, tower_steps
from isthmus.methods.spaces.projectors.modules import StartedProjector, Temperature, Tower
from isthmus.methods.spaces.projectors.start import canonical_start
from isthmus.metrics.vectors import matrix
from isthmus.parts.contrast import info_nce
from isthmus.parts.items import Items
from isthmus.parts.params import Params
from isthmus.parts.train import train

__all__ = ["Projectors", "RandomProjectors"]

Embed = Callable[[str, Tensor], Tensor]
"""From a modality and rows of its vectors to their places (b, width) in the space, before they get unit length."""


class _Fitted(Params):
    """What fitted towers do: `sides_` {modality: module} are the maps, `widths_` the widths that they take."""

    sides_: dict[str, "_Members | _Alone"]
    widths_: dict[str, int]

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to unit vectors of the space; numpy gives numpy, torch gives torch.

        Raises `NotFound` for a modality that it was not fitted on, `BadInput` for another width.
        """
        side = self._side(modality)
        if x.ndim != 2 or x.shape[1] != self.widths_[modality]:
            raise BadInput(f"{modality} has shape {tuple(x.shape)}; expected (n, {self.widths_[modality]})")
        if isinstance(x, Tensor):
            if not bool(torch.isfinite(x).all()):
                raise BadInput(f"{modality} holds NaN or infinity")
            # the estimator stays where it is: another call may come with vectors of another device
            return copy.deepcopy(side).to(x.device)(x.float()).to(x.dtype)
        with torch.inference_mode():
            return side(torch.from_numpy(matrix(x, modality).astype(np.float32))).numpy()

    def maps(self) -> dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]]:
        """Return {modality: (steps, tensors)} for `isthmus.space`: the same function, run without torch."""
        if not hasattr(self, "sides_"):
            raise BadInput(f"{type(self).__name__} is not fitted yet; call fit first")
        return {m: side.steps() for m, side in self.sides_.items()}

    def _side(self, modality: str) -> "_Members | _Alone":
        if not hasattr(self, "sides_"):
            raise BadInput(f"{type(self).__name__} is not fitted yet; call fit first")
        if modality not in self.sides_:
            raise NotFound.named("modality", modality, self.sides_)
        return self.sides_[modality]


class Projectors(_Fitted):
    """A common space for any number of modalities, from the pooled vectors of frozen encoders.

    One tower a modality, trained together with InfoNCE over every pair of modalities: a token projector whose linear
    branch is the closed-form `canonical_start` under `ridge` and whose MLP branch, `hidden` times as wide inside,
    starts at 0. With several `members` that many of them stand side by side, their ridges a factor of 2 apart around
    `ridge`; the space is then `members` · `width` wide. `width` is an upper limit: no wider than the narrowest
    modality has directions.
    """

    def __init__(
        self,
        *,
        width: int = 512,
        members: int = 1,
        ridge: float = 0.5,
        hidden: int = 2,
        dropout: float = 0.1,
        steps: int = 200,
        batch: int = 512,
        lr: float = 3e-4,
        weight_decay: float = 0.02,
        temperature: float = 0.07,
    ) -> None:
        self.width = width
        self.members = members
        self.ridge = ridge
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.temperature = temperature

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        domains: Mapping[str, Any] | None = None,
        emphasis: Mapping[str, float] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} and return the estimator.

        Records of different modalities belong together when their `keys` {modality: (n,)} are equal, however
        many records of a modality share one: each step draws one of them, in proportion to its `weights`
        {modality: (n,)}, equal where none are given. Without keys, row i belongs to row i.

        `domains` {modality: (n,)} name where a record comes from when several data sets are learned from. Every batch
        is then of one domain, drawn in proportion to its items times its `emphasis` {domain: number} (1 by default):
        the wrong answers are as like the right one as they are in a search of that data set, and a large set does not
        drown a small one. An item counts as much as the emphasis of its domain in the closed-form start too.

        Raises:
            BadInput: for vectors that are not finite (n, d) tables, what `Items.of` refuses, or settings out of range.
        """
        if min(self.members, self.hidden) < 1 or self.ridge <= 0:
            raise BadInput(f"members, hidden and ridge must be positive: {self!r}")
        data, items = _taken(self, pairs, keys=keys, weights=weights, domains=domains, emphasis=emphasis)
        normed = {m: nn.functional.layer_norm(x, x.shape[1:]).numpy() for m, x in data.items()}
        built: list[dict[str, StartedProjector]] = []
        self.history_: list[dict[str, float]] = []
        with seeded(seed):
            for member in range(self.members):
                ridge = self.ridge * 2.0 ** ((self.members - 1) / 2 - member)
                started = canonical_start(
                    normed, items.numbers, items.weights, width=self.width, ridge=ridge, counts=items.counts
                )
                towers = {m: StartedProjector(*started[m], dropout=self.dropout, hidden=self.hidden) for m in data}
                self.history_ += _refined(
                    self, towers, data, items, seed + member, _part(progress, member, self.members)
                )
                built.append(towers)
        self.sides_ = {m: _Members([towers[m] for towers in built]).eval().requires_grad_(False) for m in data}
        self.widths_ = {m: x.shape[1] for m, x in data.items()}
        return self


class RandomProjectors(_Fitted):
    """The paper's recipe on pooled vectors: a tower of one `block` and a `head` a modality, from a random start."""

    def __init__(
        self,
        *,
        width: int = 512,
        block: Literal["token", "mlp", "linear"] = "token",
        head: Literal["mlp", "linear", "identity"] = "identity",
        dropout: float = 0.1,
        steps: int = 200,
        batch: int = 512,
        lr: float = 3e-4,
        weight_decay: float = 0.02,
        temperature: float = 0.07,
    ) -> None:
        self.width = width
        self.block = block
        self.head = head
        self.dropout = dropout
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.temperature = temperature

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        domains: Mapping[str, Any] | None = None,
        emphasis: Mapping[str, float] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} and return the estimator: arguments and errors as in `Projectors.fit`."""
        data, items = _taken(self, pairs, keys=keys, weights=weights, domains=domains, emphasis=emphasis)
        block, head = self.block, self.head
        with seeded(seed):
            towers = {
                m: Tower(x.shape[1], self.width, local="none", summary=block, head=head, dropout=self.dropout)
                for m, x in data.items()
            }
            self.history_ = _contrasted(
                self, towers, items, lambda m, rows: towers[m](summary=data[m][rows]), seed, progress
            )
        self.sides_ = {m: _Alone(tower).eval().requires_grad_(False) for m, tower in towers.items()}
        self.widths_ = {m: x.shape[1] for m, x in data.items()}
        return self


Estimator = Projectors | RandomProjectors


def _taken(model: Estimator, pairs: Mapping[str, Any], **about: Any) -> tuple[dict[str, Tensor], Items]:
    """Check the settings that both estimators have, and return the vectors as tensors with their items."""
    if min(model.width, model.batch, model.steps) < 1:
        raise BadInput(f"width, batch and steps must be positive: {model!r}")
    if not (0 < model.lr < 1 and 0 <= model.dropout < 1 and 0 < model.temperature <= 0.5 and model.weight_decay >= 0):
        raise BadInput(
            f"lr must lie in (0, 1), dropout in [0, 1), temperature in (0, 0.5], weight_decay at least 0: {model!r}"
        )
    data = {m: torch.from_numpy(matrix(x, f"pairs[{m!r}]").astype(np.float32)) for m, x in pairs.items()}
    return data, Items.of({m: len(x) for m, x in data.items()}, **about)


def _part(progress: Progress, member: int, members: int) -> Progress:
    """Return the progress of one of several members, told as a part of all."""

    def report(stage: str, done: int, total: int | None) -> None:
        progress(stage, member * (total or 0) + done, members * (total or 0))

    return report


def _refined(
    model: Projectors,
    towers: Mapping[str, StartedProjector],
    data: Mapping[str, Tensor],
    items: Items,
    seed: int,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train the MLP branches; the linear ones do not train, so that their outputs are computed once."""
    projected = {m: towers[m].project(x) for m, x in data.items()}
    return _contrasted(model, towers, items, lambda m, rows: towers[m].refine(projected[m][rows]), seed, progress)


def _contrasted(
    model: Estimator,
    towers: Mapping[str, nn.Module],
    items: Items,
    embed: Embed,
    seed: int,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train towers in place with InfoNCE over every pair of modalities, and return the history."""
    tau = Temperature(model.temperature)
    draw = torch.Generator().manual_seed(seed)

    def unit(modality: str, rows: Tensor) -> Tensor:
        return nn.functional.normalize(embed(modality, rows), dim=-1)

    def step(chosen: Tensor) -> dict[str, Tensor]:
        rows = items.draw(chosen, draw)
        losses = []
        for a, b in itertools.combinations(rows, 2):
            both = (rows[a] >= 0) & (rows[b] >= 0)
            if int(both.sum()) > 1:
                losses.append(info_nce(unit(a, rows[a][both]), unit(b, rows[b][both]), scale=tau()))
        if not losses:
            raise BadInput(f"no two modalities share two of the {len(chosen)} items of a batch; raise batch")
        return {"loss": torch.stack(losses).mean(), "temperature": tau.tau}

    return train(
        step,
        [p for part in (*towers.values(), tau) for p in part.parameters()],
        items.batches(model.batch, model.steps, draw),
        lr=model.lr,
        weight_decay=model.weight_decay,
        final_lr=model.lr / 100,
        warmup=0.05,
        total=model.steps,
        stop=lambda done: done >= model.steps,  # in the middle of an epoch
        progress=progress,
        stage="align",
    )


class _Members(nn.Module):
    """The members of one modality as one map: their outputs side by side, then unit length."""

    def __init__(self, members: list[StartedProjector]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(torch.cat([m(x) for m in self.members], dim=-1), dim=-1)

    def steps(self) -> tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]:
        return block_steps([m for m in self.members if isinstance(m, StartedProjector)])


class _Alone(nn.Module):
    """A tower that takes pooled vectors."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: Tensor) -> Tensor:
        vectors: Tensor = self.tower(summary=x)
        return vectors

    def steps(self) -> tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]:
        return tower_steps(self.tower)
