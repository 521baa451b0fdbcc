"""Maps of one set of vectors, column by column: `Centre` and `Standardise`."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix
from isthmus.parts.linear.applied import checked, like
from isthmus.parts.linear.moments import halves, host
from isthmus.parts.params import Params

__all__ = ["Centre", "Standardise"]


class Centre(Params):
    """x − mean of the fitted rows; `mean_` (d,)."""

    def fit(self, x: Any, y: Any = None) -> Self:
        """Fit on (n, d) and return the map; `y` is ignored."""
        return self.fit_rows([matrix(host(x), "x")])

    def fit_rows(self, blocks: Iterable[Any]) -> Self:
        """Fit on blocks of rows, with the memory of one of them."""
        _, self.mean_, _ = _spread(blocks)
        self.n_features_in_ = len(self.mean_)
        return self

    def fit_transform(self, x: Any, y: Any = None) -> Any:
        """Fit, and map the same rows."""
        return self.fit(x).transform(x)

    def transform(self, x: Any) -> Any:
        """Return x without the mean."""
        x = checked(self, x, "mean_")
        return x - like(x, self.mean_)[0]

    def inverse_transform(self, x: Any) -> Any:
        """Return x with the mean."""
        x = checked(self, x, "mean_")
        return x + like(x, self.mean_)[0]


class Standardise(Params):
    """(x − mean) / deviation of each column; `mean_` and `scale_` (d,).

    Raises `BadInput` when columns are constant, naming how many: they have no deviation to divide by.
    """

    def fit(self, x: Any, y: Any = None) -> Self:
        """Fit on (n, d) with n ≥ 2 and return the map; `y` is ignored."""
        return self.fit_rows([matrix(host(x), "x")])

    def fit_rows(self, blocks: Iterable[Any]) -> Self:
        """Fit on blocks of rows, with the memory of one of them."""
        n, mean, deviation = _spread(blocks)
        if n < 2:
            raise BadInput(f"Standardise needs at least 2 rows, got {n} sample")
        constant = np.flatnonzero(deviation <= 1e-7 * np.abs(mean))
        if len(constant):
            raise BadInput(
                f"{len(constant)} of {len(mean)} columns are constant, the first is column {constant[0]}: leave them "
                f"out, or use Centre"
            )
        self.mean_, self.scale_, self.n_features_in_ = mean, deviation, len(mean)
        return self

    def fit_transform(self, x: Any, y: Any = None) -> Any:
        """Fit, and map the same rows."""
        return self.fit(x).transform(x)

    def transform(self, x: Any) -> Any:
        """Return the standardised rows."""
        x = checked(self, x, "scale_")
        mean, scale = like(x, self.mean_, self.scale_)
        return (x - mean) / scale

    def inverse_transform(self, x: Any) -> Any:
        """Return rows in their own units."""
        x = checked(self, x, "scale_")
        mean, scale = like(x, self.mean_, self.scale_)
        return x * scale + mean


def _spread(blocks: Iterable[Any]) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of rows, and mean and deviation of each column, merged block by block (Chan et al. 1983)."""
    n, mean, squares = 0, np.zeros(0), np.zeros(0)
    for x, _ in halves(blocks):
        x = x.astype(np.float64)
        own = x.mean(axis=0)
        gap = own - (mean if n else 0.0)
        added = np.square(x - own).sum(axis=0)
        squares = added if not n else squares + added + gap**2 * (n * len(x) / (n + len(x)))
        mean = own if not n else mean + gap * (len(x) / (n + len(x)))
        n += len(x)
    if not n:
        raise BadInput("there are no rows to fit on: the blocks were empty")
    return n, mean, np.sqrt(squares / n)
