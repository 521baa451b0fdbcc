"""Which query belongs to which: the CKA of the anchors with one pair of queries added (maniparambil2024).

    score(x, y) = CKA([X_A; x], [Y_A; y]),  a true pair raises it

For the linear kernel all m·m' scores come from the scatters of the centred anchors. With d = x − μ_X, e = y − μ_Y and
c = n/(n+1), the scatter of n + 1 rows is S + c·d·dᵀ, so that

    numerator    ‖S_xy‖² + 2c·dᵀS_xy e + c²‖d‖²‖e‖²
    denominator  √(‖S_xx‖² + 2c·dᵀS_xx d + c²‖d‖⁴) · √(the same of y)

Relations: equal to `linear_cka` of the anchors with the pair; rotations, shifts and scalings of a side, its anchors
and queries alike → unchanged.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import pair

__all__ = ["local_cka"]


def local_cka(anchors_x: Any, anchors_y: Any, x: Any, y: Any) -> Float[np.ndarray, "m l"]:
    """Return the scores of queries (m, d) with queries (l, e), given paired anchors (n, d) and (n, e).

    Computed in float64: scores differ by about 1/n. Raises `BadInput` for anchors of unequal number, widths that do
    not fit, or a side of anchors without variation.
    """
    a, b = pair(anchors_x, anchors_y, ("anchors_x", "anchors_y"), rows=2, paired=True)
    sides = []
    for own, query, names in ((a, x, ("anchors_x", "x")), (b, y, ("anchors_y", "y"))):
        own, asked = (v.astype(np.float64) for v in pair(own, query, names))
        mean = own.mean(axis=0)
        scale = np.abs(own - mean).max()
        if scale <= 1e-12 * np.abs(own).max():
            raise BadInput(f"the {len(own)} rows of {names[0]} are equal: no variation to compare")
        sides.append(((own - mean) / scale, (asked - mean) / scale))  # CKA ignores scale; fourth powers stay in range
    c = len(a) / (len(a) + 1)
    (own_x, d), (own_y, e) = sides
    cross = own_x.T @ own_y
    squares = [np.einsum("nd,nd->n", v, v) for v in (d, e)]
    top = np.sum(cross**2) + 2 * c * (d @ cross @ e.T) + c**2 * np.outer(*squares)
    lengths = []
    for (anchors, query), square in zip(sides, squares, strict=True):
        scatter = anchors.T @ anchors
        lengths.append(
            np.sqrt(np.sum(scatter**2) + 2 * c * np.einsum("nd,nd->n", query @ scatter, query) + (c * square) ** 2)
        )
    scores: Float[np.ndarray, "m l"] = top / np.outer(*lengths)
    return scores
