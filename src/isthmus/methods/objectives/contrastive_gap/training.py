"""Training two towers of any kind with the terms, and a new projection for a pretrained dual encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from jaxtyping import Int
from torch import Tensor, nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.contrastive_gap.loss import CUA, checked_weights, clip_plus
from isthmus.parts.train import Minibatches, synchronise, train

__all__ = ["FINE_TUNE", "Training", "fit_towers", "resized"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of the loop. Raises `BadInput` for numbers out of range, `NotFound` for an unknown term."""

    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(dict(CUA)))
    tau: float = 0.01
    steps: int = 300
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    stop_at: float | None = None
    """The contrast below which training ends early, for what is trained to convergence."""
    gather: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        checked_weights(self.weights)
        if self.steps < 1 or self.batch < 2:
            raise BadInput(f"steps = {self.steps}, batch = {self.batch}; at least 1 step and 2 pairs are needed")
        if not (0 < self.lr < 1 and self.weight_decay >= 0 and self.tau > 0):
            raise BadInput(
                f"lr = {self.lr} must lie in (0, 1), weight_decay = {self.weight_decay} at least at 0, tau = "
                f"{self.tau} above 0"
            )


FINE_TUNE = Training(lr=1e-6, weight_decay=0.1, batch=64, tau=0.01)
"""The paper's recipe for a pretrained CLIP with a new projection: τ fixed, 9 epochs over COCO (set `steps`)."""


def fit_towers(
    first: nn.Module,
    second: nn.Module,
    a: Tensor,
    b: Tensor,
    *,
    training: Training | None = None,
    keys: Int[Tensor, " n"] | None = None,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Train two towers in place on n pairs and return every step's terms; they are left in evaluation mode.

    `a` (n, …) is what `first` takes, `b` (n, …) what `second` takes; rows of one of the `keys` are the same item. The
    towers may be one module (a shared encoder).

    Raises `BadInput` for unequal lengths or fewer than 2 pairs.
    """
    training = training or Training()
    n = len(a)
    if n < 2 or len(b) != n or (keys is not None and keys.shape != (n,)):
        raise BadInput(f"training needs at least 2 pairs, got {n} and {len(b)} rows")
    trained = list(dict.fromkeys([*first.parameters(), *second.parameters()]))
    size = min(training.batch, n)
    batches = Minibatches(n, size, -(-training.steps // (n // size)), torch.Generator().manual_seed(training.seed))
    low = False

    def step(rows: Tensor) -> Mapping[str, Tensor]:
        nonlocal low
        x, y = (nn.functional.normalize(tower(z[rows]), dim=-1) for tower, z in ((first, a), (second, b)))
        own = None if keys is None else keys[rows]
        found = clip_plus(x, y, training.weights, training.tau, keys=own, gather=training.gather)
        low = training.stop_at is not None and float(found.get("contrast", found["loss"]).detach()) < training.stop_at
        return found

    with seeded(training.seed), synchronise(trained):
        first.train()
        second.train()
        history = train(
            step,
            trained,
            batches,
            lr=training.lr,
            weight_decay=training.weight_decay,
            total=training.steps,
            stop=lambda done: low or done >= training.steps,
            progress=progress,
        )
    first.eval()
    second.eval()
    return history


def resized(
    model: nn.Module, width: int, projections: Sequence[str] = ("visual.proj", "text_projection"), *, seed: int = 0
) -> nn.Module:
    """Give a pretrained dual encoder new last projections to `width` numbers, in place, and return it.

    `projections` are the names of its projections: matrices (in, out), as CLIP has them in open_clip, or linear layers
    (``heads.image`` and ``heads.text`` of a `DualEncoder`, ``visual_projection`` and ``text_projection`` in
    transformers). The new ones are drawn by `seed` with deviation in^−½. Compare what is trained then with the plain
    loss on the same new projections, never with the model as it was.

    Raises `BadInput` for a width below 1, `NotFound` for a name that is no projection of the model.
    """
    if width < 1:
        raise BadInput(f"width = {width}; a projection gives at least 1 number")
    generator = torch.Generator().manual_seed(seed)
    for name in projections:
        place, _, attribute = name.rpartition(".")
        try:
            owner = model.get_submodule(place)
        except AttributeError:
            owner = nn.Module()
        old = getattr(owner, attribute, None)
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, width, bias=old.bias is not None).to(old.weight)
            fresh = torch.randn(width, old.in_features, generator=generator) * old.in_features**-0.5
            with torch.no_grad():
                new.weight.copy_(fresh)
                if new.bias is not None:
                    new.bias.zero_()
            setattr(owner, attribute, new)
        elif isinstance(old, nn.Parameter) and old.ndim == 2:
            fresh = torch.randn(len(old), width, generator=generator) * len(old) ** -0.5
            setattr(owner, attribute, nn.Parameter(fresh.to(old)))
        else:
            known = [n for n, p in model.named_parameters() if "proj" in n or "head" in n]
            raise NotFound.named("projection", name, known)
    return model
