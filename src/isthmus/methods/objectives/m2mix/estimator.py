"""`MixMaps`: the losses on stored vectors, as an estimator that the workbench fits and exports."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.methods.objectives.m2mix.loss import M3, draw_share, m3_loss
from isthmus.parts.params import Params
from isthmus.parts.projection import fit_projections
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint

__all__ = ["MixMaps"]


class MixMaps(Params):
    """Linear maps into one space, trained by contrast and against negatives mixed on the sphere of both modalities.

    `loss` is "m2", "m3" (mixtures within a modality too), or "none", what they are compared with; `weight` is that of
    the loss "m2", whose temperature is `tau_mixed`. λ is drawn from Beta(`beta`, `beta`) each step.
    """

    def __init__(
        self,
        *,
        loss: Literal["m2", "m3", "none"] = "m2",
        weight: float = 0.05,
        beta: float = 0.5,
        tau: float = 0.03,
        tau_mixed: float = 0.07,
        width: int = 128,
        dropout: float = 0.3,
        steps: int = 300,
        batch: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.05,
    ) -> None:
        self.loss: Literal["m2", "m3", "none"] = loss
        self.weight = weight
        self.beta = beta
        self.tau = tau
        self.tau_mixed = tau_mixed
        self.width = width
        self.dropout = dropout
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} and return the estimator; `history_` holds every step's losses.

        `keys` and `weights` are as in `isthmus.parts.projection.fit_projections`.

        Raises:
            BadInput: for vectors that are not finite (n, d) tables, settings out of range, or unpaired records.
            NotFound: for an unknown loss.
        """
        kinds: dict[str, Mapping[str, float]] = {
            "m2": {"m2": self.weight},
            "m3": {**M3, "m2": self.weight},
            "none": {},
        }
        if self.loss not in kinds:
            raise NotFound.named("loss", str(self.loss), kinds)
        mixed = kinds[self.loss]
        generator = torch.Generator().manual_seed(seed)

        def of_pairs(a: Tensor, b: Tensor) -> Mapping[str, Tensor]:
            shares = {name: draw_share(self.beta, generator) for name in mixed}
            return m3_loss(a, b, mixed, tau=self.tau, tau_mixed=self.tau_mixed, shares=shares)

        heads, self.history_ = fit_projections(
            pairs,
            of_pairs,
            width=self.width,
            dropout=self.dropout,
            steps=self.steps,
            batch=self.batch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            keys=keys,
            weights=weights,
            seed=seed,
            progress=progress,
        )
        self.sides_ = {m: Map(*head.steps(), _anonymous(m, head.linear.in_features)) for m, head in heads.items()}
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


def _anonymous(modality: str, d: int) -> Fingerprint:
    """Return the fingerprint of vectors whose encoder the estimator does not know."""
    return Fingerprint(
        encoder="unknown", modality=modality, dim=d, weights="", preprocess="", pooling="", normalised=False
    )
