"""The rows of all processes, with gradients."""

from collections.abc import Callable

import torch
from jaxtyping import Shaped
from torch import Tensor

from isthmus.core.errors import BadInput

__all__ = ["gather_rows"]


def gather_rows(x: Shaped[Tensor, "n *d"]) -> Shaped[Tensor, "N *d"]:
    """Return the rows of all processes in rank order, N = n · processes; gradients flow back to each of them.

    Without an initialised process group the input comes back as it is. Every process must bring the same n.
    With the loss of the gathered rows on each process and gradients averaged over processes (what
    DistributedDataParallel does), the parameters get the gradient of the one-process loss on the whole batch.

    Raises `BadInput` in every process when their numbers of rows differ.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(counts, torch.tensor([len(x)], device=x.device))
    if len(set(found := [int(c) for c in counts])) > 1:
        raise BadInput(f"processes bring {found} rows; drop the last short batch, so that all bring as many")
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
