"""`Projectors`: the method on pooled vectors, as an estimator that the workbench fits and exports."""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
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
from isthmus.parts.params import Params
from isthmus.parts.train import ByDomain, Minibatches, train

__all__ = ["Projectors"]


class Projectors(Params):
    """A common space for any number of modalities, from the pooled vectors of frozen encoders.

    One tower a modality, trained together with InfoNCE over every pair of modalities.

    - ``start="canonical"`` (default): a token projector whose linear branch is the closed-form `canonical_start` under
      `ridge` and whose MLP branch starts at 0. With several `members` that many of them stand side by side, their
      ridges a factor of 2 apart around `ridge`; the space is then `members` · `width` wide. `width` is an upper
      limit: no wider than the narrowest modality has directions. The MLP branch is `hidden` times as wide inside.
    - ``start="random"``: the paper's recipe, one `block` and `head` of `width` from a random start.
    """

    def __init__(
        self,
        *,
        start: Literal["canonical", "random"] = "canonical",
        width: int = 512,
        members: int = 1,
        ridge: float = 0.5,
        block: Literal["token", "mlp", "linear"] = "token",
        head: Literal["mlp", "linear", "identity"] = "identity",
        hidden: int = 2,
        dropout: float = 0.1,
        steps: int = 200,
        batch: int = 512,
        lr: float = 3e-4,
        weight_decay: float = 0.02,
        temperature: float = 0.07,
    ) -> None:
        self.start = start
        self.width = width
        self.members = members
        self.ridge = ridge
        self.block = block
        self.head = head
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
            BadInput: for fewer than two modalities, vectors that are not finite (n, d) tables, keys that do not
                fit them, fewer than two items that two modalities share, or settings out of range.
        """
        if self.start not in ("canonical", "random"):
            raise BadInput(f"start is 'canonical' or 'random', got {self.start!r}")
        if min(self.width, self.members, self.hidden, self.batch) < 1 or self.ridge <= 0 or self.steps < 1:
            raise BadInput(f"width, members, hidden, batch, steps and ridge must be positive: {self!r}")
        if not (0 < self.lr < 1 and 0 <= self.dropout < 1 and 0 < self.temperature <= 0.5 and self.weight_decay >= 0):
            raise BadInput(
                f"lr must lie in (0, 1), dropout in [0, 1), temperature in (0, 0.5], weight_decay at least 0: {self!r}"
            )
        data = {m: matrix(x, f"pairs[{m!r}]").astype(np.float32) for m, x in pairs.items()}
        for name, given in (("keys", keys), ("weights", weights), ("domains", domains)):
            if unknown := sorted(set(given or {}) - set(data)):
                raise NotFound.named(f"modality of {name}", unknown[0], data)
        if emphasis and not domains:
            raise BadInput("emphasis says how much a domain counts: give domains too")
        items = _Items.of({m: len(x) for m, x in data.items()}, keys, weights or {}, domains or {}, emphasis or {})
        members = self.members if self.start == "canonical" else 1
        built: list[Mapping[str, nn.Module]] = []
        self.history_: list[dict[str, float]] = []
        with seeded(seed):
            for member in range(members):
                towers = self._build(data, items, 2.0 ** ((members - 1) / 2 - member))

                def report(stage: str, done: int, total: int | None, before: int = member) -> None:
                    progress(stage, before * (total or 0) + done, members * (total or 0))

                self.history_ += self._train(towers, data, items, seed + member, report)
                built.append(towers)
        self.towers_ = {m: _Side([towers[m] for towers in built]).eval().requires_grad_(False) for m in data}
        self.widths_ = {m: x.shape[1] for m, x in data.items()}
        return self

    def _build(self, data: Mapping[str, np.ndarray], items: "_Items", factor: float) -> dict[str, nn.Module]:
        """Return fresh towers: of the paper, or started in closed form with `factor` times the ridge."""
        if self.start == "random":
            return {
                m: Tower(x.shape[1], self.width, local="none", summary=self.block, head=self.head, dropout=self.dropout)
                for m, x in data.items()
            }
        normed = {m: nn.functional.layer_norm(torch.from_numpy(x), x.shape[1:]).numpy() for m, x in data.items()}
        started = canonical_start(
            normed,
            items.numbers,
            items.weights,
            width=self.width,
            ridge=self.ridge * factor,
            counts=items.counts,
        )
        return {m: StartedProjector(*started[m], dropout=self.dropout, hidden=self.hidden) for m in data}

    def _train(
        self,
        towers: Mapping[str, nn.Module],
        data: Mapping[str, np.ndarray],
        items: "_Items",
        seed: int,
        progress: Progress,
    ) -> list[dict[str, float]]:
        """Train one set of towers in place."""
        tau = Temperature(self.temperature)
        tensors = {m: torch.from_numpy(x) for m, x in data.items()}
        if self.start == "canonical":  # what does not train is computed once
            tensors = {m: _started(towers[m]).project(x) for m, x in tensors.items()}
        draw = torch.Generator().manual_seed(seed)
        size = min(self.batch, items.n)
        batches = (
            ByDomain(items.domain, items.counts, self.batch, self.steps, draw)
            if items.domain.any()
            else Minibatches(items.n, size, -(-self.steps // max(1, items.n // size)), draw)
        )

        def embed(modality: str, rows: Tensor) -> Tensor:
            tower, x = towers[modality], tensors[modality][rows]
            vectors: Tensor = _started(tower).refine(x) if self.start == "canonical" else tower(summary=x)
            return nn.functional.normalize(vectors, dim=-1)

        def step(chosen: Tensor) -> dict[str, Tensor]:
            rows = items.draw(chosen, draw)
            losses = []
            for a, b in itertools.combinations(rows, 2):
                both = (rows[a] >= 0) & (rows[b] >= 0)
                if int(both.sum()) > 1:
                    losses.append(info_nce(embed(a, rows[a][both]), embed(b, rows[b][both]), scale=tau()))
            if not losses:
                raise BadInput(f"no two modalities share two of the {len(chosen)} items of a batch; raise batch")
            return {"loss": torch.stack(losses).mean(), "temperature": tau.tau}

        return train(
            step,
            [p for part in (*towers.values(), tau) for p in part.parameters()],
            batches,
            lr=self.lr,
            weight_decay=self.weight_decay,
            final_lr=self.lr / 100,
            warmup=0.05,
            total=self.steps,
            stop=lambda done: done >= self.steps,  # in the middle of an epoch
            progress=progress,
            stage="align",
        )

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to unit vectors of the space; numpy gives numpy, torch gives torch.

        Raises `NotFound` for a modality that it was not fitted on, `BadInput` for another width.
        """
        side = self._fitted(modality)
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
        if not hasattr(self, "towers_"):
            raise BadInput("Projectors is not fitted yet; call fit first")
        return {m: self._fitted(m).steps() for m in self.towers_}

    def _fitted(self, modality: str) -> "_Side":
        if not hasattr(self, "towers_"):
            raise BadInput("Projectors is not fitted yet; call fit first")
        if modality not in self.towers_:
            raise NotFound.named("modality", modality, self.towers_)
        return self.towers_[modality]


class _Side(nn.Module):
    """The members of one modality as one map: their outputs side by side, then unit length."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        first = self.members[0]
        if isinstance(first, Tower):
            vectors: Tensor = first(summary=x)
            return vectors
        return nn.functional.normalize(torch.cat([m(x) for m in self.members], dim=-1), dim=-1)

    def steps(self) -> tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]:
        first = self.members[0]
        return tower_steps(first) if isinstance(first, Tower) else block_steps([_started(m) for m in self.members])


def _started(module: nn.Module) -> StartedProjector:
    assert isinstance(module, StartedProjector)
    return module


@dataclass(frozen=True)
class _Items:
    """Which records of each modality belong to an item.

    `members` {modality: (starts (n + 1,), records)} lists the records of each item, `numbers` {modality: (rows,)}
    the item of each record, −1 for a record whose item no other modality has, `weights` {modality: (rows,)} how much
    each record counts within its item; `domain` (n,) numbers the domain of each item, `counts` (n,) is its emphasis.
    """

    n: int
    members: Mapping[str, tuple[Tensor, Tensor]]
    numbers: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    domain: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        sizes: Mapping[str, int],
        keys: Mapping[str, Any] | None,
        weights: Mapping[str, Any],
        domains: Mapping[str, Any],
        emphasis: Mapping[str, float],
    ) -> "_Items":
        """Group records by key; items that only one modality has are left out."""
        if len(sizes) < 2:
            raise BadInput(f"Projectors needs at least two modalities, got {list(sizes)}")
        if keys is None:
            if len(set(sizes.values())) > 1:
                raise BadInput(f"without keys every modality needs the same number of rows, got {dict(sizes)}")
            keys = {m: np.arange(n) for m, n in sizes.items()}
        named = {m: np.asarray(keys[m]) if m in keys else np.empty(0) for m in sizes}
        wrong = {m: (named[m].shape, n) for m, n in sizes.items() if named[m].shape != (n,)}
        if wrong:
            raise BadInput(f"keys need one entry a row; (shape, rows) are {wrong}")
        held, count = np.unique(np.concatenate([np.unique(k) for k in named.values()]), return_counts=True)
        shared = held[count > 1]
        if len(shared) < 2:
            raise BadInput(f"at least 2 items must be in two modalities, found {len(shared)}; are the keys the same?")
        members, numbers = {}, {}
        for m, own in named.items():
            place = np.searchsorted(shared, own).clip(max=len(shared) - 1)
            numbers[m] = np.where(shared[place] == own, place, -1)
            records = np.flatnonzero(numbers[m] >= 0)
            if not len(records):
                raise BadInput(f"no item of {m!r} is in another modality; are the keys the same?")
            order = records[np.argsort(place[records], kind="stable")]
            starts = np.searchsorted(place[order], np.arange(len(shared) + 1))
            members[m] = (torch.from_numpy(starts), torch.from_numpy(order))
        counted = {m: np.asarray(weights.get(m, np.ones(n)), dtype=np.float64) for m, n in sizes.items()}
        for m, weight in counted.items():
            if weight.shape != (sizes[m],) or not (np.isfinite(weight) & (weight > 0)).all():
                raise BadInput(f"weights of {m!r} must be {sizes[m]} finite numbers above 0, got shape {weight.shape}")
        domain, counts = _domains(len(shared), numbers, domains, emphasis)
        return cls(len(shared), members, numbers, counted, domain, counts)

    def draw(self, chosen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return one random record of each chosen item in each modality, −1 where it has none."""
        rows = {}
        for m, (starts, records) in self.members.items():
            # All records end to end, each as long as its weight: draw a point in the stretch of each item.
            lengths = torch.from_numpy(self.weights[m])[records]
            ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            first, last = starts[chosen], starts[chosen + 1] - 1
            low, high = ends[first], ends[last + 1]
            point = low + torch.rand(len(chosen), generator=generator, dtype=low.dtype) * (high - low)
            pick = (torch.searchsorted(ends, point, right=True) - 1).clamp(first, last.clamp(min=0))
            rows[m] = torch.where(last >= first, records[pick.clamp(0, len(records) - 1)], -1)
        return rows


def _domains(
    n: int, numbers: Mapping[str, np.ndarray], domains: Mapping[str, Any], emphasis: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each item's domain and its emphasis, which is 1 on the average."""
    if not domains:
        return np.zeros(n, int), np.ones(n)
    wrong = {m: np.shape(domains.get(m, ())) for m, own in numbers.items() if np.shape(domains.get(m, ())) != own.shape}
    if wrong:
        raise BadInput(f"domains need one entry a row; {', '.join(wrong)} got shape {wrong}")
    named = {m: np.asarray(d).astype(str) for m, d in domains.items()}
    names = np.unique(np.concatenate(list(named.values())))
    wanted = {str(name): value for name, value in emphasis.items()}
    if unknown := sorted(set(wanted) - set(names.tolist())):
        raise NotFound.named("domain", unknown[0], names.tolist())
    each = np.array([wanted.get(str(name), 1.0) for name in names])
    if not (np.isfinite(each) & (each > 0)).all():
        raise BadInput(f"emphasis must be a number above 0, got {dict(emphasis)}")
    domain = np.full(n, -1)
    for m, own in numbers.items():
        place = np.searchsorted(names, named[m])
        shared = own >= 0
        domain[own[shared]] = np.maximum(domain[own[shared]], place[shared])
    for m, own in numbers.items():
        place = np.searchsorted(names, named[m])
        if (bad := np.flatnonzero((own >= 0) & (domain[own] != place))).size:
            raise BadInput(f"row {bad[0]} of {m!r} is of another domain than other records of its item")
    counts = each[domain]
    return domain, counts / counts.mean()
