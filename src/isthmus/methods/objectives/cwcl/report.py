"""What a trained space is asked: whether it keeps the frozen geometry, needs many templates, shows its classes."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from isthmus.core.errors import BadInput
from isthmus.metrics.similarity import linear_cka
from isthmus.metrics.vectors import pair, unit
from isthmus.tasks.zero_shot import Classes, class_vectors, score

__all__ = ["geometry_kept", "heat_maps", "template_report"]

MOST = 1500
"""Items that are compared with one another at most: the pairs grow with the square."""
DRAWS = 20
"""Sets of templates of one size at most."""
CELLS = 60


def geometry_kept(p: Any, ref: Any, *, seed: int = 0) -> dict[str, float]:
    """Return how far the learned vectors `p` (n, d) keep the order of the frozen ones `ref` (n, e) of the same items.

    "spearman" is the rank correlation between ⟨p_i, p_j⟩ and ⟨r_i, r_j⟩ over all pairs i < j, "cka" the linear CKA.
    At most 1,500 items, drawn by `seed`, are compared.

    Relations: p = r, or r turned → 1. Raises `BadInput` for fewer than 3 items or unequal rows.
    """
    from scipy.stats import spearmanr

    a, b = pair(p, ref, ("p", "ref"), rows=3, paired=True)
    if len(a) > MOST:
        some = np.random.default_rng(seed).choice(len(a), MOST, replace=False)
        a, b = a[some], b[some]
    a, b = unit(a, "p"), unit(b, "ref")
    upper = np.triu_indices(len(a), 1)
    return {
        "spearman": float(spearmanr((a @ a.T)[upper], (b @ b.T)[upper]).statistic),
        "cka": linear_cka(a, b),
    }


def template_report(data: Classes, items: Any, prompts: Any, *, seed: int = 0) -> dict[int, dict[str, float]]:
    """Return top-1 by the number of templates: {templates: {"mean", "low", "high", "sets"}}.

    `items` (n, d) are the test items of `data`, `prompts` (c, p, d) the vectors of its classes in p templates. Every
    size takes all sets of templates, or 20 of them drawn by `seed`; low and high are the worst and the best set.

    Raises `BadInput` for shapes that do not fit.
    """
    given = np.asarray(prompts)
    if given.ndim != 3 or len(given) != len(data.names):
        raise BadInput(f"prompts have shape {given.shape}; expected ({len(data.names)}, templates, d)")
    rng, p = np.random.default_rng(seed), given.shape[1]
    found = {}
    for k in range(1, p + 1):
        if comb(p, k) <= DRAWS:
            sets = [list(s) for s in combinations(range(p), k)]
        else:
            sets = [rng.choice(p, k, replace=False).tolist() for _ in range(DRAWS)]
        tops = [score(data, (items, class_vectors(given[:, s])))["top1"] for s in sets]
        found[k] = {"mean": float(np.mean(tops)), "low": min(tops), "high": max(tops), "sets": float(len(tops))}
    return found


def heat_maps(spaces: Mapping[str, tuple[Any, Any]], labels: Sequence[Any] | np.ndarray, *, seed: int = 0) -> str:
    """Return an SVG document: ⟨p_i, q_j⟩ of each space side by side, items sorted by class.

    `spaces` maps a name ("CL", "CWCL") to its vectors of both modalities, (n, d) each, row i of both being item i of
    the class ``labels[i]``. At most 60 items, drawn by `seed` and spread over the classes, are shown; lines part the
    classes. Every map is scaled to its own lowest and highest cosine. Weighted training shows blocks, plain
    contrast a diagonal.

    Raises `BadInput` without a space, or for rows and labels that do not fit.
    """
    named = np.asarray(labels, dtype=str)
    if not spaces or named.ndim != 1 or len(named) < 2:
        raise BadInput(f"heat_maps needs a space and labels (n,), got {len(spaces)} and {named.shape}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(named))
    # the first of every class, then the second of every class, …
    turn = {i: int((named[order[:at]] == named[i]).sum()) for at, i in enumerate(order.tolist())}
    chosen = np.array(sorted(order.tolist(), key=turn.__getitem__)[:CELLS])
    chosen = chosen[np.argsort(named[chosen], kind="stable")]
    cell, gap, top = 6, 40, 34
    side = cell * len(chosen)
    parts = []
    for place, (name, (p, q)) in enumerate(spaces.items()):
        a, b = pair(p, q, (f"{name} p", f"{name} q"))
        if len(a) != len(named) or len(b) != len(named):
            raise BadInput(f"{name}: {len(a)} and {len(b)} vectors for {len(named)} labels")
        table = unit(a[chosen]) @ unit(b[chosen]).T
        depth = (table - table.min()) / max(float(np.ptp(table)), 1e-12)
        left = gap // 2 + place * (side + gap)
        parts.append(f'<text x="{left}" y="{top - 12}">{escape(name)}</text>')
        parts += [
            _cell(left + cell * j, top + cell * i, cell, v) for i, row in enumerate(depth) for j, v in enumerate(row)
        ]
        for cut in (np.flatnonzero(named[chosen][1:] != named[chosen][:-1]) + 1) * cell:
            parts.append(
                f'<path d="M{left + cut} {top}v{side}M{left} {top + cut}h{side}" stroke="#c2410c" stroke-width="0.5"/>'
            )
    width, height = gap + len(spaces) * (side + gap) - gap, top + side + 16
    kinds = len(set(named[chosen].tolist()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f"<title>Similarity of {len(chosen)} items of {kinds} classes, sorted by class</title>{''.join(parts)}</svg>"
    )


def _cell(x: int, y: int, size: int, depth: float) -> str:
    shade = round(255 * (1 - float(depth)))
    fill = f"#{shade:02x}{(shade + 118) // 2:02x}{shade:02x}"
    return f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{fill}"/>'
