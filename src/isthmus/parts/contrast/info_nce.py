"""The soft-max losses: symmetric, one way, and over the rows of all processes."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isthmus.core.errors import BadInput
from isthmus.parts.contrast.dense import dense_cross_entropies
from isthmus.parts.contrast.gather import gather_rows
from isthmus.parts.contrast.matrix import Matrix, Tiled, check_matrix, tiled
from isthmus.parts.contrast.softmax import SPREAD, Plan, cross_entropies

__all__ = ["OfRows", "gathered_info_nce", "info_nce", "row_contrast"]

OfRows = Callable[[Tensor], Tensor]
"""From (k,) row numbers to the (k, m) rows of a matrix that need not exist as a whole."""

DENSE = 512 * 512
"""Pairs up to which the score matrix is kept: below it the dense form is faster at widths up to 512, on two cores."""
TILE = {"cpu": (512, 1024)}
"""Rows and columns of a tile: two of them fit in a second-level cache."""
TILE_ELSEWHERE = (4096, 4096)


def info_nce(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    scale: float | Float[Tensor, ""],
    mask: Bool[Tensor, "n m"] | Tiled | None = None,
    targets: Float[Tensor, "n m"] | Tiled | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    pair_scale: Float[Tensor, "n m"] | Tiled | None = None,
    tile: int | None = None,
) -> Tensor:
    """Return the symmetric InfoNCE loss of row i of `a` against all rows of `b`, and the reverse.

    Rows are compared as they come: give unit vectors for the usual cosine logits ``scale · a @ b.T``, which
    `pair_scale` (a temperature of each pair) multiplies. `targets` are non-negative weights of the positives,
    normalised here for each direction; left out, row i belongs to row i. `mask` is False where a pair must not count
    as a negative (same item, absent modality). A row or column without any positive takes no part: it has no loss of
    its own, its entries still serve the other direction as negatives unless masked.

    `targets`, `mask` and `pair_scale` are tensors, or `Tiled` functions that give blocks of them. Large batches go
    through tiles and keep O(n + m) numbers beside the vectors; `tile` sets the rows and columns of one. Value and
    gradient, of the tensors of `targets` and `pair_scale` too, are the same. Half precision is computed in float32.

    Returns a scalar for "mean" (mean over the rows, mean over the columns, halved) and "sum" (the same with
    sums); for "none" the (n,) halved sum of row i's and column i's loss, which needs n = m.

    Relations (each one a test):
        all similarities equal → log n.  ·  `scale` = 0 → log n.  ·  one row → 0, and no gradient.
        `targets` = identity, or any positive multiple → the default.
        swap of `a` and `b` (with `mask` and `targets` transposed) → unchanged.
        the same permutation of the rows of both → unchanged.
        `mask` that leaves only the positives → 0.  ·  `pair_scale` = c → `scale` · c.
        a zero vector → its similarities are all equal.  ·  any `tile` → the same value and gradient.

    Raises:
        BadInput: for widths that differ, sizes that do not fit `targets`, `mask` or `reduction`, vectors that are
            not finite or so long that their products are not, a tile below 1, negative targets, targets without any
            positive, a positive that is masked away.
    """
    _check(a, b, targets, reduction, tile)
    shape = (len(a), len(b))
    for name, x in (("mask", mask), ("targets", targets), ("pair_scale", pair_scale)):
        check_matrix(name, x, shape)
    own = torch.arange(len(a), device=a.device) if targets is None else None
    rows, columns, alive, living = _losses(
        a, b, scale, own=own, targets=targets, mask=mask, pair_scale=pair_scale, columns=True, tile=tile
    )
    if targets is not None and not bool(alive.any()):
        raise BadInput("targets must be at least 0, with one positive or more")
    if reduction == "none":
        return (rows + columns) / 2
    if reduction == "sum":
        return (rows.sum() + columns.sum()) / 2
    return (rows.sum() / alive.sum() + columns.sum() / living.sum()) / 2


def row_contrast(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    scale: float | Float[Tensor, ""],
    rows: Int[Tensor, " n"] | None = None,
    targets: Float[Tensor, "n m"] | Tiled | OfRows | None = None,
    mask: Bool[Tensor, "n m"] | Tiled | OfRows | None = None,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return one direction of `info_nce`: how well each row of `a` finds its positives among the rows of `b`.

        mean_i −Σ_j P_ij log softmax_j(s·a_iᵀb_j)

    Row i of `a` belongs to row ``rows[i]`` of `b` (left out: to row i), which is what a process needs that holds some
    of the rows. `targets` and `mask` are as in `info_nce`, or functions that give whole rows: they are called with
    some of `rows`, and no gradient flows through them. `tile` is as in `info_nce`.

    Relations: mean of both directions = `info_nce`.  ·  any `tile` → the same value and gradient.

    Raises:
        BadInput: for widths that differ, sizes that do not fit, a tile below 1, negative targets, targets without
            any positive, a positive that is masked away.
    """
    _check(a, b, targets, "row", tile)
    own = torch.arange(len(a), device=a.device) if rows is None else rows
    if own.shape != (len(a),) or (targets is None and not bool(((own >= 0) & (own < len(b))).all())):
        raise BadInput(f"rows of shape {tuple(own.shape)} name the partners of {len(a)} rows among {len(b)}")
    given: dict[str, Matrix | None] = {}
    whole_rows = False
    for name, x in (("targets", targets), ("mask", mask)):
        if x is None or isinstance(x, Tensor | Tiled):
            check_matrix(name, x, (len(a), len(b)))
            given[name] = x
        else:
            given[name], whole_rows = _of_rows(x, own, name, len(b)), True
    losses, _, alive, _ = _losses(
        a,
        b,
        scale,
        own=own if targets is None else None,
        targets=given["targets"],
        mask=given["mask"],
        columns=False,
        tile=tile,
        whole_rows=whole_rows,
    )
    if not bool(alive.any()):
        raise BadInput("targets need one positive or more")
    return losses.sum() / alive.sum()


def gathered_info_nce(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    *,
    scale: float | Float[Tensor, ""],
    mask: Tiled | None = None,
    targets: Tiled | None = None,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return this process's share of `info_nce` over the rows of all processes: their mean is the loss of the batch.

    Every process brings n rows and compares them, both ways, with the rows of all; gradients flow to the rows of the
    others. `mask` and `targets` number the rows of the whole batch in rank order, and read gathered tensors
    (``distinct(gather_rows(keys))``). A process keeps O(N·d) numbers and never an (n, N) matrix. With gradients
    averaged over processes the parameters get those of one process with the whole batch.

    Relations: one process → `info_nce`; W processes → value and gradient of one.

    Raises `BadInput` as `info_nce` does, and when processes bring unequal numbers of rows.
    """
    _check(a, b, None, "mean", tile)
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    start = torch.distributed.get_rank() * len(a) if several else 0
    everyone = [gather_rows(a), gather_rows(b)]
    own = torch.arange(len(a), device=a.device) + start

    def here(x: Tiled | None, *, turned: bool) -> Tiled | None:
        if x is None:
            return None

        def block(rows: slice, columns: slice, *tensors: Tensor) -> Tensor:
            rows = slice(rows.start + start, rows.stop + start)
            return x.of(columns, rows, *tensors).T if turned else x.of(rows, columns, *tensors)

        return Tiled(block, x.tensors)

    parts = []
    for x, y, turned in ((a, everyone[1], False), (b, everyone[0], True)):
        losses, _, alive, _ = _losses(
            x,
            y,
            scale,
            own=own if targets is None else None,
            targets=here(targets, turned=turned),
            mask=here(mask, turned=turned),
            columns=False,
            tile=tile,
        )
        count = alive.sum()
        if several:
            torch.distributed.all_reduce(count)
        if not bool(count):
            raise BadInput("targets must be at least 0, with one positive or more")
        parts.append(losses.sum() * (torch.distributed.get_world_size() if several else 1) / count)
    return (parts[0] + parts[1]) / 2


def _losses(
    a: Tensor,
    b: Tensor,
    scale: float | Tensor,
    *,
    own: Tensor | None,
    targets: Matrix | None,
    mask: Matrix | None,
    columns: bool,
    tile: int | None,
    pair_scale: Matrix | None = None,
    whole_rows: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y, given, bound = prepared(a, b, scale)
    plan = Plan(
        own=own,
        targets=None if targets is None else tiled(targets),
        mask=None if mask is None else tiled(mask),
        pair_scale=None if pair_scale is None else tiled(pair_scale),
        columns=columns,
        tile=tile_of(x, y, tile, whole_rows=whole_rows),
        bounded=pair_scale is None and bound <= SPREAD / 2,
    )
    small = tile is None and len(a) * len(b) <= DENSE
    with torch.autocast(a.device.type, enabled=False):
        return (dense_cross_entropies if small else cross_entropies)(plan, x, y, given)


def prepared(a: Tensor, b: Tensor, scale: float | Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return both sides and the scale in the precision that is computed in, and the largest score that there can be.

    Raises `BadInput` where that is not finite.
    """
    work = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    x, y = a.to(work), b.to(work)
    given = torch.as_tensor(scale, dtype=work, device=a.device)
    with torch.no_grad():
        longest = [v.square().sum(1).max().sqrt() for v in (x, y)]
        bound = float(longest[0] * longest[1] * given.abs())
    if not bound < torch.finfo(work).max:
        wrong = [name for name, v in (("a", longest[0]), ("b", longest[1]), ("scale", given)) if not v.isfinite()]
        raise BadInput(f"scores are not finite: {' and '.join(wrong) or 'a · b · scale'} has NaN, infinity or too much")
    return x, y, given, bound


def tile_of(x: Tensor, y: Tensor, tile: int | None, *, whole_rows: bool = False) -> tuple[int, int]:
    """Return the rows and columns of a tile; with `whole_rows` it has all columns and as many numbers."""
    height, width = (tile, tile) if tile is not None else TILE.get(x.device.type, TILE_ELSEWHERE)
    if whole_rows:
        return (tile if tile is not None else max(1, height * width // len(y))), len(y)
    return height, width


def _of_rows(of: OfRows, own: Tensor, name: str, m: int) -> Tiled:
    def block(rows: slice, columns: slice) -> Tensor:
        found = of(own[rows])
        if tuple(found.shape) != (rows.stop - rows.start, m):
            raise BadInput(f"{name} of shape {tuple(found.shape)}; expected {(rows.stop - rows.start, m)}")
        return found.detach()[:, columns]

    return Tiled(block)


def _check(a: Tensor, b: Tensor, targets: object, reduction: str, tile: int | None) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise BadInput(f"contrast needs (n, d) and (m, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    if 0 in (len(a), len(b)):
        raise BadInput(f"contrast needs at least one row on each side, got {tuple(a.shape)} and {tuple(b.shape)}")
    if tile is not None and tile < 1:
        raise BadInput(f"tile must be at least 1 row, got {tile}")
    if reduction == "row":
        return
    if reduction not in ("mean", "sum", "none"):
        raise BadInput(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
    if len(a) != len(b) and (targets is None or reduction == "none"):
        needs = "targets" if targets is None else "reduction 'mean' or 'sum'"
        raise BadInput(f"sets of {len(a)} and {len(b)} rows need {needs}: row i does not belong to row i")
