"""Losses of pairs one by one: the sigmoid loss of SigLIP, and the hinge with hardest negatives of VSE++."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import softplus

from isthmus.core.errors import BadInput
from isthmus.parts.contrast.info_nce import prepared, tile_of
from isthmus.parts.contrast.matrix import Matrix, Tiled, check_block, check_matrix, tiled

__all__ = ["hardest_negatives", "hinge_contrast", "sigmoid_contrast"]


def sigmoid_contrast(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    scale: float | Float[Tensor, ""],
    bias: float | Float[Tensor, ""],
    mask: Bool[Tensor, "n m"] | Tiled | None = None,
    targets: Float[Tensor, "n m"] | Tiled | None = None,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return the sigmoid loss of all pairs, each a question of its own: do row i and row j belong together?

        L = −1/n Σ_ij [ T_ij log σ(s·a_iᵀb_j + β) + (1 − T_ij) log σ(−s·a_iᵀb_j − β) ]

    T are `targets` in [0, 1], left out the identity; pairs where `mask` is False have no term. SigLIP starts from
    s = 10, β = −10. Always in tiles: O(n + m) numbers are kept beside the vectors.

    Relations: s = β = 0 → m log 2.  ·  a mask without negatives, s → ∞ on equal unit vectors → 0.

    Source: Zhai et al. 2023 (arXiv 2303.15343). Raises `BadInput` for shapes that do not fit, vectors that are not
    finite, targets outside [0, 1], or positives that are masked away.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or 0 in (len(a), len(b)):
        raise BadInput(f"sigmoid_contrast needs (n, d) and (m, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    if targets is None and len(a) != len(b):
        raise BadInput(f"sets of {len(a)} and {len(b)} rows need targets: row i does not belong to row i")
    for name, x in (("mask", mask), ("targets", targets)):
        check_matrix(name, x, (len(a), len(b)))
    x, y, s, _ = prepared(a, b, scale)
    plan = _Pairs(_optional(targets), _optional(mask), tile_of(x, y, tile))
    with torch.autocast(a.device.type, enabled=False):
        loss: Tensor = _Sigmoid.apply(plan, x, y, s, torch.as_tensor(bias, dtype=x.dtype, device=x.device))
    return loss


@dataclass(frozen=True)
class _Pairs:
    targets: Tiled | None
    mask: Tiled | None
    tile: tuple[int, int]


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Pairs, a: Tensor, b: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(a, b, scale, bias)
        total = torch.zeros((), dtype=torch.float64, device=a.device)
        for scores, wanted, keep, _, _ in _questions(plan, a * scale, b, bias):
            check_block(wanted, keep)
            if bool((wanted > 1).any()):
                raise BadInput("targets of the sigmoid loss lie in [0, 1]")
            terms = cross_entropy(scores, wanted, reduction="none")
            total += (terms if keep is None else terms.masked_fill_(~keep, 0)).sum().double()
        return (total / len(a)).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, b, scale, bias = ctx.saved_tensors
        x, into_a, into_b = a * scale, torch.zeros_like(a), torch.zeros_like(b)
        into_bias = torch.zeros((), dtype=torch.float64, device=a.device)
        for scores, wanted, keep, rows, columns in _questions(ctx.plan, x, b, bias):
            g = scores.clamp_(min=-70).sigmoid_().sub_(wanted)
            if keep is not None:
                g.masked_fill_(~keep, 0)
            into_a[rows].addmm_(g, b[columns])
            into_b[columns].addmm_(g.T, x[rows])
            into_bias += g.sum().double()
        w = grads[0] / len(a)
        return None, into_a * (scale * w), into_b * w, (a * into_a).sum() * w, into_bias.to(w) * w


def _questions(plan: _Pairs, x: Tensor, y: Tensor, bias: Tensor) -> Any:
    height, width = plan.tile
    for top in range(0, len(x), height):
        rows = slice(top, min(top + height, len(x)))
        for left in range(0, len(y), width):
            columns = slice(left, min(left + width, len(y)))
            scores = x[rows] @ y[columns].T + bias
            if plan.targets is None:
                wanted = torch.zeros_like(scores)
                wanted.diagonal(top - left).fill_(1) if left - top < height and top - left < width else None
            else:
                wanted = plan.targets.forward(rows, columns).to(scores)
            yield scores, wanted, None if plan.mask is None else plan.mask.forward(rows, columns), rows, columns


def _optional(x: Matrix | None) -> Tiled | None:
    return None if x is None else tiled(x)


@torch.no_grad()
def hardest_negatives(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    *,
    mask: Bool[Tensor, "n n"] | Tiled | None = None,
    tile: int | None = None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Return for every row the most similar other row of `b`, for every column that of `a`; −1 where there is none.

    Row i is no negative of row i, and none that `mask` takes out. Raises `BadInput` for shapes that do not fit.
    """
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise BadInput(f"hardest negatives need two tables (n, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    check_matrix("mask", mask, (len(a), len(a)))
    x, y, _, _ = prepared(a, b, 1.0)
    keep = _optional(mask)
    best = [torch.full((len(a),), -torch.inf, dtype=x.dtype, device=a.device) for _ in range(2)]
    place = [torch.full((len(a),), -1, device=a.device) for _ in range(2)]
    height, width = tile_of(x, y, tile)
    for top in range(0, len(x), height):
        rows = slice(top, min(top + height, len(x)))
        for left in range(0, len(y), width):
            columns = slice(left, min(left + width, len(y)))
            scores = x[rows] @ y[columns].T
            here = torch.arange(rows.start, rows.stop, device=a.device)
            there = torch.arange(columns.start, columns.stop, device=a.device)
            hidden = here[:, None] == there
            if keep is not None:
                hidden |= ~keep.forward(rows, columns)
            scores.masked_fill_(hidden, -torch.inf)
            for side, (where, start) in enumerate(((rows, left), (columns, top))):
                found, at = scores.max(1 - side)
                better = found > best[side][where]
                best[side][where] = found.where(better, best[side][where])
                place[side][where] = (at + start).where(better, place[side][where])
    return place[0], place[1]


def hinge_contrast(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    *,
    margin: float | Float[Tensor, ""] = 0.2,
    mask: Bool[Tensor, "n n"] | Tiled | None = None,
    soft: bool = False,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return the hinge loss of every pair against its hardest negatives, both ways.

        L = 1/n Σ_i [α + max_{j≠i} a_iᵀb_j − a_iᵀb_i]₊ + [α + max_{j≠i} a_jᵀb_i − a_iᵀb_i]₊

    The negatives are found in tiles without a gradient, so the backward pass touches 4n vectors only. `soft` puts
    log(1 + exp) in the place of [·]₊. A row without a negative (one row, or all masked) has no term. Rows are compared
    as they come.

    Relations: equal vectors everywhere → 2α.  ·  α = 0 and every pair the most similar of its row → 0.

    Source: Faghri et al. 2018 (arXiv 1707.05612). Raises `BadInput` for shapes that do not fit or vectors that are not
    finite.
    """
    rows, columns = hardest_negatives(a, b, mask=mask, tile=tile)
    x, y, _, _ = prepared(a, b, 1.0)
    own = (x * y).sum(1)
    terms = []
    for place, scores in ((rows, (x * y[rows]).sum(1)), (columns, (x[columns] * y).sum(1))):
        gap = margin + scores - own
        terms.append((softplus(gap) if soft else gap.relu()).where(place >= 0, 0))
    return (terms[0] + terms[1]).mean()
