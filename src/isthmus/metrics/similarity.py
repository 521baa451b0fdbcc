"""How alike two representations of the same items are, whatever their widths and axes.

Centred kernel alignment (CKA) compares the two tables of item-to-item similarities,

    CKA(K, L) = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)),

with either estimator of HSIC: the biased one, tr(HKHL) with H = I − 11ᵀ/n (kornblith2019), which is inflated
when items are few and columns many, and the unbiased one (song2012), which is 0 in the mean for independent
representations at any n:

    HSIC₁(K, L) = [ tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2) · 1ᵀK̃L̃1 ] / (n(n−3)),  K̃ = K with zero diagonal.

Relations: the same representation → 1; orthogonal maps, shifts and scalings of either side, and one permutation
of the rows of both → unchanged; `linear_cka(x, y)` = `gram_cka(x xᵀ, y yᵀ)`.

Sources: Kornblith et al. 2019 (arXiv 1905.00414); Song et al. 2012 (JMLR 13); Nguyen et al. 2021 for the use of
the unbiased estimator (arXiv 2010.15327).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix, pair

__all__ = ["gram_cka", "linear_cka", "rbf_cka", "rbf_gram"]


def linear_cka(x: Any, y: Any, *, unbiased: bool = False) -> float:
    """Return the CKA of two representations (n, d) and (n, e) of the same items under K = x xᵀ, L = y yᵀ.

    Computed from the features in O(n·d·e), without the n × n tables: biased,
    ‖yᵀx‖²_F / (‖xᵀx‖_F ‖yᵀy‖_F) of the centred columns. In [0, 1]; unbiased values may be slightly negative.

    Raises `BadInput` for unequal rows, fewer than 2 (unbiased: 4) items, or a representation without variation.
    """
    a, b = (_centred(v) for v in pair(x, y, ("x", "y"), rows=4 if unbiased else 2, paired=True))
    if not unbiased:
        return _ratio(_energy(a, b), _energy(a, a), _energy(b, b))
    return _ratio(_hsic_of_features(a, b), _hsic_of_features(a, a), _hsic_of_features(b, b))


def rbf_cka(x: Any, y: Any, *, bandwidth: float = 1.0, unbiased: bool = False) -> float:
    """Return the CKA under the Gaussian kernel, `rbf_gram` of each side. Memory is O(n²).

    Relations: a large `bandwidth` → `linear_cka`.
    """
    a, b = pair(x, y, ("x", "y"), rows=4 if unbiased else 2, paired=True)
    return gram_cka(rbf_gram(a, bandwidth=bandwidth), rbf_gram(b, bandwidth=bandwidth), unbiased=unbiased)


def gram_cka(k: Any, l: Any, *, unbiased: bool = False) -> float:  # noqa: E741 - the paper's letters
    """Return the CKA of two symmetric (n, n) tables of similarities of the same items.

    Raises `BadInput` for tables that are not square, not symmetric, or of different size, for fewer than
    2 (unbiased: 4) items, or a table without variation.
    """
    a, b = (_table(v, name, 4 if unbiased else 2) for v, name in ((k, "k"), (l, "l")))
    if a.shape != b.shape:
        raise BadInput(f"k {a.shape} and l {b.shape} must be tables of the same items")
    if not unbiased:
        a, b = _double_centred(a), _double_centred(b)
        return _ratio(float(np.vdot(a, b)), float(np.vdot(a, a)), float(np.vdot(b, b)))
    return _ratio(_hsic_of_grams(a, b), _hsic_of_grams(a, a), _hsic_of_grams(b, b))


def rbf_gram(x: Any, *, bandwidth: float = 1.0) -> Float[np.ndarray, "n n"]:
    """Return exp(−‖xᵢ − xⱼ‖² / 2σ²), with σ = `bandwidth` · median distance between two different items.

    Relations: scaling x changes nothing. Raises `BadInput` for a bandwidth ≤ 0, or where the median distance
    is 0 (most items are equal).
    """
    from scipy.spatial.distance import pdist, squareform

    if not bandwidth > 0:
        raise BadInput(f"bandwidth {bandwidth} must be positive")
    squared = pdist(matrix(x, "x", rows=2).astype(np.float64), "sqeuclidean")
    median = float(np.median(squared))
    if median == 0:
        raise BadInput("the median distance between items is 0: no Gaussian kernel can be scaled to them")
    return np.asarray(squareform(np.exp(-squared / (2 * bandwidth**2 * median))) + np.eye(len(x)))


def _centred(x: np.ndarray) -> Float[np.ndarray, "n d"]:
    x = x.astype(np.float64)
    centred = x - x.mean(axis=0)
    # what centring leaves of equal rows is rounding, and must not be compared
    if np.linalg.norm(centred) <= 1e-12 * np.linalg.norm(x):
        raise BadInput(f"a representation of shape {x.shape} has equal rows: no variation to compare")
    # CKA ignores scale; near 1 its fourth powers stay in range
    return np.asarray(centred / np.abs(centred).max())


def _energy(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(np.square(a.T @ b)))


def _hsic_of_features(a: np.ndarray, b: np.ndarray) -> float:
    """HSIC₁ (times n(n−3)) from features: K̃1 = a(aᵀ1) − diag, and 1ᵀK̃1 its sum."""
    n = len(a)
    diagonal_a, diagonal_b = np.einsum("nd,nd->n", a, a), np.einsum("nd,nd->n", b, b)
    rows_a, rows_b = a @ a.sum(axis=0) - diagonal_a, b @ b.sum(axis=0) - diagonal_b
    trace = _energy(a, b) - diagonal_a @ diagonal_b
    return float(trace + rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_a @ rows_b))


def _hsic_of_grams(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """HSIC₁ (times n(n−3)) as the paper writes it."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    rows_k, rows_l = k.sum(axis=1), l.sum(axis=1)
    return float(np.vdot(k, l) + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_k @ rows_l))


def _double_centred(k: np.ndarray) -> Float[np.ndarray, "n n"]:
    rows = k.mean(axis=1)
    return np.asarray(k - rows - rows[:, None] + rows.mean())


def _table(k: Any, name: str, rows: int) -> Float[np.ndarray, "n n"]:
    table = matrix(k, name, rows=rows).astype(np.float64)
    if table.shape[0] != table.shape[1] or not np.allclose(table, table.T, rtol=1e-5, atol=1e-6 * np.abs(table).max()):
        raise BadInput(f"{name} {table.shape} is not a symmetric table of similarities; for features use linear_cka")
    largest = np.abs(table).max()
    if np.linalg.norm(_double_centred(table)) <= 1e-12 * np.linalg.norm(table):
        raise BadInput(f"{name} {table.shape} has no variation to compare")
    return np.asarray(table / largest)


def _ratio(cross: float, own_a: float, own_b: float) -> float:
    if own_a <= 0 or own_b <= 0:
        raise BadInput("the unbiased estimate of a representation's own variation is not positive: too few items")
    return cross / float(np.sqrt(own_a * own_b))
