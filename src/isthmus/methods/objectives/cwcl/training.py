"""Training a tower beside a frozen one: the loop for any two modalities."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.cwcl.loss import Weighted, WeightFn, affine, cwcl_loss, effective_positives
from isthmus.parts.contrast import LogScale
from isthmus.parts.train import Minibatches, synchronise, train

__all__ = ["Items", "Locked", "LockedTower", "NearlyUniform", "Rows", "Training", "fit_locked", "rows_of"]

Items = Callable[[Tensor], tuple[Tensor, ...]]
"""From (b,) row numbers to the arguments of a tower for those items."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train: the weights and their direction, and the settings of the loop.

    Raises `BadInput` for numbers out of range.
    """

    weight_fn: WeightFn = affine
    weighted: Weighted = "u2v"
    steps: int = 300
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    tau: float = 0.07
    gather: bool = False
    tile: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise BadInput(
                f"steps = {self.steps}, batch = {self.batch}; at least 1 step and 2 items a batch are needed"
            )
        if self.weighted not in ("u2v", "v2u", "both"):
            raise BadInput(f"weighted is 'u2v', 'v2u' or 'both', got {self.weighted!r}")
        if not self.tau > 0 or (self.tile is not None and self.tile < 1):
            raise BadInput(f"tau = {self.tau} must be above 0, tile = {self.tile} at least 1 row")
        if not (0 < self.lr < 1 and self.weight_decay >= 0 and 0 <= self.warmup < 1):
            raise BadInput(
                f"lr = {self.lr} must lie in (0, 1), warmup = {self.warmup} in [0, 1), "
                f"weight_decay = {self.weight_decay} at least at 0"
            )


PLAIN = Training()
"""The paper's weights, and the settings for a small tower."""


class Rows(Protocol):
    """Frozen vectors by row: a tensor (n, d), or a `LockedTower` that computes them."""

    def __len__(self) -> int:
        """Return n."""
        ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the (b, d) vectors of some rows."""
        ...


class NearlyUniform(UserWarning):
    """The weights of a batch are nearly equal: the frozen encoder tells too little apart."""


@dataclass(frozen=True)
class Locked:
    """What training came to: each step's ``loss`` and ``tau``, and the mean effective positives of the first batch."""

    history: list[dict[str, float]]
    positives: float

    @property
    def tau(self) -> float:
        """The learned temperature."""
        return self.history[-1]["tau"]


class LockedTower:
    """The frozen vectors of a module, computed when they are asked for: in evaluation mode, without a gradient.

    `items` gives the module's arguments by row, for inputs that change from epoch to epoch or do not fit in memory as
    vectors. The module is frozen here.
    """

    def __init__(self, module: nn.Module, items: Items, n: int) -> None:
        self.module, self.items, self.n = module.eval().requires_grad_(False), items, n

    def __len__(self) -> int:
        return self.n

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        found: Tensor = self.module(*self.items(rows))
        return found


def rows_of(*tensors: Tensor) -> Items:
    """Return the items that lie in tensors of equal length, as the arguments of a tower."""
    return lambda rows: tuple(x[rows] for x in tensors)


def fit_locked(
    tower: nn.Module,
    items: Items,
    frozen: Rows,
    *,
    training: Training = PLAIN,
    ref: Tensor | None = None,
    keys: Int[Tensor, " n"] | None = None,
    head: nn.Module | None = None,
    progress: Progress = silent,
) -> Locked:
    """Train a tower in place so that its vectors of `items` meet the `frozen` vectors of the other modality.

    The weights are taken from the frozen vectors, or from `ref` (n, …), such as labels: `same_label` of them is
    supervised contrast. The weights `paired` make the baseline CL (LiT, where the frozen tower is that of images),
    everything else alike. `head` maps the frozen vectors into the common width, or is a whole tower of V on top of
    them; it trains too, while the weights stay those of the frozen vectors. `keys` (n,) name the items of V, so that
    one that occurs twice in a batch is no negative of itself. In several processes each one brings its own rows, and
    `training.gather` lets them see those of all.

    Warns:
        NearlyUniform: when the weights that the frozen vectors give to the first batch amount to more than a quarter
            of it in equal positives.

    Raises:
        BadInput: for fewer than two frozen vectors, items, references or keys that are not one for each of them, or
            widths that differ.
    """
    n = len(frozen)
    if n < 2:
        raise BadInput(f"{n} frozen vectors: contrast needs at least two")
    for name, x in (("references", ref), ("keys", keys)):
        if x is not None and len(x) != n:
            raise BadInput(f"{name} have {len(x)} entries for {n} frozen vectors; one each is needed")
    try:
        first = items(torch.tensor([0, n - 1]))
    except IndexError as error:
        raise BadInput(f"there is no item {n - 1} for the last of the {n} frozen vectors") from error
    if any(len(x) != 2 for x in first):
        raise BadInput(f"items of two rows came as {[tuple(x.shape) for x in first]}; expected two of each")
    size = min(training.batch, n)
    with seeded(training.seed):
        scale = LogScale(training.tau)
        params = [p for m in (tower, head, scale) if m is not None for p in m.parameters()]
        draw = torch.Generator().manual_seed(training.seed)
        batches = Minibatches(n, size, -(-training.steps // max(1, n // size)), draw)
        positives: list[float] = []

        def step(rows: Tensor) -> dict[str, Tensor]:
            r = frozen[rows]
            p = nn.functional.normalize(tower(*items(rows)), dim=-1)
            q = nn.functional.normalize(r if head is None else head(r), dim=-1)
            if p.shape[1] != q.shape[1]:
                raise BadInput(f"the tower gives {p.shape[1]} numbers and the frozen side {q.shape[1]}: add a head")
            source = r if ref is None else ref[rows]
            if not positives:
                whole = training.weight_fn(source.detach(), torch.arange(len(rows), device=source.device))
                positives.append(float(effective_positives(whole).mean()))
                if ref is None and positives[0] > max(2.0, size / 4):
                    warnings.warn(_nearly(positives[0], size), NearlyUniform, stacklevel=4)
            s = scale()
            loss = cwcl_loss(
                p,
                q,
                source,
                1 / s,
                weighted=training.weighted,
                weight_fn=training.weight_fn,
                keys=None if keys is None else keys[rows],
                gather=training.gather,
                tile=training.tile,
            )
            return {"loss": loss, "tau": 1 / s}

        modules = [module for module in (tower, head) if module is not None]
        for module in modules:
            module.train()
        with synchronise(params):
            history = train(
                step,
                params,
                batches,
                lr=training.lr,
                weight_decay=training.weight_decay,
                warmup=training.warmup,
                stop=lambda done: done >= training.steps,
                total=training.steps,
                progress=progress,
                stage="cwcl",
            )
    for module in modules:
        module.eval()
    return Locked(history, positives[0])


def _nearly(positives: float, size: int) -> str:
    return (
        f"{positives:.0f} effective positives in a batch of {size}: the weights hardly tell items apart; try "
        "references without their common part (centred), sharpened(temperature) or nearest(k)"
    )
