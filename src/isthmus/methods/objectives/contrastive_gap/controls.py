"""The paper's refutations: the gap comes back without cones, without mismatched pairs, at convergence, in one modality.

Two towers of one kind with different random weights see the same pictures. A rotation W brings the second tower's
first vectors onto the first's, so that there is no gap to begin with; training by contrast alone makes one.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.methods.objectives.contrastive_gap.training import Training, fit_towers
from isthmus.metrics.gap import gap_report
from isthmus.parts.linear import Procrustes

__all__ = ["Rotated", "SmallCNN", "aligned", "same_modality", "sphere", "sweep"]


class SmallCNN(nn.Module):
    """Pictures (n, 3, s, s) to `out` numbers: strided convolutions of `channels`, a mean over places, a linear map."""

    def __init__(self, out: int, *, channels: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in pairwise((3, *channels)):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(4, outside), nn.GELU()]
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(channels[-1], out)

    def forward(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Return vectors."""
        return torch.as_tensor(self.out(self.layers(x).mean((2, 3))))


class Rotated(nn.Module):
    """A tower whose unit vectors are turned by a fixed (d, d) matrix."""

    def __init__(self, tower: nn.Module, turn: Float[Tensor, "d d"]) -> None:
        super().__init__()
        self.tower, self.turn = tower, nn.Buffer(turn)

    def forward(self, x: Tensor) -> Float[Tensor, "n d"]:
        """Return unit vectors."""
        return nn.functional.normalize(self.tower(x), dim=-1) @ self.turn


def aligned(
    first: nn.Module, second: nn.Module, a: Tensor, b: Tensor, *, gap: float = 0.0, most: int = 2048
) -> Rotated:
    """Return the second tower behind the rotation W that brings its vectors nearest those of the first.

    `gap` in [0, 1] leaves some of the gap between the first vectors: those of the first tower are moved by that share
    of the way between the two centres before W is fitted. Of the n pairs the first `most` are used.

    Raises `BadInput` for a gap outside of [0, 1].
    """
    if not 0 <= gap <= 1:
        raise BadInput(f"gap = {gap} must lie in [0, 1]")
    with torch.no_grad():
        x, y = (nn.functional.normalize(tower(z[:most]), dim=-1) for tower, z in ((first, a), (second, b)))
    x = nn.functional.normalize(x + gap * (y.mean(0) - x.mean(0)), dim=-1)
    turn = Procrustes(centring=False).fit(y.numpy(), x.numpy()).rotation_
    return Rotated(second, torch.from_numpy(np.asarray(turn, dtype=np.float32)))


def same_modality(
    make: Callable[[], nn.Module],
    items: Tensor,
    *,
    training: Training,
    second: Tensor | None = None,
    towers: str = "two",
    gap: float | None = 0.0,
    held: Tensor | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train two towers of one kind on the same items; return {"before": report, "after": report, "loss": last}.

    `make` builds a tower with random weights. `towers` says what the second one is: "two" different draws (the
    experiment of the paper), "copy" of the first one's weights, or the one "shared" tower itself. `second` (n, …)
    gives other items as partners: another caption of the same picture, or shuffled ones (mismatched pairs). `gap` is
    as in `aligned`, None leaves the second tower as it was drawn, behind the cone effect. The reports are of `held`
    items, or of those trained on, by `gap_report`.

    Raises `BadInput` for another word than those, or items and partners of unequal length.
    """
    if towers not in ("two", "copy", "shared"):
        raise BadInput(f"towers is 'two', 'copy' or 'shared', got {towers!r}")
    partners = items if second is None else second
    if len(partners) != len(items):
        raise BadInput(f"{len(items)} items and {len(partners)} partners must be pairs")
    with seeded(training.seed):
        first = make()
        other = make() if towers == "two" else copy.deepcopy(first) if towers == "copy" else first
    behind = other if gap is None or towers == "shared" else aligned(first, other, items, partners, gap=gap)
    x, y = (items, partners) if held is None else (held, held)

    def seen() -> dict[str, float]:
        first.eval()
        behind.eval()
        with torch.no_grad():
            return gap_report(first(x).numpy(), behind(y).numpy(), seed=training.seed)

    before = seen()
    history = fit_towers(first, behind, items, partners, training=training, progress=progress)
    return {"before": before, "after": seen(), "loss": history[-1]["loss"], "steps": len(history)}


def sweep(
    experiment: Callable[[int, Training], Mapping[str, Any]],
    *,
    training: Training,
    dimensions: Sequence[int] = (3, 16, 64),
    temperatures: Sequence[float] = (0.01, 0.03, 0.07),
) -> dict[tuple[int, float], Mapping[str, Any]]:
    """Run an experiment at every dimension and temperature: {(d, τ): what ``experiment(d, training)`` returns}."""
    return {(d, tau): experiment(d, replace(training, tau=tau)) for d in dimensions for tau in temperatures}


def sphere(
    pairs: int = 256, *, training: Training | None = None, d: int = 3, frames: int = 24
) -> list[tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]]:
    """Return how two free tables of `pairs` vectors in `d` dimensions move under the loss: `frames` + 1 pictures.

    The tables begin as two narrow cones, as the towers of CLIP do. `sphere_film` draws them.
    Raises `BadInput` for fewer than 2 pairs, 2 dimensions or 1 frame.
    """
    if min(pairs, d) < 2 or frames < 1:
        raise BadInput(f"pairs = {pairs}, d = {d}, frames = {frames}; at least 2 pairs, 2 axes and 1 frame are needed")
    training = training or Training(tau=0.07, steps=480, lr=0.02)
    draw = torch.Generator().manual_seed(training.seed)
    tables = []
    for sign in (1.0, -1.0):
        centre = torch.zeros(d)
        centre[0] = sign
        tables.append(nn.Embedding.from_pretrained(centre + 0.15 * torch.randn(pairs, d, generator=draw), freeze=False))
    every = max(1, training.steps // frames)
    rows = torch.arange(pairs)

    def now() -> tuple[np.ndarray, np.ndarray]:
        one, two = (nn.functional.normalize(t.weight.detach(), dim=1).numpy() for t in tables)
        return one, two

    film = [now()]
    for frame in range(frames):
        piece = replace(training, steps=every, seed=training.seed + frame)
        fit_towers(tables[0], tables[1], rows, rows, training=piece)
        film.append(now())
    return film
