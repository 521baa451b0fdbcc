"""The contrastive loss of paired sets, dense, in tiles and across processes.

`info_nce` is the symmetric soft-max cross-entropy that most methods here train with, `row_contrast` one direction of
it, which can go through its rows in tiles and take the positives from a function, so that no (n, m) matrix is kept.
`gather_rows` brings the rows of all processes together so that each of them sees the negatives of all, and `LogScale`
is the learned temperature.

    L = ½ [ mean_i −Σ_j P_ij log softmax_j(s·a_iᵀb_j)  +  mean_j −Σ_i Q_ij log softmax_i(s·a_iᵀb_j) ]

P is `targets` with rows that sum to one, Q the same with columns that sum to one; s is `scale` (1/τ).

Source: van den Oord et al. 2018 (arXiv 1807.03748) for the loss, Radford et al. 2021 (arXiv 2103.00020) for the
symmetric form.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from isthmus.core.errors import BadInput

__all__ = ["LogScale", "OfRows", "gather_rows", "info_nce", "row_contrast"]

OfRows = Callable[[Tensor], Tensor]
"""From (k,) row numbers to the (k, m) rows of a matrix that need not exist as a whole."""


def info_nce(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    scale: float | Float[Tensor, ""],
    mask: Bool[Tensor, "n m"] | None = None,
    targets: Float[Tensor, "n m"] | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Tensor:
    """Return the symmetric InfoNCE loss of row i of `a` against all rows of `b`, and the reverse.

    Rows are compared as they come: give unit vectors for the usual cosine logits ``scale · a @ b.T``.
    `targets` are non-negative weights of the positives, normalised here for each direction; left out, row i
    belongs to row i. `mask` is False where a pair must not count as a negative (same item, absent modality).
    A row or column without any positive takes no part: it has no loss of its own, its entries still serve the
    other direction as negatives unless masked.

    Returns a scalar for "mean" (mean over the rows, mean over the columns, halved) and "sum" (the same with
    sums); for "none" the (n,) halved sum of row i's and column i's loss, which needs n = m.

    Relations (each one a test):
        all similarities equal → log n.  ·  `scale` = 0 → log n.
        `targets` = identity, or any positive multiple → the default.
        swap of `a` and `b` (with `mask` and `targets` transposed) → unchanged.
        the same permutation of the rows of both → unchanged.
        `mask` that leaves only the positives → 0.

    Raises:
        BadInput: for widths that differ, sizes that do not fit `targets`, `mask` or `reduction`, negative
            targets, targets without any positive, a positive that is masked away.
    """
    _check(a, b, mask, targets, reduction)
    logits = scale * (a @ b.T)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    if targets is None:
        positives = logits.diagonal()
        rows, columns = logits.logsumexp(1) - positives, logits.logsumexp(0) - positives
        alive_rows = alive_columns = None
    else:
        rows, alive_rows = _cross_entropy(logits, targets)
        columns, alive_columns = _cross_entropy(logits.T, targets.T)
    if reduction == "none":
        return (rows + columns) / 2
    if reduction == "sum":
        return (rows.sum() + columns.sum()) / 2
    return (_mean(rows, alive_rows) + _mean(columns, alive_columns)) / 2


def row_contrast(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    scale: float | Float[Tensor, ""],
    rows: Int[Tensor, " n"] | None = None,
    targets: Float[Tensor, "n m"] | OfRows | None = None,
    mask: Bool[Tensor, "n m"] | OfRows | None = None,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return one direction of `info_nce`: how well each row of `a` finds its positives among the rows of `b`.

        mean_i −Σ_j P_ij log softmax_j(s·a_iᵀb_j)

    Row i of `a` belongs to row ``rows[i]`` of `b` (left out: to row i), which is what a process needs that holds some
    of the rows. `targets` and `mask` are as in `info_nce`, or functions that give their rows: they are called with
    some of `rows`. With `tile` that many rows are computed at a time and once more in the backward pass: the memory
    is that of (tile, m), value and gradient are the same.

    Relations: mean of both directions = `info_nce`.  ·  any `tile` → the same value and gradient.

    Raises:
        BadInput: for widths that differ, sizes that do not fit, a tile below 1, negative targets, targets without
            any positive, a positive that is masked away.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or 0 in (len(a), len(b)):
        raise BadInput(f"row_contrast needs (n, d) and (m, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    if tile is not None and tile < 1:
        raise BadInput(f"tile must be at least 1 row, got {tile}")
    own = torch.arange(len(a), device=a.device) if rows is None else rows
    if own.shape != (len(a),) or (targets is None and not bool(((own >= 0) & (own < len(b))).all())):
        raise BadInput(f"rows of shape {tuple(own.shape)} name the partners of {len(a)} rows among {len(b)}")
    given = torch.as_tensor(scale, dtype=a.dtype, device=a.device)

    def part(x: Tensor, b: Tensor, scale: Tensor, start: int) -> tuple[Tensor, Tensor]:
        here, at = own[start : start + len(x)], slice(start, start + len(x))
        wanted = targets(here) if callable(targets) else None if targets is None else targets[at]
        keep = mask(here) if callable(mask) else None if mask is None else mask[at]
        if wanted is None:
            wanted = torch.zeros(len(x), len(b), dtype=x.dtype, device=x.device)
            wanted[torch.arange(len(x), device=x.device), here] = 1
        _check_rows(wanted, keep, (len(x), len(b)))
        logits = scale * (x @ b.T)
        losses, alive = _cross_entropy(logits if keep is None else logits.masked_fill(~keep, -torch.inf), wanted)
        return losses.sum(), alive.sum()

    if tile is None or tile >= len(a):
        parts = [part(a, b, given, 0)]
    else:
        starts = range(0, len(a), tile)
        parts = [checkpoint(part, a[i : i + tile], b, given, i, use_reentrant=False) for i in starts]
    count = torch.stack([alive for _, alive in parts]).sum()
    if not bool(count):
        raise BadInput("targets need one positive or more")
    return torch.stack([loss for loss, _ in parts]).sum() / count


def _check_rows(wanted: Tensor, keep: Tensor | None, shape: tuple[int, int]) -> None:
    for name, x in (("targets", wanted), ("mask", keep)):
        if x is not None and tuple(x.shape) != shape:
            raise BadInput(f"{name} have shape {tuple(x.shape)}; expected {shape}")
    if bool((wanted < 0).any()):
        raise BadInput("targets must be at least 0")
    if keep is not None and bool((lost := ~keep & (wanted > 0)).any()):
        raise BadInput(f"mask takes away {int(lost.sum())} of the positives; mask negatives only")


class LogScale(nn.Module):
    """A learned temperature τ, kept as log 1/τ; calling it returns 1/τ, the `scale` of the losses, at most `most`.

    The parameter is brought back to the bound before each use, so that its gradient never dies there.
    """

    def __init__(self, tau: float = 0.07, *, most: float = 100.0) -> None:
        super().__init__()
        if not 0 < 1 / most <= tau:
            raise BadInput(f"a temperature lies above 1 / most = {1 / most:g}, got {tau:g}")
        self.most = most
        self.log_scale = nn.Parameter(torch.tensor(-math.log(tau)))

    def forward(self) -> Float[Tensor, ""]:
        """Return 1/τ."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.most))
        return self.log_scale.exp()


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (n,) cross-entropy of each row with its normalised targets, and which rows have a target."""
    mass = targets.sum(1)
    alive = mass > 0
    weights = targets / mass.where(alive, 1).unsqueeze(1)
    # A row without a target may be masked throughout; zeros keep its soft-max (and the gradient of it) finite.
    logits = logits.where(alive.unsqueeze(1), 0)
    log_p = logits - logits.logsumexp(1, keepdim=True)
    # The log-probability is −inf where a pair is masked; 0 · −inf would be NaN, so those entries are left out.
    return -(weights * log_p.where(weights > 0, 0)).sum(1), alive


def _mean(values: Tensor, alive: Tensor | None) -> Tensor:
    return values.mean() if alive is None else values.sum() / alive.sum()


def _check(a: Tensor, b: Tensor, mask: Tensor | None, targets: Tensor | None, reduction: str) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise BadInput(f"info_nce needs (n, d) and (m, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    if reduction not in ("mean", "sum", "none"):
        raise BadInput(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
    shape = (len(a), len(b))
    if 0 in shape:
        raise BadInput(f"info_nce needs at least one row on each side, got {tuple(a.shape)} and {tuple(b.shape)}")
    if len(a) != len(b) and (targets is None or reduction == "none"):
        needs = "targets" if targets is None else "reduction 'mean' or 'sum'"
        raise BadInput(f"sets of {len(a)} and {len(b)} rows need {needs}: row i does not belong to row i")
    if mask is not None and tuple(mask.shape) != shape:
        raise BadInput(f"mask has shape {tuple(mask.shape)}; expected {shape}")
    if targets is not None:
        if tuple(targets.shape) != shape:
            raise BadInput(f"targets have shape {tuple(targets.shape)}; expected {shape}")
        if bool((targets < 0).any()) or not bool((targets > 0).any()):
            raise BadInput("targets must be at least 0, with one positive or more")
    if mask is not None:
        lost = ~mask.diagonal() if targets is None else ~mask & (targets > 0)
        if bool(lost.any()):
            raise BadInput(f"mask takes away {int(lost.sum())} of the positives; mask negatives only")


def gather_rows(x: Float[Tensor, "n d"]) -> Float[Tensor, "N d"]:
    """Return the rows of all processes in rank order, N = n · processes; gradients flow back to each of them.

    Without an initialised process group the input comes back as it is. Every process must bring the same n.
    With the loss of the gathered rows on each process and gradients averaged over processes (what
    DistributedDataParallel does), the parameters get the gradient of the one-process loss on the whole batch.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    gather: Callable[[Tensor], Tensor] = _Gather.apply  # torch has no types for it
    return gather(x)


class _Gather(torch.autograd.Function):
    """All-gather whose backward adds up what every process wants of a row."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]
