"""The symmetric InfoNCE of paired rows on a GPU: two Triton kernels, memory linear in the rows.

    L = 1/2n Σ_i [ log(1 + e^{r_i − p_i}) + log(1 + e^{c_i − p_i}) ],   s = scale · a bᵀ,  p_i = s_ii,
    r_i = log Σ_{j≠i} e^{s_ij},  c_j = log Σ_{i≠j} e^{s_ij}

`_lse_tile` computes one tile of s and keeps of it only what its rows and columns add to r and c; `_grad_tile` computes
the tile once more and writes ∂L/∂s, a block of rows at a time, which two ordinary matrix products turn into the
gradients of a and b. Together four products of n · m · d, as many as any form needs that does not keep s. The positives
stand apart, because subtracting them from the sum over all loses the digits of a small loss. Accumulation is in
float32; float16 and bfloat16 inputs keep ∂L/∂s in their own type, as mixed precision does; float32 inputs go through
the tensor cores in three TF32 products, which is exact to about 1e-6.

`isthmus.parts.contrast.info_nce` is the reference; values and gradients agree (tests run the kernels in Triton's
interpreter; they have not been timed on a GPU yet). The gradient of the scale is Σ_ij s_ij ∂L/∂s_ij / scale
= ⟨a, ∂L/∂a⟩ / scale, so it needs no kernel.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from isthmus.core.errors import BadInput

__all__ = ["paired_info_nce"]

BLOCK = 128
"""Rows and columns of a tile: what the tensor cores of a GPU like and its registers hold."""
HELD = 1 << 26
"""Entries of ∂L/∂s that are held at once: a block of rows of that many, 128 MB in bfloat16."""


def paired_info_nce(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], *, scale: float | Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean symmetric InfoNCE loss of row i of `a` against row i of `b`, differentiable in all three.

    Raises `BadInput` for shapes or types that differ, or no rows.
    """
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise BadInput(f"paired_info_nce needs two sets of (n, d), got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.dtype != b.dtype or a.device != b.device:
        raise BadInput(f"paired_info_nce needs one type and device, got {a.dtype} {a.device} and {b.dtype} {b.device}")
    given = torch.as_tensor(scale, dtype=torch.float32, device=a.device)
    loss: Tensor = _PairedInfoNCE.apply(a.contiguous(), b.contiguous(), given)  # torch has no types for it
    return loss


class _PairedInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        n, d = a.shape
        rows = torch.empty(n, device=a.device)
        columns = torch.full((n,), -torch.inf, device=a.device)
        for start in range(0, n, _step(n)):
            part = a[start : start + _step(n)]
            of_rows = torch.empty(triton.cdiv(n, BLOCK), len(part), device=a.device)
            of_columns = torch.empty(triton.cdiv(len(part), BLOCK), n, device=a.device)
            _lse_tile[_grid(len(part), n)](part, b, scale, of_rows, of_columns, start, len(part), n, d, **_tile(a))
            rows[start : start + len(part)] = of_rows.logsumexp(0)
            columns = torch.logaddexp(columns, of_columns.logsumexp(0))
        positives = scale * (a.float() * b.float()).sum(1)
        ctx.save_for_backward(a, b, scale, rows, columns, positives)
        return (softplus(rows - positives) + softplus(columns - positives)).mean() / 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, scale, rows, columns, positives = ctx.saved_tensors
        n, d = a.shape
        missed = (torch.sigmoid(rows - positives) + torch.sigmoid(columns - positives)).unsqueeze(1)
        da, db = -missed * b, -missed * a
        r, c = torch.logaddexp(rows, positives), torch.logaddexp(columns, positives)
        held = torch.empty(min(n, _step(n)), n, dtype=a.dtype, device=a.device)
        for start in range(0, n, _step(n)):
            part = a[start : start + _step(n)]
            here, block = slice(start, start + len(part)), held[: len(part)]
            _grad_tile[_grid(len(part), n)](part, b, scale, r[here], c, block, start, len(part), n, d, **_tile(a))
            da[here] += block @ b
            db += block.T @ part
        outer = grads[0].float() / (2 * n)
        slope = (a.float() * da).sum() * outer  # before the scale is multiplied in: ⟨a, ∂L/∂a⟩ / scale
        return (da * (outer * scale)).to(a.dtype), (db * (outer * scale)).to(b.dtype), slope


@triton.jit
def _scores(a, b, scale, i, j, n, m, d, block: tl.constexpr, deep: tl.constexpr, precision: tl.constexpr):
    """Return one (block, block) tile of s in float32; outside of (n, m) it is 0."""
    k = tl.arange(0, deep)
    s = tl.zeros((block, block), tl.float32)
    for at in range(0, d, deep):
        x = tl.load(a + i[:, None] * d + at + k[None, :], mask=(i[:, None] < n) & (at + k[None, :] < d), other=0.0)
        y = tl.load(b + j[None, :] * d + at + k[:, None], mask=(j[None, :] < m) & (at + k[:, None] < d), other=0.0)
        s = tl.dot(x, y, s, input_precision=precision)
    return s * tl.load(scale)


@triton.jit
def _lse_tile(
    a, b, scale, of_rows, of_columns, start, n, m, d, block: tl.constexpr, deep: tl.constexpr, precision: tl.constexpr
):
    """Write the log-sum-exp, without positives, of a tile's rows to of_rows[tile, i], of its columns to of_columns."""
    ti, tj = tl.program_id(1), tl.program_id(0)
    i, j = (ti * block + tl.arange(0, block)).to(tl.int64), (tj * block + tl.arange(0, block)).to(tl.int64)
    s = _scores(a, b, scale, i, j, n, m, d, block, deep, precision)
    negative = (i[:, None] < n) & (j[None, :] < m) & (start + i[:, None] != j[None, :])
    s = tl.where(negative, s, -1e30)  # finite, so that a row without negatives is no ∞ − ∞
    top = tl.max(s, 1)
    tl.store(of_rows + tj * n + i, top + tl.log(tl.sum(tl.exp(s - top[:, None]), 1)), mask=i < n)
    top = tl.max(s, 0)
    tl.store(of_columns + ti * m + j, top + tl.log(tl.sum(tl.exp(s - top[None, :]), 0)), mask=j < m)


@triton.jit
def _grad_tile(
    a, b, scale, rows, columns, out, start, n, m, d, block: tl.constexpr, deep: tl.constexpr, precision: tl.constexpr
):
    """Write a tile of e^{s − r} + e^{s − c}, which is ∂L/∂s times 2n of the negatives, and 0 for positives."""
    ti, tj = tl.program_id(1), tl.program_id(0)
    i, j = (ti * block + tl.arange(0, block)).to(tl.int64), (tj * block + tl.arange(0, block)).to(tl.int64)
    inside = (i[:, None] < n) & (j[None, :] < m)
    s = _scores(a, b, scale, i, j, n, m, d, block, deep, precision)
    r = tl.load(rows + i, mask=i < n, other=0.0)
    c = tl.load(columns + j, mask=j < m, other=0.0)
    g = tl.where(start + i[:, None] == j[None, :], 0.0, tl.exp(s - r[:, None]) + tl.exp(s - c[None, :]))
    tl.store(out + i[:, None] * m + j[None, :], g.to(out.dtype.element_ty), mask=inside)


def _step(n: int) -> int:
    """Rows of s that are worked on at once, whole tiles."""
    return max(HELD // n // BLOCK, 1) * BLOCK


def _grid(n: int, m: int) -> tuple[int, int]:
    return triton.cdiv(m, BLOCK), triton.cdiv(n, BLOCK)


def _tile(a: Tensor) -> dict[str, Any]:
    exact = a.dtype == torch.float32
    return {"block": BLOCK, "deep": 32 if exact else 64, "precision": "tf32x3" if exact else "ieee", "num_warps": 8}
