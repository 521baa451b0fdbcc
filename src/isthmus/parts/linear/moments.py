"""First and second moments of paired rows, added up block by block: all that the closed-form maps need.

    mean x = Σ xᵢ / n      S_xy = Σ (xᵢ − mean x)ᵀ(yᵢ − mean y)

Rows are shifted by the mean of the first block before they are multiplied, so that a large common part does not eat
the digits of float32; sums are kept in float64. Memory is that of one block and of the d × e tables.

Relations: one block or many → the same moments; rows in another order → the same moments.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix, pair

__all__ = ["Moments", "halves", "moments"]

ROWS = 4096
"""Rows that are multiplied at a time."""
TABLES = ("xx", "xy", "yy")


@dataclass(frozen=True)
class Moments:
    """`n` rows, the means of both sides and their scatters, None where not asked for."""

    n: int
    mean_x: Float[np.ndarray, " d"]
    mean_y: Float[np.ndarray, " e"]
    xx: Float[np.ndarray, "d d"] | None
    xy: Float[np.ndarray, "d e"] | None
    yy: Float[np.ndarray, "e e"] | None

    def about_zero(self) -> "Moments":
        """Return the scatters about the origin, Σ xᵢᵀyᵢ, with means of 0: for a map without an offset."""
        x, y = self.mean_x, self.mean_y
        return Moments(
            self.n,
            np.zeros_like(x),
            np.zeros_like(y),
            None if self.xx is None else self.xx + self.n * np.outer(x, x),
            None if self.xy is None else self.xy + self.n * np.outer(x, y),
            None if self.yy is None else self.yy + self.n * np.outer(y, y),
        )


def halves(blocks: Iterable[Any]) -> Iterator[tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n e"]]]:
    """Yield checked blocks (x, y) of paired rows; a block that is one array counts as both sides.

    Raises `BadInput` for what is neither, NaN, unequal rows, or a width that changes, naming the first row.
    """
    widths, row = None, 0
    for block in blocks:
        given = block if isinstance(block, tuple) else (block, block)
        if len(given) != 2:
            raise BadInput(f"a block of rows is x or (x, y), got {len(given)} arrays at row {row}")
        first, second = map(host, given)
        x, y = pair(first, second, ("x", "y"), paired=True) if isinstance(block, tuple) else _twice(first)
        if widths not in (None, (x.shape[1], y.shape[1])):
            raise BadInput(f"the rows from {row} on are of widths {(x.shape[1], y.shape[1])}, those before of {widths}")
        widths, row = (x.shape[1], y.shape[1]), row + len(x)
        for start in range(0, len(x), ROWS):
            yield x[start : start + ROWS], y[start : start + ROWS]


def moments(blocks: Iterable[Any], tables: Collection[str] = TABLES) -> Moments:
    """Return the moments of blocks of rows, x (n, d) or (x, y) with y (n, e); `tables` are of xx, xy and yy.

    Raises `BadInput` when there is no row, and what `halves` does.
    """
    n = 0
    shift: list[np.ndarray] = []
    sums: list[np.ndarray] = []
    scatter: dict[str, np.ndarray] = {}
    for x, y in halves(blocks):
        if not n:
            shift = [x.mean(axis=0), y.mean(axis=0)]
            sums = [np.zeros(x.shape[1]), np.zeros(y.shape[1])]
        near = {"x": x - shift[0], "y": y - shift[1]}
        sums[0] += near["x"].sum(axis=0, dtype=np.float64)
        sums[1] += near["y"].sum(axis=0, dtype=np.float64)
        for name in tables:
            product = near[name[0]].T @ near[name[1]]
            scatter[name] = product.astype(np.float64) if not n else np.add(scatter[name], product, out=scatter[name])
        n += len(x)
    if not n:
        raise BadInput("there are no rows to fit on: the blocks were empty")
    off = {"x": sums[0] / n, "y": sums[1] / n}
    for name, table in scatter.items():
        table -= n * np.outer(off[name[0]], off[name[1]])
    return Moments(n, shift[0] + off["x"], shift[1] + off["y"], *(scatter.get(name) for name in TABLES))


def host(x: Any) -> Any:
    """Return an array on the processor, whatever it was."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x


def _twice(x: Any) -> tuple[np.ndarray, np.ndarray]:
    checked = matrix(x, "x")
    return checked, checked
