"""Soft-max cross-entropies of a score matrix that is never kept: one pass over tiles forward, one backward.

The forward pass keeps log Σ exp of every row and column, n + m numbers in double precision; the backward pass
computes each tile once more and adds its two products to the gradients. Four matrix products in all, one of which is
what the dense form saves by keeping the scores.

Where the scores of a tile lie within `SPREAD` of one another, one exp serves rows and columns; elsewhere each takes
its own maximum. Exponents end at `LEAST`, far below the precision of a sum and above the denormal numbers, which
processors handle hundreds of times slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from isthmus.parts.contrast.matrix import Tiled, check_block

__all__ = ["Plan", "cross_entropies"]

SPREAD = 60.0
LEAST = -70.0
TINY = 2e-38


@dataclass(frozen=True)
class Plan:
    """What to compute: the directions, the positives (`own`, the column of each row, or `targets`), and the tiles.

    `bounded` says that no score is further from 0 than half of `SPREAD`, so that none need be looked at first.
    """

    own: Tensor | None
    targets: Tiled | None
    mask: Tiled | None
    pair_scale: Tiled | None
    columns: bool
    tile: tuple[int, int]
    bounded: bool

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the matrices read and may get a gradient for."""
        return tuple(x for given in (self.targets, self.pair_scale) if given is not None for x in given.tensors)


def cross_entropies(plan: Plan, a: Tensor, b: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the losses of rows (n,) and columns (m,), and which of each have a positive."""
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _CrossEntropies.apply(plan, a, b, scale, *plan.tensors)
    return found


class _CrossEntropies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, a: Tensor, b: Tensor, scale: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(True)
        x, y = a * scale, b
        if plan.targets is None:
            rows, columns, kept = _hard_forward(plan, x, y)
            alive = [torch.ones_like(v, dtype=torch.bool) for v in (rows, columns)]
        else:
            rows, columns, kept, alive = _soft_forward(plan, x, y)
        ctx.plan = plan
        ctx.save_for_backward(a, b, scale, *kept)
        ctx.mark_non_differentiable(*alive)
        return rows.to(a.dtype), columns.to(a.dtype), *alive

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        a, b, scale, *kept = ctx.saved_tensors
        x = a * scale
        # a gradient of 1e-30 upstream must not make denormal numbers of every tile
        most = max(float(grads[0].abs().max()), float(grads[1].abs().max()), 1e-300)
        weights = [g.double() / most for g in grads[:2]]
        into_a, into_b = torch.zeros_like(a), torch.zeros_like(b)
        wanted = ctx.needs_input_grad[4:]
        into = [torch.zeros_like(t) if w else None for t, w in zip(plan.tensors, wanted, strict=True)]
        split = len(plan.targets.tensors) if plan.targets is not None else 0
        for t in _tiles(plan, x, b):
            g = (_hard_slope if plan.targets is None else _soft_slope)(t, plan, kept, weights, into[:split])
            if plan.pair_scale is not None and t.factor is not None:
                _reach(plan.pair_scale, t, g * t.bare, into[split:])
                g = g * t.factor
            into_a[t.rows].addmm_(g, b[t.columns])
            into_b[t.columns].addmm_(g.T, x[t.rows])
        into_scale = (a * into_a).sum() * most if ctx.needs_input_grad[3] else None
        found = [None if g is None else g.mul_(most) for g in into]
        return None, into_a.mul_(scale * most), into_b.mul_(most), into_scale, *found


@dataclass(frozen=True)
class _Tile:
    """One block of scores, with what may not count in it.

    `hidden` is what the mask takes out; `at` are the places of positives in the block, as (row, column). `bare` are
    the scores before the `factor` of the pairs.
    """

    scores: Tensor
    rows: slice
    columns: slice
    hidden: Tensor | None
    at: tuple[Tensor, Tensor] | None
    bare: Tensor
    factor: Tensor | None

    def hide(self, x: Tensor, value: float) -> Tensor:
        """Write a value where a pair does not count, and return the block."""
        if self.hidden is not None:
            x.masked_fill_(self.hidden, value)
        if self.at is not None:
            x[self.at] = value
        return x


def _tiles(plan: Plan, x: Tensor, y: Tensor, *, first: bool = False) -> Iterator[_Tile]:
    """Yield the blocks of x @ y.T in one buffer, which the next one writes over."""
    height, width = min(plan.tile[0], len(x)), min(plan.tile[1], len(y))
    buffer = torch.empty(height * width, dtype=x.dtype, device=x.device)
    for top in range(0, len(x), height):
        rows = slice(top, min(top + height, len(x)))
        for left in range(0, len(y), width):
            columns = slice(left, min(left + width, len(y)))
            shape = (rows.stop - top, columns.stop - left)
            scores = torch.mm(x[rows], y[columns].T, out=buffer[: shape[0] * shape[1]].view(shape))
            bare, factor = scores, None
            if plan.pair_scale is not None:
                factor = plan.pair_scale.forward(rows, columns).to(scores)
                scores = scores * factor
            at = hidden = None
            if plan.own is not None:
                own = plan.own[rows] - left
                (inside,) = torch.nonzero((own >= 0) & (own < shape[1]), as_tuple=True)
                at = (inside, own[inside]) if len(inside) else None
            if plan.mask is not None:
                keep = plan.mask.forward(rows, columns).to(scores.device)
                if first and at is not None:
                    check_block(None, keep, at)
                hidden = ~keep
            yield _Tile(scores, rows, columns, hidden, at, bare, factor)


def _hard_forward(plan: Plan, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the losses softplus(log Σ_{j≠i} exp(s_ij) − s_ii), which keep their digits where they are small."""
    rows = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    columns = torch.full((len(y),), -torch.inf, dtype=torch.float64, device=x.device)
    positive = torch.zeros_like(rows)
    for t in _tiles(plan, x, y, first=True):
        if t.at is not None:
            positive[t.rows.start + t.at[0]] = t.scores[t.at].double()
        s, base = _shifted(t, plan)
        if s is not None:
            e = t.hide(s.exp_(), 0)
            found = [base + e.sum(axis).double().log() for axis in ((1, 0) if plan.columns else (1,))]
        else:
            found = [_own_maxima(t, axis) for axis in ((1, 0) if plan.columns else (1,))]
        rows[t.rows] = torch.logaddexp(rows[t.rows], found[0])
        if plan.columns:
            columns[t.columns] = torch.logaddexp(columns[t.columns], found[1])
    other = softplus(columns - positive) if plan.columns else torch.zeros_like(columns)
    return softplus(rows - positive), other, [rows, columns, positive]


def _shifted(t: _Tile, plan: Plan) -> tuple[Tensor | None, float]:
    """Return the scores less one number, in place, such that no exp of them is denormal or overflows, or None."""
    if plan.bounded:
        return t.scores, 0.0
    low, high = (float(v) for v in t.hide(t.scores, 0).aminmax())
    return (None, 0.0) if high - low > SPREAD else (t.scores.sub_(low), low)


def _own_maxima(t: _Tile, axis: int) -> Tensor:
    """Return log Σ exp along an axis, each row or column with its own maximum; −∞ where nothing counts."""
    s = t.hide(t.scores.clone(), -torch.inf)
    top = s.amax(axis, keepdim=True)
    top = top.where(top > -torch.inf, 0)
    e = t.hide(s.sub_(top).clamp_(min=LEAST).exp_(), 0)
    return top.squeeze(axis).double() + e.sum(axis).double().log()


def _hard_slope(t: _Tile, plan: Plan, kept: list[Tensor], weights: list[Tensor], into: list[Tensor | None]) -> Tensor:
    """Return the derivative of the weighted losses by the scores of a tile."""
    rows, columns, positive = kept
    pull = None
    g_rows, g_columns = weights[0][t.rows], weights[1][t.columns]
    if t.at is not None:
        place, own = t.rows.start + t.at[0], t.columns.start + t.at[1]
        pull = -g_rows[t.at[0]] * torch.sigmoid(rows[place] - positive[place])
        if plan.columns:
            pull = pull - g_columns[t.at[1]] * torch.sigmoid(columns[own] - positive[own])
    total = torch.logaddexp(rows[t.rows], positive[t.rows])
    across = torch.logaddexp(columns[t.columns], positive[t.columns]) if plan.columns else None
    s, base = _shifted(t, plan)
    if s is not None:
        share = _flushed(g_rows * (base - total).exp(), s).unsqueeze(1)
        if across is not None:
            share = share + _flushed(g_columns * (base - across).exp(), s)
        g = s.exp_().mul_(share)
    else:
        g = _share(t.scores, total.unsqueeze(1)).mul_(g_rows.to(t.scores).unsqueeze(1))
        if across is not None:
            g += _share(t.scores, across).mul_(g_columns.to(t.scores))
    t.hide(g, 0)
    if pull is not None and t.at is not None:
        g[t.at] = pull.to(g)
    return g


def _share(scores: Tensor, total: Tensor) -> Tensor:
    return (scores - total.to(scores)).clamp_(min=LEAST, max=0).exp_()


def _flushed(x: Tensor, like: Tensor) -> Tensor:
    return x.where(x.abs() > TINY, 0).to(like)


@dataclass
class _Axis:
    """Running sums of rows or columns: the maximum, Σ exp(s − max), Σ T (s − max), Σ T."""

    top: Tensor
    total: Tensor
    dot: Tensor
    mass: Tensor

    @classmethod
    def of(cls, n: int, like: Tensor) -> "_Axis":
        zeros = [torch.zeros(n, dtype=torch.float64, device=like.device) for _ in range(3)]
        return cls(torch.full_like(zeros[0], -torch.inf), *zeros)

    def add(self, t: _Tile, targets: Tensor, axis: int, where: slice) -> None:
        s = t.hide(t.scores.clone(), -torch.inf)
        top = s.amax(axis, keepdim=True)
        safe = top.where(top > -torch.inf, 0)
        s = t.scores - safe
        e = t.hide(s.clamp(min=LEAST).exp_(), 0)
        # a masked score has no target, but 0 · ∞ is not 0
        found = [top.squeeze(axis), e.sum(axis), (targets * t.hide(s, 0)).sum(axis), targets.sum(axis)]
        top, total, dot, mass = (v.double() for v in found)
        most = torch.maximum(self.top[where], top)
        base = most.where(most > -torch.inf, 0)
        old, new = (v.where(v > -torch.inf, base) - base for v in (self.top[where], top))
        self.total[where] = self.total[where] * old.exp() + total * new.exp()
        self.dot[where] += self.mass[where] * old + dot + mass * new
        self.mass[where] += mass
        self.top[where] = most

    def finish(self) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the losses, what the backward pass needs (log Σ exp, mass, mean target score), and who is alive."""
        alive = self.mass > 0
        mass = self.mass.where(alive, 1)
        dot = self.dot / mass
        log = self.total.where(alive, 1).log()
        top = self.top.where(alive, 0)
        return (log - dot).where(alive, 0), [(top + log).where(alive, torch.inf), mass, top + dot], alive


def _soft_forward(plan: Plan, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    assert plan.targets is not None
    rows, columns = _Axis.of(len(x), x), _Axis.of(len(y), x)
    for t in _tiles(plan, x, y, first=True):
        targets = plan.targets.forward(t.rows, t.columns).to(t.scores)
        check_block(targets, None if t.hidden is None else ~t.hidden)
        rows.add(t, targets, 1, t.rows)
        if plan.columns:
            columns.add(t, targets, 0, t.columns)
    (losses, kept, alive), (others, more, living) = rows.finish(), columns.finish()
    return losses, others, [*kept, *more], [alive, living]


def _soft_slope(t: _Tile, plan: Plan, kept: list[Tensor], weights: list[Tensor], into: list[Tensor | None]) -> Tensor:
    assert plan.targets is not None
    targets = plan.targets.forward(t.rows, t.columns).to(t.scores)
    g, slope = torch.zeros_like(t.scores), torch.zeros_like(t.scores)
    sides = [(kept[:3], weights[0], t.rows, 1), (kept[3:], weights[1], t.columns, 0)]
    for (total, mass, mean), weight, where, axis in sides[: 2 if plan.columns else 1]:
        w = weight[where].where(total[where] < torch.inf, 0).to(g).unsqueeze(axis)
        pull = w / mass[where].to(g).unsqueeze(axis)
        g += t.hide(_share(t.scores, total[where].unsqueeze(axis)), 0).mul_(w).sub_(targets * pull)
        slope -= (t.scores - mean[where].to(g).unsqueeze(axis)) * pull
    _reach(plan.targets, t, t.hide(slope, 0), into)
    return g


def _reach(matrix: Tiled, t: _Tile, slope: Tensor, into: list[Tensor | None]) -> None:
    """Add to the gradients of the tensors of a matrix what a slope of one of its blocks makes of them."""
    wanted = [i for i, g in enumerate(into) if g is not None]
    if not wanted:
        return
    with torch.enable_grad():
        own = [x.detach().requires_grad_(i in wanted) for i, x in enumerate(matrix.tensors)]
        block = matrix.block(t.rows, t.columns, tuple(own))
        if not block.requires_grad:
            return
        found = torch.autograd.grad(block, [own[i] for i in wanted], slope.to(block), allow_unused=True)
    for i, g in zip(wanted, found, strict=True):
        total = into[i]
        if g is not None and total is not None:
            total += g
