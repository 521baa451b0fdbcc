"""What every metric asks of the vectors it is given."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput

__all__ = ["blocks", "matrix", "pair", "unit"]

CELLS = 1 << 22
"""Numbers in one block of a streamed (rows, n) matrix: 16 MB of float32, whatever the number of rows."""


def matrix(x: Any, name: str, *, rows: int = 1) -> Float[np.ndarray, "n d"]:
    """Return `x` as a (n, d) array of float32 or float64, integers as float64.

    Raises `BadInput` for another number of axes, fewer than `rows` rows, no columns, NaN or infinity.
    """
    array = np.asarray(x)
    if array.ndim != 2 or len(array) < rows or array.shape[1] == 0:
        raise BadInput(f"{name} has shape {array.shape}; expected (n, d) with n ≥ {rows} and d ≥ 1")
    if array.dtype not in (np.float32, np.float64):
        if array.dtype.kind not in "fiub":
            raise BadInput(f"{name} holds {array.dtype}; expected numbers")
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    for part in blocks(len(array), array.shape[1]):
        finite = np.isfinite(array[part]).all(axis=1)
        if not finite.all():
            raise BadInput(f"{name} is not finite in row {part.start + int(np.argmin(finite))}")
    return array


def pair(
    x: Any, y: Any, names: tuple[str, str], *, rows: int = 1, paired: bool = False
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Return two checked matrices of one width, or with `paired` of one length."""
    a, b = matrix(x, names[0], rows=rows), matrix(y, names[1], rows=rows)
    axis = 0 if paired else 1
    if a.shape[axis] != b.shape[axis]:
        raise BadInput(
            f"{names[0]} {a.shape} and {names[1]} {b.shape} need the same number of {'rows' if paired else 'columns'}"
        )
    return a, b


def unit(x: Float[np.ndarray, "n d"], name: str = "x") -> Float[np.ndarray, "n d"]:
    """Return the rows divided by their length. A zero row has no direction: `BadInput`."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.all():
        raise BadInput(f"{name} row {int(np.argmin(length))} is all zeros and cannot be normalised")
    return np.asarray(x / length)


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Cut `rows` rows of `width` numbers into blocks of bounded size (at least one row each)."""
    step = max(1, CELLS // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
