"""Matrices of one number a pair that need not exist as a whole: targets, masks, temperatures of pairs.

A `Tiled` holds a function and the tensors it reads. The losses call it for a block of rows and columns at a time, in
the forward pass and once more in the backward pass, where gradients flow to its tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from isthmus.core.errors import BadInput

__all__ = ["Matrix", "Tiled", "alike", "distinct", "one_to_k", "same", "smoothed", "tiled"]


@dataclass(frozen=True)
class Tiled:
    """An (n, m) matrix given by a function: ``of(rows, columns, *tensors)`` returns its block of two slices.

    Tensors that shall get a gradient stand in `tensors`, not in the closure of the function.

    >>> labels = torch.tensor([0, 1, 0])
    >>> Tiled(lambda rows, columns, y: y[rows, None] == y[columns], (labels,)).whole(3, 3).int().tolist()
    [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """

    of: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()

    def block(self, rows: slice, columns: slice, tensors: tuple[Tensor, ...] | None = None) -> Tensor:
        """Return one block; `tensors` stand in for its own.

        Raises `BadInput` for a block of another shape, or one that needs the gradient of a tensor that is not among
        those it was given.
        """
        found = self.of(rows, columns, *(self.tensors if tensors is None else tensors))
        if tuple(found.shape) != (shape := (rows.stop - rows.start, columns.stop - columns.start)):
            raise BadInput(f"a tile has shape {tuple(found.shape)}; expected {shape}")
        return found

    def whole(self, n: int, m: int) -> Tensor:
        """Return the (n, m) matrix."""
        return self.block(slice(0, n), slice(0, m))

    def forward(self, rows: slice, columns: slice) -> Tensor:
        """Return one block without its graph, and see that no gradient is lost with it."""
        with torch.enable_grad():
            found = self.block(rows, columns, tuple(x.detach() for x in self.tensors))
        if found.requires_grad:
            raise BadInput("a tile needs the gradient of a tensor in its closure: give it as Tiled(of, (tensor, …))")
        return found


Matrix = Tensor | Tiled
"""An (n, m) matrix, or the function that gives its blocks."""


def tiled(x: Matrix) -> Tiled:
    """Return a matrix as a `Tiled`."""
    return x if isinstance(x, Tiled) else Tiled(lambda rows, columns, whole: whole[rows, columns], (x,))


def same(a: Shaped[Tensor, " n"], b: Shaped[Tensor, " m"] | None = None) -> Tiled:
    """Return targets that are 1 where labels are equal: supervised contrast, several positives a row."""
    return Tiled(lambda rows, columns, x, y: (x[rows, None] == y[columns]).float(), (a, a if b is None else b))


def distinct(a: Shaped[Tensor, " n"], b: Shaped[Tensor, " n"] | None = None) -> Tiled:
    """Return a mask that takes out other pairs of the same item: False where keys are equal, but for row i to row i.

    Duplicated captions, several views of an item and pairs that occur twice in a batch are then no negatives of one
    another.
    """

    def block(rows: slice, columns: slice, x: Tensor, y: Tensor) -> Tensor:
        here, there = (torch.arange(s.start, s.stop, device=x.device) for s in (rows, columns))
        return (x[rows, None] != y[columns]) | (here[:, None] == there)

    return Tiled(block, (a, a if b is None else b))


def smoothed(epsilon: float, m: int, *, mask: Tiled | None = None) -> Tiled:
    """Return targets (1 − ε)·[i = j] + ε/m: label smoothing over m columns, or over those that `mask` leaves.

    Relations: ε = 0 → the identity. Raises `BadInput` for ε outside [0, 1).
    """
    if not 0 <= epsilon < 1:
        raise BadInput(f"label smoothing lies in [0, 1), got {epsilon}")

    def block(rows: slice, columns: slice, *tensors: Tensor) -> Tensor:
        here, there = (torch.arange(s.start, s.stop) for s in (rows, columns))
        share = torch.full((len(here), len(there)), epsilon / m)
        if mask is not None:
            keep = mask.block(rows, slice(0, m), tensors)
            share = epsilon / keep.sum(1, keepdim=True) * keep[:, columns]
        return share.add(here[:, None].to(share.device) == there.to(share.device), alpha=1 - epsilon)

    return Tiled(block, () if mask is None else mask.tensors)


def one_to_k(k: int) -> Tiled:
    """Return targets where row i owns columns i·k … i·k + k − 1: an item and its texts in k languages, item by item."""
    if k < 1:
        raise BadInput(f"an item needs at least one partner, got k = {k}")

    def block(rows: slice, columns: slice) -> Tensor:
        here, there = (torch.arange(s.start, s.stop) for s in (rows, columns))
        return (here[:, None] == there.div(k, rounding_mode="floor")).float()

    return Tiled(block)


def alike(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"] | None = None) -> Tiled:
    """Return soft targets (cos + 1) / 2 of reference vectors; their gradient flows to the vectors."""

    def block(rows: slice, columns: slice, x: Tensor, y: Tensor) -> Tensor:
        unit = [nn.functional.normalize(v, dim=-1) for v in (x[rows], y[columns])]
        return ((unit[0] @ unit[1].T + 1) / 2).clamp(0, 1)

    return Tiled(block, (a, a if b is None else b))


def check_matrix(name: str, x: Matrix | None, shape: tuple[int, int]) -> None:
    """Raise `BadInput` for a tensor of another shape."""
    if isinstance(x, Tensor) and tuple(x.shape) != shape:
        raise BadInput(f"{name} of shape {tuple(x.shape)}; expected {shape}")


def check_block(targets: Tensor | None, keep: Tensor | None, positives: Any = None) -> None:
    """Raise `BadInput` for targets below 0 or not finite, or a mask that takes a positive away."""
    if targets is not None and not bool(((targets >= 0) & torch.isfinite(targets)).all()):
        raise BadInput("targets must be finite and at least 0")
    if keep is not None:
        lost = ~keep[positives] if targets is None else ~keep & (targets > 0)
        if bool(lost.any()):
            raise BadInput(f"mask takes away {int(lost.sum())} of the positives; mask negatives only")
