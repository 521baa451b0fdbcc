"""Training towers on cached features of frozen encoders: tokens, pooled vectors, or both."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.spaces.projectors.modules import Temperature, Tower
from isthmus.methods.spaces.projectors.sparc import sparc_loss
from isthmus.parts.contrast import gather_rows, info_nce
from isthmus.parts.train import Minibatches, synchronise, train

__all__ = ["Features", "fit_towers"]


@dataclass(frozen=True)
class Features:
    """Frozen features of n items: `tokens` (n, t, d) with `mask` (n, t), a `summary` (n, d) (CLS, pooled), or both.

    Tokens may be half precision, to keep the cache small; they are computed with in float32.
    """

    tokens: Float[Tensor, "n t d"] | None = None
    mask: Bool[Tensor, "n t"] | None = None
    summary: Float[Tensor, "n d"] | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.summary is None:
            raise BadInput("features need tokens (n, t, d) or a summary (n, d)")

    def __len__(self) -> int:
        first = self.tokens if self.tokens is not None else self.summary
        assert first is not None
        return len(first)

    def take(self, rows: Tensor, *, sample: int | None = None, generator: torch.Generator | None = None) -> "Features":
        """Return some rows in float32; with `sample`, that many random tokens of each item without a mask."""
        tokens = None
        mask = None if self.mask is None else self.mask[rows]
        if self.tokens is not None:
            t = self.tokens.shape[1]
            if sample is None or sample >= t or mask is not None:
                tokens = self.tokens[rows].float()
            else:
                places = torch.rand(len(rows), t, generator=generator).argsort(1)[:, :sample]
                tokens = self.tokens[rows.unsqueeze(1), places].float()
        return Features(tokens, mask, None if self.summary is None else self.summary[rows].float())

    def into(self, tower: Tower) -> Tensor:
        """Return the tower's unit vectors of these items."""
        vectors: Tensor = tower(self.tokens, mask=self.mask, summary=self.summary)
        return vectors


def fit_towers(
    towers: Mapping[str, Tower],
    features: Mapping[str, Features],
    *,
    steps: int,
    batch: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 0.02,
    temperature: float = 0.07,
    token_sample: int | None = None,
    sparc: float = 0.0,
    gather: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Train towers in place on row-paired features and return what each step reported (loss, temperature, negatives).

    The loss is InfoNCE over every pair of modalities plus `sparc` times `sparc_loss` between the adapted tokens
    of the first modality (its patches) and those of the others (their words). `token_sample` draws that many
    tokens of an unmasked item each step, an unbiased and much cheaper estimate of its mean.

    In several processes each one brings its own rows; gradients are averaged over them. `gather` lets the rows
    of all processes be negatives; without it (the official code) a process sees its own only. "negatives" in
    the report says how many there were.

    Raises:
        BadInput: for modalities without a tower, fewer than two of them, or features of unequal length.
    """
    sizes = {m: len(f) for m, f in features.items()}
    if set(towers) != set(features) or len(towers) < 2 or len(set(sizes.values())) != 1:
        raise BadInput(f"towers of {sorted(towers)} need features of equal rows for each; rows are {sizes}")
    n = next(iter(sizes.values()))
    names = list(towers)
    with seeded(seed):
        draw = torch.Generator().manual_seed(seed)
        tau = Temperature(temperature)
        per_epoch = max(1, n // min(batch, n))
        batches = Minibatches(n, min(batch, n), -(-steps // per_epoch), draw)
        params = [p for part in (*towers.values(), tau) for p in part.parameters()]

        def step(rows: Tensor) -> dict[str, Tensor]:
            taken = {m: features[m].take(rows, sample=token_sample, generator=draw) for m in names}
            z = {m: taken[m].into(towers[m]) for m in names}
            if gather:
                z = {m: gather_rows(v) for m, v in z.items()}
            losses = [info_nce(z[a], z[b], scale=tau()) for a, b in itertools.combinations(names, 2)]
            loss = torch.stack(losses).mean()
            if sparc:
                loss = loss + sparc * _fine(taken, towers, names)
            return {"loss": loss, "temperature": tau.tau, "negatives": torch.tensor(float(len(z[names[0]]) - 1))}

        for tower in towers.values():
            tower.train()
        with synchronise(params):
            history = train(
                step,
                params,
                batches,
                lr=lr,
                weight_decay=weight_decay,
                final_lr=lr / 100,
                warmup=0.05,
                progress=progress,
                stage="projectors",
            )
    for tower in towers.values():
        tower.eval()
    return history


def _fine(taken: Mapping[str, Features], towers: Mapping[str, Tower], names: list[str]) -> Tensor:
    """Return the mean SPARC loss between the patches of the first modality and the words of the others."""
    first, losses = taken[names[0]], []
    for name in names[1:]:
        words = taken[name]
        if first.tokens is None or words.tokens is None:
            raise BadInput(f"sparc needs tokens of {names[0]!r} and {name!r}")
        mask = torch.ones(words.tokens.shape[:2], dtype=torch.bool) if words.mask is None else words.mask
        losses.append(sparc_loss(towers[names[0]].tokens(first.tokens), towers[name].tokens(words.tokens), mask))
    return torch.stack(losses).mean()
