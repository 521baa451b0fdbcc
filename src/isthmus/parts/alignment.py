"""The closed-form maps as estimators that `align` fits: no training, no torch, seconds for any number of pairs.

Vectors are normalised and averaged over the records of an item, in proportion to their weights. One modality, `onto`,
keeps its geometry and only loses its mean; every other is mapped onto it from the items that both have:

    procrustes   the best rotation (`linear.Procrustes`): nothing is stretched; needs few pairs
    affine       plain least squares (`linear.LeastSquares`): needs many more pairs than dimensions
    ridge        least squares that shrinks what the pairs do not settle
    cca          directions of two modalities that go together, each scaled by its correlation

Relations: a modality that is another one rotated → procrustes finds it exactly, and both maps agree.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.metrics.vectors import matrix, unit
from isthmus.parts.linear import LeastSquares, Moments, Procrustes
from isthmus.parts.linear.applied import checked, linear
from isthmus.parts.linear.canonical import canonical
from isthmus.parts.linear.moments import moments
from isthmus.parts.params import Params

__all__ = ["AffineMaps", "CanonicalMaps", "ProcrustesMaps", "RidgeMaps", "item_means"]

USES = {
    "procrustes": {"align": "ProcrustesMaps"},
    "affine": {"align": "AffineMaps"},
    "ridge": {"align": "RidgeMaps"},
    "cca": {"align": "CanonicalMaps"},
}

Table = Float[np.ndarray, "n d"]


class _Maps(Params):
    """What fitted maps do: `sides_` {modality: (mean (d,), weight (d, e))}, None for a weight that changes nothing."""

    sides_: dict[str, tuple[np.ndarray, np.ndarray | None]]

    def transform(self, modality: str, x: Any) -> Any:
        """Map (n, d) vectors of a modality to unit vectors of the space; numpy gives numpy, torch gives torch.

        Raises `NotFound` for a modality that it was not fitted on, `BadInput` before `fit` or for another width.
        """
        if hasattr(self, "sides_") and modality not in self.sides_:
            raise NotFound.named("modality", modality, self.sides_)
        width = len(self.sides_[modality][0]) if hasattr(self, "sides_") else 0
        x = checked(self, x, "sides_", width)
        mean, weight = self.sides_[modality]
        return _unit(linear(_unit(x), mean, np.eye(width) if weight is None else weight, np.zeros(1)))

    def maps(self) -> dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]]:
        """Return {modality: (steps, tensors)} for `isthmus.space`."""
        if not hasattr(self, "sides_"):
            raise BadInput(f"{type(self).__name__} is not fitted yet; call fit first")
        found: dict[str, tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]] = {}
        for m, (mean, weight) in self.sides_.items():
            steps: list[dict[str, Any]] = [{"op": "normalise"}, {"op": "centre", "mean": "mean"}]
            tensors = {"mean": mean}
            if weight is not None:
                steps.append({"op": "linear", "weight": "weight"})
                tensors["weight"] = weight.T
            found[m] = ([*steps, {"op": "normalise"}], tensors)
        return found


class ProcrustesMaps(_Maps):
    """Rotations of the other modalities onto one: `onto`, the widest where none is named."""

    def __init__(self, *, onto: str | None = None) -> None:
        self.onto = onto

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} whose records belong together by key; see `AffineMaps.fit`."""
        self.sides_ = _onto(Procrustes(), self.onto, item_means(pairs, keys, weights))
        return self


class AffineMaps(_Maps):
    """Least-squares maps of the other modalities onto one: `onto`, the widest where none is named."""

    def __init__(self, *, onto: str | None = None) -> None:
        self.onto = onto

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

        Records of different modalities belong together when their `keys` {modality: (n,)} are equal; without keys row
        i belongs to row i. `weights` {modality: (n,)} says how much a record counts within its item. `seed` and
        `progress` are taken as every estimator of `align` takes them, and change nothing.

        Raises `BadInput` for fewer than two modalities, items that no two share, rows that are not finite or have no
        direction, or fewer shared items than directions, naming both numbers; `NotFound` for an unknown `onto`.
        """
        self.sides_ = _onto(LeastSquares(), self.onto, item_means(pairs, keys, weights))
        return self


class RidgeMaps(_Maps):
    """Ridge maps of the other modalities onto one: `onto`, the widest where none is named."""

    def __init__(self, *, onto: str | None = None, ridge: float = 0.1) -> None:
        self.onto = onto
        self.ridge = ridge

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors {modality: (n, d)} whose records belong together by key; see `AffineMaps.fit`."""
        if not self.ridge > 0:
            raise BadInput(f"ridge = {self.ridge} must be above 0; without one it is the method affine")
        self.sides_ = _onto(LeastSquares(ridge=self.ridge), self.onto, item_means(pairs, keys, weights))
        return self


class CanonicalMaps(_Maps):
    """The `width` (at most) directions of two modalities that correlate most, scaled by their correlations."""

    def __init__(self, *, width: int = 512, ridge: float = 0.1) -> None:
        self.width = width
        self.ridge = ridge

    def fit(
        self,
        pairs: Mapping[str, Any],
        *,
        keys: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Fit on vectors of two modalities whose records belong together by key; see `AffineMaps.fit`.

        Raises `BadInput` for more than two modalities: `projectors` brings any number together.
        """
        items = item_means(pairs, keys, weights)
        if len(items) != 2:
            raise BadInput(f"cca joins two modalities, got {sorted(items)}; the method projectors takes more")
        (a, (x_keys, x)), (b, (y_keys, y)) = items.items()
        rows = _shared(a, x_keys, b, y_keys)
        found: Moments = moments([(x[rows[0]], y[rows[1]])])
        left, right, self.correlations_ = canonical(found, min(self.width, x.shape[1], y.shape[1]), self.ridge)
        self.sides_ = {
            a: (found.mean_x, left * self.correlations_),
            b: (found.mean_y, right * self.correlations_),
        }
        return self


def _onto(
    model: Any, onto: str | None, items: Mapping[str, tuple[np.ndarray, Table]]
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return the mean and weight of each modality; that of `onto` has no weight."""
    if onto is not None and onto not in items:
        raise NotFound.named("modality to map onto", onto, items)
    target = onto or max(sorted(items), key=lambda m: items[m][1].shape[1])
    keys, y = items[target]
    sides: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for m, (own, x) in items.items():
        if m == target:
            sides[m] = (y.mean(axis=0), None)
            continue
        rows = _shared(m, own, target, keys)
        fitted = model.fit(x[rows[0]], y[rows[1]])
        weight = fitted.coef_ if isinstance(fitted, LeastSquares) else fitted.rotation_
        sides[m] = (fitted.mean_x_, weight)
    return sides


def item_means(
    pairs: Mapping[str, Any], keys: Mapping[str, Any] | None, weights: Mapping[str, Any] | None
) -> dict[str, tuple[np.ndarray, Table]]:
    """Return {modality: (keys (n,), mean vectors (n, d))} of items, in the order of their keys."""
    if len(pairs) < 2:
        raise BadInput(f"at least two modalities are needed, got {list(pairs)}")
    if keys is None and len({len(x) for x in pairs.values()}) > 1:
        sizes = {m: len(x) for m, x in pairs.items()}
        raise BadInput(f"without keys every modality needs the same number of rows, got {sizes}")
    items = {}
    for m, given in pairs.items():
        x = unit(matrix(given, m).astype(np.float64), m)
        own = np.arange(len(x)) if keys is None else np.asarray(keys[m])
        share = np.ones(len(x)) if weights is None or m not in weights else np.asarray(weights[m], dtype=np.float64)
        if own.shape != (len(x),) or share.shape != (len(x),) or not (share > 0).all():
            raise BadInput(f"{m} has {len(x)} rows, {own.shape} keys and {share.shape} weights; weights are above 0")
        names, place = np.unique(own, return_inverse=True)
        total = np.zeros((len(names), x.shape[1]))
        np.add.at(total, place, x * share[:, None])
        items[m] = (names, total / np.bincount(place, share)[:, None])
    return items


def _shared(a: str, first: np.ndarray, b: str, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the items that both have."""
    _, i, j = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    if len(i) < 2:
        raise BadInput(
            f"{a} has {len(first)} items and {b} has {len(second)}, and they share {len(i)}: at least 2 are needed, "
            f"and records belong together when their keys are equal"
        )
    return i, j


def _unit(x: Any) -> Any:
    """Return rows of length 1; a row of zeros stays zero, as in a space."""
    length = (x * x).sum(-1)[:, None] ** 0.5
    return x / (length + (length == 0))
