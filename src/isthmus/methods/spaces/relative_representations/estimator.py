"""Anchors alone as the common space of any number of modalities, as an estimator that `align` fits: no training."""

from collections.abc import Mapping
from functools import reduce
from typing import Any, Literal, Self

import array_api_compat
import numpy as np

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.methods.spaces.relative_representations.anchors import Anchors, choose_anchors
from isthmus.parts.alignment import item_means
from isthmus.parts.linear import RelativeProjection
from isthmus.parts.linear.applied import checked, like
from isthmus.parts.params import Params

__all__ = ["RelativeRepresentations"]

EPS = 1e-12


class RelativeRepresentations(Params):
    """A common space whose k coordinates are the cosines to `anchors` (at most) items that all modalities have.

    Vectors are normalised, the mean of the items taken off, and each row of similarities brought to mean 0 and variance
    1. Of these only the largest count: those below the (1 − `keep`) quantile of their modality become 0, the others
    what they are above it; with `keep` 1 all count. `how` chooses the anchors by the vectors of the first modality in
    alphabetical order.
    `anchors_` are their names.

    The default `keep` was chosen on validation concepts of OpenMoji (EfficientNet-Lite0 and E5, English names).
    A row whose every coordinate is below becomes zeros, as can happen where `keep` is very small.
    """

    def __init__(
        self, *, anchors: int = 2000, how: Literal["uniform", "farthest", "kmeans"] = "uniform", keep: float = 0.05
    ) -> None:
        self.anchors = anchors
        self.how = how
        self.keep = keep

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

        Records belong together when their `keys` {modality: (n,)} are equal; without keys row i belongs to row i.
        `weights` {modality: (n,)} says how much a record counts within its item, `seed` draws the anchors.

        Raises `BadInput` for settings out of range, fewer than two modalities, or fewer than 2 items that all of them
        have, naming the counts: these are the anchors.
        """
        if self.anchors < 2 or not 0 < self.keep <= 1:
            raise BadInput(f"{self!r}: at least 2 anchors are needed, and keep is a share in (0, 1]")
        items = item_means(pairs, keys, weights)
        shared = reduce(np.intersect1d, [own for own, _ in items.values()])
        if len(shared) < 2:
            sizes = {m: len(own) for m, (own, _) in items.items()}
            raise BadInput(
                f"anchors are items that all modalities have, and {len(shared)} of {sizes} are: at least 2 are needed; "
                f"records belong together when their keys are equal"
            )
        own, vectors = items[min(items)]
        chosen = choose_anchors(
            vectors[np.searchsorted(own, shared)], min(self.anchors, len(shared)), self.how, seed=seed
        )
        named = shared[chosen]
        self.anchors_ = Anchors.of(named.tolist(), range(len(named)))
        self.sides_: dict[str, tuple[np.ndarray, RelativeProjection, float]] = {}
        for m, (own, x) in items.items():
            mean = x.mean(axis=0)
            projection = RelativeProjection().fit((x - mean)[np.searchsorted(own, named)])
            r = _layernorm(projection.transform(x - mean))
            self.sides_[m] = (mean, projection, float(np.quantile(r, 1 - self.keep)))
        return self

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to unit vectors of the space; numpy gives numpy, torch gives torch.

        Raises `NotFound` for a modality that it was not fitted on, `BadInput` before `fit` or for another width.
        """
        if hasattr(self, "sides_") and modality not in self.sides_:
            raise NotFound.named("modality", modality, self.sides_)
        x = checked(self, x, "sides_", len(self.sides_[modality][0]) if hasattr(self, "sides_") else 0)
        mean, projection, least = self.sides_[modality]
        xp = array_api_compat.array_namespace(x)
        r = _layernorm(projection.transform(_unit(_unit(x) - like(x, mean)[0])))
        return _unit(r if self.keep == 1 else xp.maximum(r - least, xp.zeros_like(r)))

    def maps(self) -> dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]]:
        """Return {modality: (steps, tensors)} for `isthmus.space`."""
        if not hasattr(self, "sides_"):
            raise BadInput(f"{type(self).__name__} is not fitted yet; call fit first")
        found: dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]] = {}
        for m, (mean, projection, least) in self.sides_.items():
            steps: list[dict[str, Any]] = [
                {"op": "normalise"},
                {"op": "centre", "mean": "mean"},
                {"op": "normalise"},
                {"op": "linear", "weight": "anchors"},
                {"op": "layernorm", "eps": EPS},
            ]
            tensors = {"mean": mean, "anchors": projection.anchors_}
            if self.keep < 1:
                steps += [{"op": "centre", "mean": "least"}, {"op": "relu"}]
                tensors["least"] = np.full(len(projection.anchors_), least)
            found[m] = ([*steps, {"op": "normalise"}], tensors)
        return found


def _unit(x: Any) -> Any:
    """Return rows of length 1; a row of zeros stays zero, as in a space."""
    length = (x * x).sum(-1)[:, None] ** 0.5
    return x / (length + (length == 0))


def _layernorm(r: Any) -> Any:
    """Return rows of mean 0 and variance 1."""
    centred = r - r.mean(-1)[:, None]
    return centred / ((centred * centred).mean(-1)[:, None] + EPS) ** 0.5
