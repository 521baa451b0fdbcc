"""How a fitted map is applied: the checks, and the arithmetic in the type and on the device of the input."""

from typing import Any

import array_api_compat
import numpy as np

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix

__all__ = ["checked", "like", "linear", "positive"]


def checked(model: Any, x: Any, state: str, width: int | None = None) -> Any:
    """Return `x` (n, d) ready for a map; `BadInput` before `fit`, for another width, or for NaN.

    `state` is an attribute that `fit` sets, `width` what is expected, `n_features_in_` where none is given.
    """
    if not hasattr(model, state):
        raise BadInput(f"{type(model).__name__} is not fitted yet; call fit first")
    wanted = model.n_features_in_ if width is None else width
    if hasattr(x, "detach"):
        xp = array_api_compat.array_namespace(x)
        x = x if xp.isdtype(x.dtype, "real floating") else xp.astype(x, xp.float32)
        if x.ndim != 2 or not bool(xp.all(xp.isfinite(x))):
            raise BadInput(f"x has shape {tuple(x.shape)}; expected (n, {wanted}) finite numbers")
    else:
        x = matrix(x, "x")
    if x.shape[1] != wanted:
        # in the words that scikit-learn's checks look for
        raise BadInput(
            f"X has {x.shape[1]} features, but {type(model).__name__} is expecting {wanted} features as input"
        )
    return x


def like(x: Any, *arrays: np.ndarray) -> list[Any]:
    """Return arrays in the type and on the device of `x`."""
    xp, device = array_api_compat.array_namespace(x), array_api_compat.device(x)
    return [xp.asarray(a, dtype=x.dtype, device=device) for a in arrays]


def linear(x: Any, before: np.ndarray, weight: np.ndarray, after: np.ndarray) -> Any:
    """Return (x − before) · weight + after, with weight (d, e)."""
    mean, w, offset = like(x, before, weight, after)
    return (x - mean) @ w + offset


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise `BadInput` unless a setting is a finite number above 0, or 0 where that is allowed."""
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise BadInput(f"{name} = {value!r}; expected a number {'of at least' if zero else 'above'} 0")
