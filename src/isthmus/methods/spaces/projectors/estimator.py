"""`Projectors`: the method on pooled vectors, as an estimator that the workbench fits and exports."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.spaces.projectors.export import tower_steps
from isthmus.methods.spaces.projectors.modules import Temperature, Tower
from isthmus.metrics.vectors import matrix
from isthmus.parts.contrast import info_nce
from isthmus.parts.params import Params
from isthmus.parts.train import Minibatches, train

__all__ = ["Projectors"]


class Projectors(Params):
    """A common space for any number of modalities, from the pooled vectors of frozen encoders.

    Each modality gets a tower (`block`, then `head`, then unit length); all towers train together with InfoNCE
    over every pair of modalities.
    """

    def __init__(
        self,
        *,
        width: int = 512,
        block: Literal["token", "mlp", "linear"] = "token",
        head: Literal["mlp", "linear", "identity"] = "identity",
        dropout: float = 0.1,
        steps: int = 300,
        batch: int = 512,
        lr: float = 1e-3,
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
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} and return the estimator.

        Records of different modalities belong together when their `keys` {modality: (n,)} are equal, however
        many records of a modality share one: each step draws one of them. Without keys, row i belongs to row i.

        Raises:
            BadInput: for fewer than two modalities, vectors that are not finite (n, d) tables, keys that do not
                fit them, or fewer than two items that two modalities share.
        """
        data = {m: matrix(x, f"pairs[{m!r}]").astype(np.float32) for m, x in pairs.items()}
        items = _Items.of({m: len(x) for m, x in data.items()}, keys)
        with seeded(seed):
            self.towers_ = {
                m: Tower(x.shape[1], self.width, local="none", summary=self.block, head=self.head, dropout=self.dropout)
                for m, x in data.items()
            }
            tau = Temperature(self.temperature)
            tensors = {m: torch.from_numpy(x) for m, x in data.items()}
            draw = torch.Generator().manual_seed(seed)
            size = min(self.batch, items.n)
            batches = Minibatches(items.n, size, -(-self.steps // max(1, items.n // size)), draw)

            def step(chosen: Tensor) -> dict[str, Tensor]:
                rows = items.draw(chosen, draw)
                losses = []
                for a, b in itertools.combinations(rows, 2):
                    both = (rows[a] >= 0) & (rows[b] >= 0)
                    if int(both.sum()) > 1:
                        za, zb = (self.towers_[m](summary=tensors[m][rows[m][both]]) for m in (a, b))
                        losses.append(info_nce(za, zb, scale=tau()))
                return {"loss": torch.stack(losses).mean(), "temperature": tau.tau}

            params = [p for part in [*self.towers_.values(), tau] for p in part.parameters()]
            self.history_ = train(
                step,
                params,
                batches,
                lr=self.lr,
                weight_decay=self.weight_decay,
                final_lr=self.lr / 100,
                warmup=0.05,
                progress=progress,
                stage="align",
            )
        for tower in self.towers_.values():
            tower.eval().requires_grad_(False)
        self.temperature_ = tau.tau.item()
        return self

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to (n, width) unit vectors; numpy gives numpy, torch gives torch."""
        towers = self._fitted()
        if modality not in towers:
            raise NotFound.named("modality", modality, towers)
        if isinstance(x, Tensor):
            return towers[modality].to(x.device)(summary=x)
        with torch.inference_mode():
            return towers[modality](summary=torch.from_numpy(matrix(x, modality).astype(np.float32))).numpy()

    def maps(self) -> dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]]:
        """Return {modality: (steps, tensors)} for `isthmus.space`: the same function, run without torch."""
        return {m: tower_steps(tower) for m, tower in self._fitted().items()}

    def _fitted(self) -> dict[str, Tower]:
        if not hasattr(self, "towers_"):
            raise BadInput("Projectors is not fitted yet; call fit first")
        return self.towers_


@dataclass(frozen=True)
class _Items:
    """Which records of each modality belong to an item: {modality: (starts (n + 1,), records)}."""

    n: int
    members: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, sizes: Mapping[str, int], keys: Mapping[str, Any] | None) -> "_Items":
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
        members = {}
        for m, own in named.items():
            place = np.searchsorted(shared, own).clip(max=len(shared) - 1)
            records = np.flatnonzero(shared[place] == own)
            order = records[np.argsort(place[records], kind="stable")]
            starts = np.searchsorted(place[order], np.arange(len(shared) + 1))
            members[m] = (torch.from_numpy(starts), torch.from_numpy(order))
        return cls(len(shared), members)

    def draw(self, chosen: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return one random record of each chosen item in each modality, −1 where it has none."""
        rows = {}
        for m, (starts, records) in self.members.items():
            first, count = starts[chosen], starts[chosen + 1] - starts[chosen]
            pick = first + (torch.rand(len(chosen), generator=generator) * count).long()
            rows[m] = torch.where(count > 0, records[pick.clamp(max=len(records) - 1)], -1)
        return rows
