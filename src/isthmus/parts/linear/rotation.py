"""The best rotation of one set of vectors onto another, and one that wrong pairs do not bend."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.parts.linear.applied import checked, linear, positive
from isthmus.parts.linear.moments import Moments, moments
from isthmus.parts.linear.regression import _paired
from isthmus.parts.params import Params

__all__ = ["Procrustes", "RobustProcrustes"]


class Procrustes(Params):
    """The map x → s·(x − mean x)·R + mean y that minimises Σ ‖yᵢ − f(xᵢ)‖² over rotations and reflections R.

        S_xy = UΣVᵀ,   R = UVᵀ,   s = tr(Σ) / tr(S_xx) with `scaling`, else 1     (Schönemann 1966)

    Of unequal widths the narrower side is taken as one with zeros at its end: R (d, e) then has orthonormal rows or
    columns. `rotation_`, `scale_`, `mean_x_`, `mean_y_`; without `centring` the means are 0.

    Relations: y = sxQ + b → exactly Q, s and b; equal widths → lengths and angles about the mean are kept.
    Raises `BadInput` where the two sides have nothing in common to rotate by.
    """

    def __init__(self, *, scaling: bool = False, centring: bool = True) -> None:
        self.scaling = scaling
        self.centring = centring

    def fit(self, x: Any, y: Any) -> Self:
        """Fit on paired rows (n, d) and (n, e) and return the map."""
        return self.fit_rows([_paired(x, y, type(self).__name__)])

    def fit_rows(self, blocks: Iterable[Any]) -> Self:
        """Fit on blocks (x, y) of paired rows, with the memory of one of them."""
        found = moments(blocks, ("xx", "xy") if self.scaling else ("xy",))
        found = found if self.centring else found.about_zero()
        self.rotation_, self.scale_ = _rotation(found, self.scaling)
        self.mean_x_, self.mean_y_ = found.mean_x, found.mean_y
        self.n_features_in_ = len(found.mean_x)
        return self

    def fit_transform(self, x: Any, y: Any) -> Any:
        """Fit, and map the same rows."""
        return self.fit(x, y).transform(x)

    def transform(self, x: Any) -> Any:
        """Return (n, e), the rows in the space of y."""
        x = checked(self, x, "rotation_")
        return linear(x, self.mean_x_, self.scale_ * self.rotation_, self.mean_y_)

    def inverse_transform(self, y: Any) -> Any:
        """Return (n, d), rotated back; exact where d ≤ e."""
        y = checked(self, y, "rotation_", len(self.mean_y_) if hasattr(self, "rotation_") else 0)
        return linear(y, self.mean_y_, self.rotation_.T / self.scale_, self.mean_x_)


class RobustProcrustes(Params):
    """`Procrustes` under Σ ‖yᵢ − f(xᵢ)‖, not squared: pairs that are far off count no more than near ones.

    Iteratively reweighted: each of up to `steps` passes fits with weights 1 / ‖yᵢ − f(xᵢ)‖, until the sum changes by
    less than `tol` of itself. All rows must be at hand. `weights_` (n,) says how much each pair counted, at most 1.

    Relations: no wrong pair → `Procrustes`; a third of the pairs shuffled → nearly the same rotation.
    """

    def __init__(self, *, scaling: bool = False, centring: bool = True, steps: int = 50, tol: float = 1e-6) -> None:
        self.scaling = scaling
        self.centring = centring
        self.steps = steps
        self.tol = tol

    def fit(self, x: Any, y: Any) -> Self:
        """Fit on paired rows (n, d) and (n, e) and return the map."""
        positive("steps", self.steps)
        positive("tol", self.tol, zero=True)
        a, b = (table.astype(np.float64) for table in _paired(x, y, type(self).__name__))
        weights = np.ones(len(a))
        last = np.inf
        for _ in range(self.steps):
            found = _weighted(a, b, weights, centring=self.centring)
            rotation, scale = _rotation(found, self.scaling)
            off = np.linalg.norm((a - found.mean_x) @ (scale * rotation) + found.mean_y - b, axis=1)
            # a pair that fits exactly would weigh without bound; a thousandth of the typical gap is as good as exact
            floor = max(1e-3 * float(np.median(off)), 1e-9 * float(np.abs(b).max()), np.finfo(float).tiny)
            weights = floor / np.maximum(off, floor)
            self.rotation_, self.scale_, self.mean_x_, self.mean_y_ = rotation, scale, found.mean_x, found.mean_y
            if abs(last - off.sum()) <= self.tol * off.sum():
                break
            last = float(off.sum())
        self.weights_ = weights
        self.n_features_in_ = a.shape[1]
        return self

    def fit_transform(self, x: Any, y: Any) -> Any:
        """Fit, and map the same rows."""
        return self.fit(x, y).transform(x)

    def transform(self, x: Any) -> Any:
        """Return (n, e), the rows in the space of y."""
        x = checked(self, x, "rotation_")
        return linear(x, self.mean_x_, self.scale_ * self.rotation_, self.mean_y_)

    def inverse_transform(self, y: Any) -> Any:
        """Return (n, d), rotated back; exact where d ≤ e."""
        y = checked(self, y, "rotation_", len(self.mean_y_) if hasattr(self, "rotation_") else 0)
        return linear(y, self.mean_y_, self.rotation_.T / self.scale_, self.mean_x_)


def _rotation(found: Moments, scaling: bool) -> tuple[Float[np.ndarray, "d e"], float]:
    """Return R and s of the second moments."""
    assert found.xy is not None
    u, values, vt = np.linalg.svd(found.xy, full_matrices=False)
    if not values[0] > 0:
        raise BadInput(
            f"{found.n} pairs (n_samples = {found.n}) say nothing of how x and y go together: one side does not vary"
        )
    if not scaling:
        return u @ vt, 1.0
    assert found.xx is not None
    return u @ vt, float(values.sum() / np.trace(found.xx))


def _weighted(a: np.ndarray, b: np.ndarray, weights: np.ndarray, *, centring: bool) -> Moments:
    """Return the moments of rows that count unequally."""
    share = weights / weights.sum()
    x, y = (share @ a, share @ b) if centring else (np.zeros(a.shape[1]), np.zeros(b.shape[1]))
    near_x, near_y = (a - x) * weights[:, None], b - y
    return Moments(len(a), x, y, near_x.T @ (a - x), near_x.T @ near_y, None)
