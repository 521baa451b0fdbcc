"""Which two encoders to align: the pair whose representations of the same items resemble each other most (CKA)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from isthmus.core.errors import BadInput
from isthmus.metrics.similarity import linear_cka, rbf_cka
from isthmus.metrics.vectors import matrix

__all__ = ["Ranking", "Scored", "rank_pairs"]

ENOUGH = 2_000
"""Items from which on the biased estimator is used as it is; with fewer it is inflated."""


@dataclass(frozen=True)
class Scored:
    """A pair of encoders with its CKA."""

    first: str
    second: str
    cka: float


@dataclass(frozen=True)
class Ranking:
    """All pairs, best first, with their heat map: `svg` draws the `table`."""

    pairs: tuple[Scored, ...]
    n: int
    kernel: str
    unbiased: bool

    @property
    def best(self) -> Scored:
        """The pair to align."""
        return self.pairs[0]

    def table(self) -> dict[str, Any]:
        """Return what a heat map needs: {"rows": […], "columns": […], "values": (rows, columns) nested lists}."""
        rows = sorted({p.first for p in self.pairs})
        columns = sorted({p.second for p in self.pairs})
        value = {(p.first, p.second): p.cka for p in self.pairs}
        return {"rows": rows, "columns": columns, "values": [[value[r, c] for c in columns] for r in rows]}

    def svg(self) -> str:
        """Return the heat map as an SVG document: a row for each first encoder, the best pair framed."""
        table, cell, left, top = self.table(), 64, 12 + 7 * max(len(p.first) for p in self.pairs), 40
        highest = max(self.best.cka, 1e-12)
        parts = []
        for i, row in enumerate(table["rows"]):
            y = top + cell * i
            parts.append(f'<text x="{left - 6}" y="{y + cell / 2 + 4}" text-anchor="end">{escape(row)}</text>')
            for j, column in enumerate(table["columns"]):
                value, x = table["values"][i][j], left + 1.5 * cell * j
                depth = min(max(value / highest, 0), 1)
                best = (row, column) == (self.best.first, self.best.second)
                parts.append(
                    f'<rect x="{x + 1}" y="{y + 1}" width="{1.5 * cell - 2}" height="{cell - 2}" fill="#0f766e" '
                    f'fill-opacity="{depth:.3f}" stroke="{"#c2410c" if best else "#94a3b8"}" '
                    f'stroke-width="{3 if best else 0.5}"/><text x="{x + 0.75 * cell}" y="{y + cell / 2 + 4}" '
                    f'text-anchor="middle" fill="{"#fff" if depth > 0.55 else "#0f172a"}">{value:.3f}</text>'
                )
        for j, column in enumerate(table["columns"]):
            x = left + 1.5 * cell * (j + 0.5)
            parts.append(f'<text x="{x}" y="{top - 10}" text-anchor="middle">{escape(column)}</text>')
        width, height = left + 1.5 * cell * len(table["columns"]) + 12, top + cell * len(table["rows"]) + 12
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
            f'height="{height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
            f"<title>CKA of {len(self.pairs)} pairs of encoders on {self.n} items</title>{''.join(parts)}</svg>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the ranking as JSON values."""
        return {**asdict(self), "best": asdict(self.best), "table": self.table()}


def rank_pairs(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    kernel: Literal["linear", "rbf"] = "linear",
    unbiased: bool | None = None,
    bandwidth: float = 1.0,
) -> Ranking:
    """Rank every pair of a `first` and a `second` encoder by the CKA of their vectors of the same n items.

    Both map encoder names to (n, d) vectors, row i of all of them being item i. The paper takes linear CKA on
    5,000 pairs. `unbiased` left out chooses the unbiased estimator below 2,000 items. The RBF kernel is O(n²)
    in memory; `bandwidth` is in units of the median distance.

    Raises `BadInput` when a side is empty or the numbers of rows differ.
    """
    data = {side: {k: matrix(x, k) for k, x in encoders.items()} for side, encoders in enumerate((first, second))}
    sizes = {k: len(x) for encoders in data.values() for k, x in encoders.items()}
    if not first or not second:
        raise BadInput("rank_pairs needs at least one encoder on each side")
    if len(set(sizes.values())) != 1:
        raise BadInput(f"every encoder needs vectors of the same items; rows are {sizes}")
    if kernel not in ("linear", "rbf"):
        raise BadInput(f"kernel is 'linear' or 'rbf', got {kernel!r}")
    n = next(iter(sizes.values()))
    fair = n < ENOUGH if unbiased is None else unbiased

    def cka(a: Any, b: Any) -> float:
        return (
            linear_cka(a, b, unbiased=fair) if kernel == "linear" else rbf_cka(a, b, bandwidth=bandwidth, unbiased=fair)
        )

    scored = [Scored(a, b, cka(x, y)) for a, x in data[0].items() for b, y in data[1].items()]
    return Ranking(tuple(sorted(scored, key=lambda p: (-p.cka, p.first, p.second))), n, kernel, fair)
