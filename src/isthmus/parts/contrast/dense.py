"""The same losses with the whole score matrix in memory, by plain autograd: faster for small batches."""

import torch
from torch import Tensor

from isthmus.parts.contrast.matrix import check_block
from isthmus.parts.contrast.softmax import Plan

__all__ = ["dense_cross_entropies"]


def dense_cross_entropies(plan: Plan, a: Tensor, b: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the losses of rows (n,) and columns (m,), and which of each have a positive."""
    n, m = len(a), len(b)
    scores = scale * (a @ b.T)
    if plan.pair_scale is not None:
        scores = scores * plan.pair_scale.whole(n, m).to(scores)
    keep = None if plan.mask is None else plan.mask.whole(n, m).to(scores.device)
    targets = None if plan.targets is None else plan.targets.whole(n, m).to(scores)
    place = None if plan.own is None else (torch.arange(n, device=a.device), plan.own)
    check_block(targets, keep, place)
    if keep is not None:
        scores = scores.masked_fill(~keep, -torch.inf)
    if targets is None:
        assert place is not None
        rows = -scores.log_softmax(1)[place]
        columns = -scores.log_softmax(0)[place] if plan.columns else rows.new_zeros(m)
        return rows, columns, torch.ones_like(rows, dtype=torch.bool), torch.ones_like(columns, dtype=torch.bool)
    rows, alive = _cross_entropy(scores, targets)
    columns, living = _cross_entropy(scores.T, targets.T) if plan.columns else (rows.new_zeros(m), alive.new_zeros(m))
    return rows, columns, alive, living


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (n,) cross-entropy of each row with its normalised targets, and which rows have a target."""
    mass = targets.sum(1)
    alive = mass > 0
    weights = targets / mass.where(alive, 1).unsqueeze(1)
    # A row without a target may be masked throughout; zeros keep its soft-max (and the gradient of it) finite.
    log_p = logits.where(alive.unsqueeze(1), 0).log_softmax(1)
    # The log-probability is −inf where a pair is masked; 0 · −inf would be NaN, so those entries are left out.
    return -(weights * log_p.where(log_p > -torch.inf, 0)).sum(1), alive
