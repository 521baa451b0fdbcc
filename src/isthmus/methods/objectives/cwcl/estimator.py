"""`LockedMaps`: the loss on stored vectors, as an estimator that the workbench fits and exports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.cwcl.loss import WeightFn, affine, sharpened
from isthmus.methods.objectives.cwcl.training import Training, fit_locked
from isthmus.metrics.vectors import matrix, unit
from isthmus.parts.items import Items
from isthmus.parts.params import Params
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint

__all__ = ["LockedMaps"]

Steps = tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]
"""The steps of a map, and their tensors."""


class LockedMaps(Params):
    """Maps of other modalities into the space of a frozen one, trained with continuously weighted contrast.

    The `locked` modality keeps its geometry: its vectors only lose their common part. Every other one gets a map of
    one hidden layer of `hidden` numbers (0: a linear map), trained beside it on the items that both have.
    `weights` are taken from vectors without their common part: a soft-max of their cosines under the temperature
    `sharpness` ("softmax"), or the paper's map ("affine").
    """

    def __init__(
        self,
        *,
        locked: str = "text",
        weights: Literal["softmax", "affine"] = "softmax",
        sharpness: float = 0.15,
        hidden: int = 512,
        dropout: float = 0.3,
        steps: int = 400,
        batch: int = 256,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        tau: float = 0.07,
    ) -> None:
        self.locked = locked
        self.weights = weights
        self.sharpness = sharpness
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.tau = tau

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

        Records belong together when their `keys` {modality: (n,)} are equal, row i to row i without them; of an item
        with several records one is drawn a step, in proportion to its `weights` {modality: (n,)}.

        Raises:
            BadInput: for vectors that are not finite (n, d) tables, settings out of range, or what `Items.of` refuses.
            NotFound: when the locked modality is not among them.
        """
        if self.locked not in pairs:
            raise NotFound.named("modality to lock", self.locked, pairs, hint="say which with locked=…")
        if len(pairs) < 2:
            raise BadInput(f"{self.locked} alone: another modality is needed that learns to meet it")
        for kind, given in (("keys", keys), ("weights", weights)):
            if unknown := sorted(set(given or {}) - set(pairs)):
                raise NotFound.named(f"modality of {kind}", unknown[0], pairs)
        if self.hidden < 0 or not 0 <= self.dropout < 1:
            raise BadInput(f"hidden must be at least 0 and dropout in [0, 1): {self!r}")
        training = Training(
            weight_fn=self._weight_fn(),
            steps=self.steps,
            batch=self.batch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            tau=self.tau,
            seed=seed,
        )
        data = {m: matrix(x, f"pairs[{m!r}]").astype(np.float32) for m, x in pairs.items()}
        raw = unit(data[self.locked], self.locked)
        mean = raw.mean(0)
        frozen = torch.from_numpy(unit(raw - mean))
        self.history_: dict[str, list[dict[str, float]]] = {}
        maps: dict[str, Steps] = {
            self.locked: ([{"op": "normalise"}, {"op": "centre", "mean": "mean"}], {"mean": mean})
        }
        for m, x in data.items():
            if m == self.locked:
                continue
            both = {name: len(data[name]) for name in (m, self.locked)}
            own = {kind: {n: g[n] for n in both if n in g} for kind, g in (("keys", keys), ("weights", weights)) if g}
            items = Items.of(both, **own)
            centre, spread = x.mean(0), x.std(0) + 1e-6
            features = torch.from_numpy((x - centre) / spread)
            with seeded(seed):
                tower = self._tower(x.shape[1], frozen.shape[1])
            heard = _Draws(items, m, features, seed)
            said = _Draws(items, self.locked, frozen, seed + 1)
            fit = fit_locked(tower, heard.arguments, said, training=training, progress=progress)
            self.history_[m] = fit.history
            maps[m] = _steps(tower, centre, spread)
        self.sides_ = {
            m: Map([*steps, {"op": "normalise"}], tensors, _anonymous(m, data[m].shape[1]))
            for m, (steps, tensors) in maps.items()
        }
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

    def _weight_fn(self) -> WeightFn:
        known = {"softmax": sharpened(self.sharpness, centre=False), "affine": affine}
        if self.weights not in known:
            raise NotFound.named("weights", str(self.weights), known)
        return known[self.weights]

    def _tower(self, d: int, out: int) -> nn.Sequential:
        """Return a map of standardised vectors: linear, or with one hidden layer."""
        drop = nn.Dropout(self.dropout)
        if not self.hidden:
            return nn.Sequential(drop, nn.Linear(d, out))
        return nn.Sequential(
            drop, nn.Linear(d, self.hidden), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(self.hidden, out)
        )


@dataclass
class _Draws:
    """The vectors of one modality by item: of an item with several records, each time one of them."""

    items: Items
    modality: str
    x: Tensor
    seed: int

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def __len__(self) -> int:
        return self.items.n

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.x[self.items.draw(rows, self.generator)[self.modality]]

    def arguments(self, rows: Tensor) -> tuple[Tensor]:
        """Return what a tower is called with."""
        return (self[rows],)


def _steps(tower: nn.Sequential, centre: np.ndarray, spread: np.ndarray) -> Steps:
    """Return the steps of a tower in evaluation mode on vectors that are not standardised yet."""
    steps: list[dict[str, Any]] = [{"op": "centre", "mean": "centre"}, {"op": "scale", "factor": "factor"}]
    tensors = {"centre": centre, "factor": 1 / spread}
    for number, part in enumerate(tower):
        if isinstance(part, nn.Linear):
            names = {"weight": f"{number}.weight", "bias": f"{number}.bias"}
            tensors |= {name: getattr(part, kind).detach().numpy().copy() for kind, name in names.items()}
            steps.append({"op": "linear", **names})
        elif isinstance(part, nn.GELU):
            steps.append({"op": "gelu"})
    return steps, tensors


def _anonymous(modality: str, d: int) -> Fingerprint:
    """Return the fingerprint of vectors whose encoder the estimator does not know."""
    return Fingerprint(
        encoder="unknown", modality=modality, dim=d, weights="", preprocess="", pooling="", normalised=False
    )
