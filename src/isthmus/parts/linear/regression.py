"""The affine map of least squares, with or without a ridge."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import scipy.linalg

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import pair
from isthmus.parts.linear.applied import checked, linear, positive
from isthmus.parts.linear.moments import host, moments
from isthmus.parts.params import Params

__all__ = ["LeastSquares"]


class LeastSquares(Params):
    """The map x → (x − mean x)·W + mean y that minimises Σ ‖yᵢ − f(xᵢ)‖² + n·ρ·t·‖W‖².

        W = (S_xx + n·ρ·t·I)⁻¹ S_xy,   t = tr(S_xx) / (n·d)

    `ridge` is ρ, so that it does not depend on the scale of x: 0 is plain least squares, `intercept` False keeps the
    origin in its place. `coef_` (d, e), `mean_x_`, `mean_y_`.

    Relations: y = xA + b → exactly A and b; ρ → ∞ → the mean of y; no ridge and rotated data → the rotation.
    Raises `BadInput` where there is no ridge and the rows do not span all directions, naming both counts.
    """

    def __init__(self, *, ridge: float = 0.0, intercept: bool = True) -> None:
        self.ridge = ridge
        self.intercept = intercept

    def fit(self, x: Any, y: Any) -> Self:
        """Fit on paired rows (n, d) and (n, e), or (n,) for one number a row; return the map."""
        return self.fit_rows([_paired(x, y, type(self).__name__)])

    def fit_rows(self, blocks: Iterable[Any]) -> Self:
        """Fit on blocks (x, y) of paired rows, with the memory of one of them."""
        positive("ridge", self.ridge, zero=True)
        found = moments(blocks, ("xx", "xy"))
        if not self.intercept:
            found = found.about_zero()
        assert found.xx is not None and found.xy is not None
        d = len(found.xx)
        penalty = self.ridge * float(np.trace(found.xx)) / d
        if self.ridge == 0:
            values = scipy.linalg.eigvalsh(found.xx)
            # second moments have the square of the data's condition: float32 rows tell 1e-7 of it apart
            rank = int((values > max(values[-1], 0) * 1e-7).sum())
            if rank < d:
                raise BadInput(
                    f"{found.n} rows (n_samples = {found.n}) of width {d} span {rank} directions: plain least squares "
                    f"needs all {d}; set ridge above 0, or give more pairs"
                )
        elif penalty == 0:
            raise BadInput(f"the {found.n} rows of x do not vary: there is nothing to fit on")
        self.coef_ = scipy.linalg.solve(found.xx + penalty * np.eye(d), found.xy, assume_a="pos")
        self.mean_x_, self.mean_y_ = found.mean_x, found.mean_y
        self.n_features_in_ = d
        return self

    def fit_transform(self, x: Any, y: Any) -> Any:
        """Fit, and map the same rows."""
        return self.fit(x, y).transform(x)

    def transform(self, x: Any) -> Any:
        """Return (n, e), the rows in the space of y."""
        return linear(checked(self, x, "coef_"), self.mean_x_, self.coef_, self.mean_y_)

    def inverse_transform(self, y: Any) -> Any:
        """Return (n, d): the shortest x (from the mean) that comes closest to y; exact where W has an inverse."""
        y = checked(self, y, "coef_", len(self.mean_y_) if hasattr(self, "coef_") else 0)
        return linear(y, self.mean_y_, np.linalg.pinv(self.coef_), self.mean_x_)


def _paired(x: Any, y: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return two checked tables of paired rows; what is not fitted on pairs is said in words."""
    if y is None:
        raise BadInput(f"{name} is fitted on pairs: it requires y to be passed, but the target y is None")
    other = np.asarray(host(y))
    return pair(host(x), other[:, None] if other.ndim == 1 else other, ("x", "y"), paired=True)
