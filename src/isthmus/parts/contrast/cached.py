"""Encoding a batch that does not fit in memory with its activations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from isthmus.core.errors import BadInput

__all__ = ["encode_in_chunks"]


def encode_in_chunks(encode: Callable[..., Tensor], *inputs: Any, chunk: int) -> Tensor:
    """Return ``encode(*inputs)`` of n items, keeping the activations of `chunk` of them at a time (GradCache).

    The forward pass keeps the vectors alone; the backward pass of whatever objective is made of them encodes each
    chunk once more, with the same random numbers (dropout), and adds up its gradients. Value and gradient are those
    of one pass for every encoder that treats items one by one; batch normalisation, which does not, sees the
    statistics of a chunk, and counts it twice.

    `inputs` are tensors or sequences of n items each, cut along their first axis.

    >>> tower, x = torch.nn.Linear(4, 2), torch.ones(10, 4)
    >>> z = encode_in_chunks(tower, x, chunk=3)
    >>> bool((z == tower(x)).all())
    True

    Source: Gao et al. 2021 (arXiv 2101.06983). Raises `BadInput` for a chunk below 1, or inputs of unequal lengths.
    """
    sizes = {len(x) for x in inputs}
    if chunk < 1 or len(sizes) != 1 or 0 in sizes:
        raise BadInput(f"encoding in chunks of {chunk} needs inputs of one length, got {[len(x) for x in inputs]}")
    parts = []
    for i in range(0, sizes.pop(), chunk):
        found = checkpoint(encode, *(x[i : i + chunk] for x in inputs), use_reentrant=False)
        assert isinstance(found, Tensor)
        parts.append(found)
    return torch.cat(parts)
