"""Fine-tuning two towers with mixed losses, the weights between before and after, and how hard mixed negatives are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.m2mix.loss import M2, Mix, checked_weights, draw_share, geodesic_mix, m3_loss
from isthmus.parts.train import Minibatches, synchronise, train

__all__ = ["Training", "fine_tune", "hardness", "hardness_plot", "interpolated"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of the loop. Raises `BadInput` for numbers out of range, `NotFound` for an unknown mixed loss."""

    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(dict(M2)))
    """Of the mixed losses; none of them is plain fine-tuning."""
    tau: float = 0.01
    tau_mixed: float = 0.07
    beta: float = 0.5
    beta_others: float = 0.5
    scheduled: bool = True
    """Whether the mixed losses are divided by the number of the epoch, from 1, as in the released scripts."""
    mix: Mix = geodesic_mix
    steps: int = 300
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        checked_weights(self.weights)
        if self.steps < 1 or self.batch < 2:
            raise BadInput(f"steps = {self.steps}, batch = {self.batch}; at least 1 step and 2 pairs are needed")
        if not (0 < self.lr < 1 and self.weight_decay >= 0 and 0 <= self.warmup < 1):
            raise BadInput(f"lr = {self.lr}, weight_decay = {self.weight_decay} or warmup = {self.warmup} out of range")
        if not min(self.tau, self.tau_mixed, self.beta, self.beta_others) > 0:
            raise BadInput(f"temperatures and betas must be positive: {self}")


def fine_tune(
    first: nn.Module,
    second: nn.Module,
    a: Tensor,
    b: Tensor,
    *,
    training: Training | None = None,
    keys: Int[Tensor, " n"] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Fine-tune two towers in place on n pairs and return every step's losses; they end in evaluation mode.

    `a` (n, …) is what `first` takes, `b` (n, …) what `second` takes: those of one dual encoder, or two that have never
    met behind new heads. Rows of one of the `keys` are the same item. `loss` of both unit vectors takes the place of
    the contrast and its mixtures, for what they are compared with.

    Raises `BadInput` for unequal lengths or fewer than 2 pairs.
    """
    training = training or Training()
    n = len(a)
    if n < 2 or len(b) != n or (keys is not None and keys.shape != (n,)):
        raise BadInput(f"fine-tuning needs at least 2 pairs, got {n} and {len(b)} rows")
    trained = list(dict.fromkeys([*first.parameters(), *second.parameters()]))
    generator = torch.Generator().manual_seed(training.seed)
    size = min(training.batch, n)
    in_epoch = n // size
    batches = Minibatches(n, size, -(-training.steps // in_epoch), torch.Generator().manual_seed(training.seed))
    done = 0

    def step(rows: Tensor) -> Mapping[str, Tensor]:
        nonlocal done
        epoch, done = done // in_epoch, done + 1
        x, y = (nn.functional.normalize(tower(z[rows]), dim=-1) for tower, z in ((first, a), (second, b)))
        if loss is not None:
            return {"loss": loss(x, y)}
        share = 1 / (epoch + 1) if training.scheduled else 1.0
        others = draw_share(training.beta_others, generator)
        shares = {m: draw_share(training.beta, generator) if m == "m2" else others for m in training.weights}
        return m3_loss(
            x,
            y,
            {name: share * weight for name, weight in training.weights.items()},
            tau=training.tau,
            tau_mixed=training.tau_mixed,
            shares=shares,
            keys=None if keys is None else keys[rows],
            mix=training.mix,
        )

    with seeded(training.seed), synchronise(trained):
        first.train()
        second.train()
        history = train(
            step,
            trained,
            batches,
            lr=training.lr,
            weight_decay=training.weight_decay,
            warmup=training.warmup,
            total=training.steps,
            stop=lambda steps: steps >= training.steps,
            progress=progress,
        )
    first.eval()
    second.eval()
    return history


def interpolated(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float = 0.5) -> dict[str, Tensor]:
    """Return the weights at a share of the way from those before fine-tuning to those after it (WiSE-FT).

    Relations: share 0 → before, 1 → after. Raises `BadInput` for other names or shapes, or a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise BadInput(f"share = {share} must lie in [0, 1]")
    if before.keys() != after.keys() or any(before[k].shape != after[k].shape for k in before):
        raise BadInput("the weights before and after are not of one model: names or shapes differ")
    return {k: torch.lerp(x, after[k], share) if x.is_floating_point() else after[k] for k, x in before.items()}


def hardness(a: Any, b: Any, lam: float = 0.5) -> dict[str, Float[np.ndarray, " m"] | float]:
    """Return how near negatives lie to their anchors: ``original`` ⟨a_i, b_j⟩, ``mixed`` ⟨a_i, h_j⟩, i ≠ j.

    ``harder`` is the share of anchors, of both sides, whose nearest mixed negative is nearer than their nearest
    original one. The paper: that tends to 1 where modalities lie apart. Raises `BadInput` for fewer than 2 pairs.
    """
    x, y = (nn.functional.normalize(torch.as_tensor(z), dim=1) for z in (a, b))
    if x.shape != y.shape or len(x) < 2:
        raise BadInput(f"hardness needs pairs (n, d) of at least 2 items, got {tuple(x.shape)} and {tuple(y.shape)}")
    mixed = geodesic_mix(x, y, lam)
    others = ~torch.eye(len(x), dtype=torch.bool)
    found = [[(p @ q.T)[others].view(len(x), -1) for p, q in ((x, z), (y, w))] for z, w in ((y, x), (mixed, mixed))]
    nearest = [torch.stack([table.max(1).values for table in kind]) for kind in found]
    return {
        "original": torch.cat([t.flatten() for t in found[0]]).numpy(),
        "mixed": torch.cat([t.flatten() for t in found[1]]).numpy(),
        "harder": float((nearest[1] > nearest[0] + 1e-6).float().mean()),
    }


def hardness_plot(a: Any, b: Any, lam: float = 0.5, *, bins: int = 40) -> str:
    """Return an SVG document: histograms of the cosines of anchors with original and with mixed negatives."""
    found = hardness(a, b, lam)
    tables = {name: np.asarray(found[name]) for name in ("original", "mixed")}
    low, high = (float(f([f(t) for t in tables.values()])) for f in (np.min, np.max))
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
    counts = {name: np.histogram(t, edges)[0] / t.size for name, t in tables.items()}
    width, height, left, top = 420, 200, 20, 44
    most, parts = max(float(c.max()) for c in counts.values()), []
    for number, (name, share) in enumerate(counts.items()):
        colour = ("#0f766e", "#c2410c")[number]
        x = left + width * (edges - low) / (edges[-1] - low)
        y = top + height * (1 - share / most)
        line = "".join(f"L{p:.1f} {v:.1f}L{q:.1f} {v:.1f}" for p, q, v in zip(x[:-1], x[1:], y, strict=True))
        path = f"M{left} {top + height}{line}L{left + width} {top + height}Z"
        parts.append(f'<path d="{path}" fill="{colour}" fill-opacity="0.35" stroke="{colour}"/>')
        said = f"{name}: mean cosine {float(tables[name].mean()):.2f}"
        parts.append(f'<text x="{left + 210 * number}" y="18" fill="{colour}">{said}</text>')
    title = escape(f"Negatives of {found['harder']:.0%} of the anchors are harder when mixed (λ = {lam:g})")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 40} {height + 84}" font-family="sans-serif" '
        f'font-size="13"><title>{title}</title><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}'
        f'<text x="{left}" y="{top + height + 18}">{low:.2f}</text><text x="{left + width - 30}" '
        f'y="{top + height + 18}">{high:.2f}</text><text x="{left}" y="{top + height + 36}">{title}</text></svg>'
    )
