"""`EvenMaps`: the loss on stored vectors, as an estimator that the workbench fits and exports."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.methods.objectives.contrastive_gap.loss import CLIP, CUA, CUAXU, CYCLIP, clip_plus
from isthmus.parts.params import Params
from isthmus.parts.projection import fit_projections
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint

__all__ = ["LOSSES", "EvenMaps"]

LOSSES: Mapping[str, Mapping[str, float]] = {"clip": CLIP, "cua": CUA, "cuaxu": CUAXU, "cyclip": CYCLIP}
"""The weights of the paper's losses, and of what it compares with."""


class EvenMaps(Params):
    """Linear maps into one space in which no plane tells the modalities apart: CLIP's loss plus gap closers.

    `loss` is "cua" (contrast, uniformity, alignment), "cuaxu" (cross-modal uniformity too), or what they are compared
    with: "clip" and "cyclip". The temperature `tau` is fixed, as in the paper.
    """

    def __init__(
        self,
        *,
        loss: Literal["cua", "cuaxu", "clip", "cyclip"] = "cua",
        width: int = 128,
        tau: float = 0.03,
        dropout: float = 0.3,
        steps: int = 300,
        batch: int = 128,
        lr: float = 3e-3,
        weight_decay: float = 0.05,
    ) -> None:
        self.loss: Literal["cua", "cuaxu", "clip", "cyclip"] = loss
        self.width = width
        self.tau = tau
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
        """Fit on vectors {modality: (n, d)} and return the estimator; `history_` holds every step's terms.

        `keys` and `weights` are as in `isthmus.parts.projection.fit_projections`.

        Raises:
            BadInput: for vectors that are not finite (n, d) tables, settings out of range, or unpaired records.
            NotFound: for an unknown loss.
        """
        if self.loss not in LOSSES:
            raise NotFound.named("loss", str(self.loss), LOSSES)
        if not self.tau > 0:
            raise BadInput(f"tau = {self.tau} must be positive")
        heads, self.history_ = fit_projections(
            pairs,
            lambda a, b: clip_plus(a, b, LOSSES[self.loss], self.tau),
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
