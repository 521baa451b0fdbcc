"""Late interaction of token sets: every token finds its best partner in the other item (ColBERT, FILIP).

    s(v, t)_ij = 1/|v_i| Σ_k max_r ⟨v_ik, t_jr⟩      over the tokens that the masks leave

Blocks of items are compared at a time, so the n·m·s·r similarities never exist at once. What is kept for the backward
pass is which token was best, two bytes each; it spreads the gradient over those places of a block and multiplies: two
matrix products beside the one of the forward pass.

>>> v = torch.eye(3).repeat(2, 1, 1)
>>> forth, back = late_interaction(v, v[:, :2])
>>> [round(x, 3) for x in (forth[0, 1].item(), back[0, 1].item())]
[0.667, 1.0]

Source: Khattab & Zaharia 2020 (arXiv 2004.12832) for the sum, Yao et al. 2022 (arXiv 2111.07783) for the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.core.errors import BadInput

__all__ = ["late_interaction", "tiles"]

TOKENS = 1024
"""Tokens of a side in a block: its similarities then stay in the processor's caches."""


def late_interaction(
    v: Float[Tensor, "n s d"],
    t: Float[Tensor, "m r d"],
    mask_v: Bool[Tensor, "n s"] | None = None,
    mask_t: Bool[Tensor, "m r"] | None = None,
    *,
    reduce: Literal["mean", "sum"] = "mean",
    items: int | None = None,
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Return the scores from `v` to `t` and those from `t` to `v`, both (n, m): row i is item i of `v`.

    The first is the mean (or the sum) over the tokens of v_i of their largest product with a token of t_j, the second
    that over the tokens of t_j. Tokens are compared as they come: give unit vectors for cosines. Tokens whose mask is
    False neither ask nor answer. `items` is how many items of a side are compared at a time; it changes no value.
    Half precision is computed in float32. The gradient goes to the best tokens alone, the first of equals.

    Relations (each one a test):
        one token each → v tᵀ, both ways.  ·  a doubled token of v → from t to v unchanged.
        another order of tokens, another masked token → unchanged.  ·  t and v swapped → both results, transposed.
        mean · number of tokens = sum.  ·  any `items` → the same value and gradient.

    Raises `BadInput` for shapes that do not fit, an item without a token, or vectors that are not finite.
    """
    if v.ndim != 3 or t.ndim != 3 or v.shape[2] != t.shape[2] or 0 in (*v.shape, *t.shape):
        raise BadInput(f"late_interaction needs tokens (n, s, d) and (m, r, d), got {tuple(v.shape)}, {tuple(t.shape)}")
    if reduce not in ("mean", "sum") or (items is not None and items < 1):
        raise BadInput(f"reduce is 'mean' or 'sum' and items at least 1, got {reduce!r} and {items}")
    sides = []
    for name, x, mask in (("v", v, mask_v), ("t", t, mask_t)):
        if mask is not None and mask.shape != x.shape[:2]:
            raise BadInput(f"the mask of {name} has shape {tuple(mask.shape)}; expected {tuple(x.shape[:2])}")
        keep = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask.bool()
        if bool((empty := ~keep.any(1)).any()):
            raise BadInput(f"item {int(empty.nonzero()[0])} of {name} has no token that its mask leaves")
        if not bool(torch.isfinite(x.detach()[keep]).all()):
            raise BadInput(f"tokens of {name} have NaN or infinity")
        # what a mask hides may be anything, and 0 · NaN is not 0
        work = x.to(torch.promote_types(torch.promote_types(v.dtype, t.dtype), torch.float32))
        weight = keep.to(work) / (keep.sum(1, keepdim=True) if reduce == "mean" else 1)
        sides.append((work if mask is None else work.masked_fill(~keep.unsqueeze(2), 0), keep, weight))
    (x, kept, weight), (y, other, across) = sides
    plan = _Plan(None if mask_v is None else kept, None if mask_t is None else other, weight, across, items)
    with torch.autocast(v.device.type, enabled=False):
        scores: tuple[Tensor, Tensor] = _Late.apply(x, y, plan)
    return scores


def tiles(v: Tensor, t: Tensor, items: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Yield the pairs of slices of items that are compared at a time."""
    height, width = (items or max(1, TOKENS // x.shape[1]) for x in (v, t))
    for top in range(0, len(v), height):
        for left in range(0, len(t), width):
            yield slice(top, min(top + height, len(v))), slice(left, min(left + width, len(t)))


@dataclass(frozen=True)
class _Plan:
    keep_v: Tensor | None
    keep_t: Tensor | None
    weight: Tensor
    across: Tensor
    items: int | None


class _Late(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, t: Tensor, plan: _Plan) -> tuple[Tensor, Tensor]:
        (n, s, _), (m, r, _) = v.shape, t.shape
        forth, back = v.new_empty(n, m), v.new_empty(n, m)
        small = torch.int16 if max(s, r) < 2**15 else torch.int32
        wanted = any(ctx.needs_input_grad[:2])
        best_t = torch.empty((n, m, s) if wanted else (0, 0, 0), dtype=small, device=v.device)
        best_v = torch.empty((n, m, r) if wanted else (0, 0, 0), dtype=small, device=v.device)
        for rows, columns in tiles(v, t, plan.items):
            scores = (v[rows].flatten(0, 1) @ t[columns].flatten(0, 1).T).view(-1, s, columns.stop - columns.start, r)
            if plan.keep_t is not None:
                scores.masked_fill_(~plan.keep_t[columns], -torch.inf)
            if plan.keep_v is not None:
                scores.masked_fill_(~plan.keep_v[rows, :, None, None], -torch.inf)
            # a hidden token finds −∞ everywhere, and asks for nothing
            top, at = scores.max(3)
            forth[rows, columns] = torch.einsum("isj,is->ij", top.nan_to_num_(neginf=0.0), plan.weight[rows])
            up, place = scores.max(1)
            back[rows, columns] = (up.nan_to_num_(neginf=0.0) * plan.across[columns]).sum(2)
            if wanted:
                best_t[rows, columns] = at.transpose(1, 2).to(small)
                best_v[rows, columns] = place.to(small)
        ctx.plan = plan
        ctx.save_for_backward(v, t, best_t, best_v)
        return forth, back

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        v, t, best_t, best_v = ctx.saved_tensors
        plan: _Plan = ctx.plan
        s, r = v.shape[1], t.shape[1]
        into_v, into_t = torch.zeros_like(v), torch.zeros_like(t)
        for rows, columns in tiles(v, t, plan.items):
            i, j = rows.stop - rows.start, columns.stop - columns.start
            spread = v.new_zeros(i, s, j, r)
            asks = torch.einsum("ij,is->isj", grads[0][rows, columns], plan.weight[rows])
            spread.scatter_(3, best_t[rows, columns].transpose(1, 2).unsqueeze(3).long(), asks.unsqueeze(3))
            answers = grads[1][rows, columns].unsqueeze(2) * plan.across[columns]
            spread.scatter_add_(1, best_v[rows, columns].unsqueeze(1).long(), answers.unsqueeze(1))
            g = spread.view(i * s, j * r)
            into_v[rows].flatten(0, 1).addmm_(g, t[columns].flatten(0, 1))
            into_t[columns].flatten(0, 1).addmm_(g.T, v[rows].flatten(0, 1))
        return into_v, into_t, None
