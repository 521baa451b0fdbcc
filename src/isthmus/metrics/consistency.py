"""Whether a search says the same in every language: how far the rank of the right answer moves, which recall hides.

`mean_rank_variance` is the MRV of Nie et al. 2024 (arXiv 2406.18254, section 3.4); `by_variant` gives recall a
language with the worst of them, `cases` the items to look at, and `spread_plot` draws them. Ranks are tables (n, k):
the rank of item j's right answer when it is asked for in language k, from 1 or from 0 alike.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix

__all__ = ["by_variant", "cases", "mean_rank_variance", "spread_plot"]

Kind = Literal["variance", "std"]


def mean_rank_variance(ranks: Any, kind: Kind = "variance") -> float:
    """Return the mean over items of the variance of their ranks over languages, or of the standard deviation.

        MRV = 1/n Σ_j 1/K Σ_k (r_jk − r̄_j)²

    The paper defines it with the variance; its released code averages the standard deviation, and so do its tables.

    Relations: the same rank in every language → 0.  ·  another order of languages, or a number added to the ranks of an
    item → unchanged.  ·  ranks 1 and 3 → variance 1, standard deviation 1.

    Raises `BadInput` for a table that is not (n, k) with k ≥ 2, or another kind.
    """
    table = _table(ranks)
    if kind not in ("variance", "std"):
        raise BadInput(f"kind is 'variance' or 'std', got {kind!r}")
    return float((table.var(1) if kind == "variance" else table.std(1)).mean())


def by_variant(ranks: Any, names: Sequence[str], cutoff: int = 1) -> dict[str, float]:
    """Return the recall within `cutoff` of each language (ranks from 1), their mean and the worst.

    Raises `BadInput` for names that do not fit the table, or a rank below 1.
    """
    table = _table(ranks)
    if len(names) != table.shape[1] or len(set(names)) != len(names):
        raise BadInput(f"{len(names)} names for {table.shape[1]} languages; one each, all different")
    if table.min() < 1 or cutoff < 1:
        raise BadInput(f"ranks count from 1 and the cut-off is at least 1, got {table.min():g} and {cutoff}")
    recall = (table <= cutoff).mean(0).tolist()
    return {**dict(zip(names, recall, strict=True)), "mean": float(np.mean(recall)), "worst": min(recall)}


def cases(ranks: Any, items: Sequence[str], names: Sequence[str], most: int = 20) -> list[dict[str, Any]]:
    """Return the items whose ranks differ most between languages: item, spread, the ranks, the best and worst language.

    Raises `BadInput` for names that do not fit the table.
    """
    table = _table(ranks)
    if table.shape != (len(items), len(names)):
        raise BadInput(f"{len(items)} items in {len(names)} languages do not fit ranks of shape {table.shape}")
    spread = table.std(1)
    order = np.argsort(-spread, kind="stable")[:most]
    return [
        {
            "item": items[j],
            "spread": float(spread[j]),
            "best": names[int(table[j].argmin())],
            "worst": names[int(table[j].argmax())],
            "ranks": dict(zip(names, table[j].tolist(), strict=True)),
        }
        for j in order.tolist()
        if spread[j] > 0
    ]


def spread_plot(systems: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return an SVG document: for each system a curve of how many items have a spread of at most so many ranks.

    `systems` maps a name to ranks (n, k) of the same languages. The further left and up, the more consistent.
    """
    tables = {name: _table(ranks) for name, ranks in systems.items()}
    if not tables or any(t.shape[1] != len(names) for t in tables.values()):
        raise BadInput(f"every system needs ranks in the {len(names)} languages")
    spreads = {name: np.sort(np.log10(1 + t.std(1))) for name, t in tables.items()}
    width, height, left, top = 420, 240, 48, 28
    longest = max(float(s[-1]) for s in spreads.values()) or 1.0
    colours = ("#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d", "#475569")
    parts = []
    for number, (name, spread) in enumerate(spreads.items()):
        x = left + width * np.concatenate([[0.0], spread]) / longest
        y = top + height * (1 - np.arange(len(spread) + 1) / len(spread))
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)) + f"L{left + width} {top}"
        colour, low = colours[number % len(colours)], top + height - 14 - 18 * number
        said = escape(f"{name}: MRV {mean_rank_variance(tables[name], 'std'):.2f} (std)")
        parts += [
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"><title>{said}</title></path>',
            f'<text x="{left + width - 210}" y="{low}" fill="{colour}">{said}</text>',
        ]
    marks = [(rank, np.log10(1 + rank) / longest) for rank in (0, 1, 10, 100, 1000)]
    parts += [
        f'<text x="{left + width * at:.0f}" y="{top + height + 18}">{rank}</text>' for rank, at in marks if at <= 1
    ]
    title = f"Spread of ranks over {', '.join(names)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 80} {height + 70}" font-family="sans-serif" '
        f'font-size="13"><title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="18">share of items</text><path d="M{left} {top}v{height}h{width}" fill="none" '
        f'stroke="#94a3b8"/>{"".join(parts)}<text x="{left}" y="{top + height + 38}">standard deviation of the rank '
        f"over languages</text></svg>"
    )


def _table(ranks: Any) -> Float[np.ndarray, "n k"]:
    table = matrix(ranks, "ranks").astype(np.float64)
    if table.shape[1] < 2:
        raise BadInput(f"ranks need at least two languages, got shape {table.shape}")
    return table
