"""Canonical correlation analysis from second moments: the directions of two sets of vectors that go together."""

import warnings
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import scipy.linalg
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.parts.linear.applied import checked, linear, positive
from isthmus.parts.linear.moments import Moments, moments
from isthmus.parts.linear.regression import _paired
from isthmus.parts.params import Params

__all__ = ["CanonicalDirections", "canonical"]


class CanonicalDirections(Params):
    """The k directions of x and of y whose projections correlate most (Hotelling 1936, with a ridge).

        C_xx = S_xx/n + ρ·tr(S_xx)/(n·d)·I,   C_xx^-½ C_xy C_yy^-½ = UΣVᵀ,   W_x = C_xx^-½ U_k,  W_y = C_yy^-½ V_k

    `transform` maps rows of x to (x − mean x)·W_x, `transform_y` rows of y likewise. `correlations_` (k,) are the
    singular values, largest first; `weights_x_` (d, k), `weights_y_` (e, k). `k` None keeps as many as there are.

    Relations: y = xA + b with A invertible and no ridge → all correlations 1; W_xᵀC_xxW_x = I, W_xᵀC_xyW_y = Σ; an
    invertible map of either side changes no correlation where there is no ridge.
    Raises `BadInput` where there is no ridge and a side does not span all of its directions. Warns where there are
    fewer pairs than d + e and no ridge: correlations of 1 then say nothing.
    """

    def __init__(self, *, k: int | None = None, ridge: float = 0.0) -> None:
        self.k = k
        self.ridge = ridge

    def fit(self, x: Any, y: Any) -> Self:
        """Fit on paired rows (n, d) and (n, e) and return the map."""
        return self.fit_rows([_paired(x, y, type(self).__name__)])

    def fit_rows(self, blocks: Iterable[Any]) -> Self:
        """Fit on blocks (x, y) of paired rows, with the memory of one of them."""
        found = moments(blocks)
        self.weights_x_, self.weights_y_, self.correlations_ = canonical(found, self.k, self.ridge)
        self.mean_x_, self.mean_y_ = found.mean_x, found.mean_y
        self.n_features_in_ = len(found.mean_x)
        return self

    def fit_transform(self, x: Any, y: Any) -> Any:
        """Fit, and map the same rows of x."""
        return self.fit(x, y).transform(x)

    def transform(self, x: Any) -> Any:
        """Return (n, k), rows of x in the common directions."""
        x = checked(self, x, "weights_x_")
        return linear(x, self.mean_x_, self.weights_x_, np.zeros(self.weights_x_.shape[1]))

    def transform_y(self, y: Any) -> Any:
        """Return (n, k), rows of y in the common directions."""
        y = checked(self, y, "weights_y_", len(self.mean_y_) if hasattr(self, "weights_y_") else 0)
        return linear(y, self.mean_y_, self.weights_y_, np.zeros(self.weights_y_.shape[1]))

    def inverse_transform(self, z: Any) -> Any:
        """Return (n, d): the shortest x (from the mean) with the projections z (n, k); exact where k = d."""
        z = checked(self, z, "weights_x_", len(self.correlations_) if hasattr(self, "correlations_") else 0)
        return linear(z, np.zeros(z.shape[1]), np.linalg.pinv(self.weights_x_), self.mean_x_)


def canonical(
    found: Moments, k: int | None, ridge: float
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "e k"], Float[np.ndarray, " k"]]:
    """Return W_x, W_y and the correlations of second moments; see `CanonicalDirections`."""
    positive("ridge", ridge, zero=True)
    assert found.xx is not None and found.xy is not None and found.yy is not None
    most = min(found.xy.shape)
    k = most if k is None else k
    if not 1 <= k <= most:
        raise BadInput(f"k = {k}: sides of widths {found.xy.shape} have 1 to {most} common directions")
    if ridge == 0 and found.n <= sum(found.xy.shape):
        warnings.warn(
            f"{found.n} pairs for widths {found.xy.shape}: with fewer pairs than {sum(found.xy.shape) + 1} and no "
            f"ridge some correlations are 1 whatever the data",
            RuntimeWarning,
            stacklevel=3,
        )
    left, right = (_whitened(s, found.n, ridge, name) for s, name in ((found.xx, "x"), (found.yy, "y")))
    u, values, vt = np.linalg.svd(left @ (found.xy / found.n) @ right)
    return left @ u[:, :k], right @ vt[:k].T, np.clip(values[:k], 0, 1)


def _whitened(scatter: np.ndarray, n: int, ridge: float, name: str) -> Float[np.ndarray, "d d"]:
    """Return C^-½ of a scatter."""
    d = len(scatter)
    values, directions = scipy.linalg.eigh(scatter / n)
    mean = float(values.clip(min=0).mean())
    rank = int((values > max(values[-1], 0) * 1e-7).sum())
    if mean == 0 or (ridge == 0 and rank < d):
        raise BadInput(
            f"{n} rows (n_samples = {n}) of {name}, of width {d}, span {rank if mean else 0} directions: without a "
            f"ridge all {d} are needed; set ridge above 0, or give more pairs"
        )
    whitened: Float[np.ndarray, "d d"] = (directions / np.sqrt(values.clip(min=0) + ridge * mean)) @ directions.T
    return whitened
