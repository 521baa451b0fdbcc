"""The one training loop: AdamW, linear warm-up, cosine decay, resumable, in mixed precision. It knows no method.

A step takes a batch and returns a dict with "loss"; everything else in the dict is recorded beside it.

>>> import torch
>>> w = torch.nn.Parameter(torch.zeros(3))
>>> goal = torch.tensor([1.0, -2.0, 0.5])
>>> history = train(lambda _: {"loss": ((w - goal) ** 2).sum()}, [w], range(200), lr=0.1)
>>> history[-1]["loss"] < 1e-3 < history[0]["loss"]
True
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.parts.kept import Kept

__all__ = ["ByDomain", "Minibatches", "Precision", "learning_rate", "synchronise", "train"]

Precision = Literal["float32", "bfloat16"]

B = TypeVar("B")


def train(
    step: Callable[[B], Mapping[str, Tensor]],
    params: Iterable[torch.nn.Parameter],
    batches: Iterable[B],
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    warmup: float = 0.0,
    final_lr: float = 0.0,
    clip: float | None = None,
    total: int | None = None,
    stop: Callable[[int], bool] | None = None,
    precision: Precision = "float32",
    keep: Kept | None = None,
    progress: Progress = silent,
    stage: str = "train",
) -> list[dict[str, float]]:
    """Minimise ``step(batch)["loss"]`` over `batches` and return what each step reported, as plain numbers.

    AdamW; only matrices decay (biases, gains and temperatures do not). The rate climbs linearly from
    `final_lr` over the first `warmup` share of the steps, then falls along a cosine to `final_lr`. `total` is
    the number of steps, needed where `batches` has no length. `clip` bounds the norm of the whole gradient.
    `stop` is asked after every step with the steps done and ends the training when it returns True.
    With `precision` "bfloat16" the step runs under autocast; weights, gradients and optimiser stay in float32.
    The gradients are cleared at the end.

    With `keep` the training is logged and kept in a folder, and goes on from the checkpoint there: the batches that
    are done are passed over, so they must come in the same order again, and what a step draws must come from a global
    generator or be decided by its batch. What is returned are the steps of this call, none when all were done.

    Raises:
        BadInput: when there is nothing to train, no batch, an unknown length, a loss that is not finite (the message
            names the step), or a checkpoint that cannot be gone on from.
    """
    trained = [p for p in params if p.requires_grad]
    if not trained:
        raise BadInput("train got no parameter that requires a gradient")
    if total is None:
        if not isinstance(batches, Sized):
            raise BadInput("batches have no length; give total= so that the schedule knows where it ends")
        total = len(batches)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, foreach=True)
    history: list[dict[str, float]] = []
    device = trained[0].device.type
    try:
        start = 0 if keep is None else keep.begin(optimizer)
        for done, batch in enumerate(islice(batches, start, None), start):
            rate = learning_rate(done, total, lr=lr, warmup=warmup, final_lr=final_lr)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                reported = step(batch)
            loss = reported["loss"]
            if not bool(torch.isfinite(loss)):
                raise BadInput(
                    f"the loss is {loss.item()} at step {done} of {total}: lower lr={lr:g} or look at the input"
                )
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
            history.append({name: float(value.detach()) for name, value in reported.items()})
            if keep is not None:
                keep.step(done + 1, total, {**history[-1], "lr": rate}, optimizer)
            progress(stage, done + 1, total)
            if stop is not None and stop(done + 1):
                break
    finally:
        if keep is not None:
            keep.end()
    if not history and not start:
        raise BadInput("train got no batch")
    optimizer.zero_grad(set_to_none=True)
    return history


def learning_rate(done: int, total: int, *, lr: float, warmup: float = 0.0, final_lr: float = 0.0) -> float:
    """Return the rate of the step after `done` of `total`: linear from `final_lr` to `lr`, then a cosine back."""
    climb = warmup * total
    if done < climb:
        return final_lr + (lr - final_lr) * (done + 1) / (climb + 1)
    return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * min(1.0, (done - climb) / max(1.0, total - climb)))) / 2


@contextlib.contextmanager
def synchronise(params: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Keep parameters equal in all processes: start from those of rank 0, average every gradient as it is made.

    Nothing happens without an initialised process group. Every process must take the same number of steps.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        yield
        return
    processes = torch.distributed.get_world_size()

    def average(parameter: Tensor) -> None:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes

    hooks = []
    for parameter in params:
        if parameter.requires_grad:
            torch.distributed.broadcast(parameter.data, src=0)
            hooks.append(parameter.register_post_accumulate_grad_hook(average))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Minibatches:
    """Shuffled index batches of `n` rows over some epochs; the last short batch of an epoch is dropped.

    When `n` < `size` an epoch is one batch of all rows. Iterating twice gives two different orders, because
    the generator moves on.
    """

    n: int
    size: int
    epochs: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        if min(self.n, self.size, self.epochs) < 1:
            raise BadInput(f"n, size and epochs must be at least 1, got {self.n}, {self.size}, {self.epochs}")

    def __len__(self) -> int:
        return self.epochs * max(1, self.n // self.size)

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.epochs):
            order = torch.randperm(self.n, generator=self.generator)
            for i in range(max(1, self.n // self.size)):
                yield order[i * self.size : (i + 1) * self.size]


@dataclass(frozen=True)
class ByDomain:
    """`steps` index batches, each of `size` different rows of one domain, or of all that it has.

    `domain` (n,) numbers the domain of each row; one is drawn in proportion to the sum of its rows' `counts` (n,).
    """

    domain: Int[np.ndarray, " n"]
    counts: Float[np.ndarray, " n"]
    size: int
    steps: int
    generator: torch.Generator

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        rows = [torch.from_numpy(np.flatnonzero(self.domain == d)) for d in np.unique(self.domain)]
        share = torch.tensor([float(self.counts[r.numpy()].sum()) for r in rows])
        for _ in range(self.steps):
            own = rows[int(torch.multinomial(share, 1, generator=self.generator))]
            yield own[torch.randperm(len(own), generator=self.generator)[: self.size]]
