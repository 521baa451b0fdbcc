"""Training a tower beside a frozen one: the loop for any two modalities, and two recipes with bundled encoders."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isthmus import encoders
from isthmus.core.errors import BadInput
from isthmus.core.progress import Progress, silent
from isthmus.core.roles import Tokens
from isthmus.core.run import seeded
from isthmus.methods.objectives.cwcl.loss import (
    Weighted,
    WeightFn,
    affine,
    cwcl_loss,
    effective_positives,
    same_label,
)
from isthmus.methods.objectives.cwcl.towers import SequenceTower, bytes_of, windows
from isthmus.metrics.vectors import matrix, unit
from isthmus.parts.contrast import LogScale
from isthmus.parts.train import Minibatches, synchronise, train
from isthmus.tasks.zero_shot import class_vectors

__all__ = [
    "Bridge",
    "Items",
    "Locked",
    "LockedTower",
    "NearlyUniform",
    "Rows",
    "fit_locked",
    "image_text",
    "rows_of",
    "speech_text",
]

Items = Callable[[Tensor], tuple[Tensor, ...]]
"""From (b,) row numbers to the arguments of a tower for those items."""
ENCODED = 256
"""Items that go through a tower at once when nothing is learned."""


class Rows(Protocol):
    """Frozen vectors by row: a tensor (n, d), or a `LockedTower` that computes them."""

    def __len__(self) -> int:
        """Return n."""
        ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the (b, d) vectors of some rows."""
        ...


class NearlyUniform(UserWarning):
    """The weights of a batch are nearly equal: the frozen encoder tells too little apart."""


@dataclass(frozen=True)
class Locked:
    """What training came to: each step's ``loss`` and ``tau``, and the mean effective positives of the first batch."""

    history: list[dict[str, float]]
    positives: float

    @property
    def tau(self) -> float:
        """The learned temperature."""
        return self.history[-1]["tau"]


class LockedTower:
    """The frozen vectors of a module, computed when they are asked for: in evaluation mode, without a gradient.

    `items` gives the module's arguments by row, for inputs that change from epoch to epoch or do not fit in memory as
    vectors. The module is frozen here.
    """

    def __init__(self, module: nn.Module, items: Items, n: int) -> None:
        self.module, self.items, self.n = module.eval().requires_grad_(False), items, n

    def __len__(self) -> int:
        return self.n

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        found: Tensor = self.module(*self.items(rows))
        return found


def rows_of(*tensors: Tensor) -> Items:
    """Return the items that lie in tensors of equal length, as the arguments of a tower."""
    return lambda rows: tuple(x[rows] for x in tensors)


def fit_locked(
    tower: nn.Module,
    items: Items,
    frozen: Rows,
    *,
    weight_fn: WeightFn = affine,
    weighted: Weighted = "u2v",
    labels: Int[Tensor, " n"] | None = None,
    keys: Int[Tensor, " n"] | None = None,
    head: nn.Module | None = None,
    steps: int = 300,
    batch: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    tau: float = 0.07,
    gather: bool = False,
    tile: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Locked:
    """Train a tower in place so that its vectors of `items` meet the `frozen` vectors of the other modality.

    `weight_fn` = `paired` trains the baseline CL (LiT, where the frozen tower is that of images), `same_label` with
    `labels` supervised contrast, everything else alike. `head` maps the frozen vectors into the common width, or is
    a whole tower of V on top of them; it trains too, while the weights stay those of the frozen vectors. `keys` name
    the items of V, so that one that occurs twice in a batch is no negative of itself. In several processes each one
    brings its own rows, and `gather` lets them see those of all.

    Warns:
        NearlyUniform: when the weights of the first batch amount to more than a quarter of it in equal positives.

    Raises:
        BadInput: for labels or keys of another length, `same_label` without labels, or widths that differ.
    """
    n = len(frozen)
    if any(x is not None and x.shape != (n,) for x in (labels, keys)):
        raise BadInput(f"labels and keys name the {n} frozen vectors, one each")
    if weight_fn is same_label and labels is None:
        raise BadInput("same_label needs labels (n,)")
    size = min(batch, n)
    with seeded(seed):
        scale = LogScale(tau)
        params = [p for m in (tower, head, scale) if m is not None for p in m.parameters()]
        batches = Minibatches(n, size, -(-steps // max(1, n // size)), torch.Generator().manual_seed(seed))
        positives: list[float] = []

        def step(rows: Tensor) -> dict[str, Tensor]:
            r = frozen[rows]
            p = nn.functional.normalize(tower(*items(rows)), dim=-1)
            q = nn.functional.normalize(r if head is None else head(r), dim=-1)
            if p.shape[1] != q.shape[1]:
                raise BadInput(f"the tower gives {p.shape[1]} numbers and the frozen side {q.shape[1]}: add a head")
            ref = labels[rows] if weight_fn is same_label and labels is not None else r
            if not positives:
                whole = weight_fn(ref.detach(), torch.arange(len(rows)))
                positives.append(float(effective_positives(whole).mean()))
            s = scale()
            loss = cwcl_loss(
                p,
                q,
                ref,
                1 / s,
                weighted=weighted,
                weight_fn=weight_fn,
                keys=None if keys is None else keys[rows],
                gather=gather,
                tile=tile,
            )
            return {"loss": loss, "tau": 1 / s}

        for module in (tower, head):
            if module is not None:
                module.train()
        with synchronise(params):
            history = train(
                step,
                params,
                batches,
                lr=lr,
                weight_decay=weight_decay,
                warmup=warmup,
                stop=lambda done: done >= steps,
                total=steps,
                progress=progress,
                stage="cwcl",
            )
    for module in (tower, head):
        if module is not None:
            module.eval()
    if weight_fn is not same_label and positives[0] > max(2.0, size / 4):
        warnings.warn(
            f"{positives[0]:.0f} effective positives in a batch of {size}: the weights hardly tell items apart; "
            f"try centred references, sharpened(temperature) or nearest(k)",
            NearlyUniform,
            stacklevel=2,
        )
    return Locked(history, positives[0])


@dataclass(frozen=True)
class Bridge:
    """A trained tower of modality `u` beside a frozen encoder of `v`: both give unit vectors of one space."""

    u: str
    v: str
    tower: nn.Module
    read: Callable[[Sequence[Any]], Tokens]
    frozen: encoders.Encoder
    centre: Float[np.ndarray, " d"]
    fit: Locked

    def encode(self, modality: str, items: Sequence[Any]) -> Float[np.ndarray, "n d"]:
        """Return the unit vectors of items of `u` or of `v`; `BadInput` for another modality."""
        if modality == self.v:
            return unit(unit(self.frozen.encode(modality, items)) - self.centre)
        if modality != self.u:
            raise BadInput(f"this space has {self.u!r} and {self.v!r}, not {modality!r}")
        with torch.inference_mode():
            parts = [
                self.tower(*map(torch.from_numpy, self.read(items[i : i + ENCODED])))
                for i in range(0, len(items), ENCODED)
            ]
        return unit(torch.cat(parts).numpy())

    def classify(
        self,
        modality: str,
        items: Sequence[Any],
        classes: Sequence[str],
        *,
        templates: Sequence[str] = ("{}",),
        prompts: str = "text",
    ) -> Float[np.ndarray, "n c"]:
        """Return the cosine of each item with each class: an image's class, a speaker's intent, a spoken keyword.

        A class is the mean of its name in every template, in the modality `prompts`. Raises `BadInput` for a
        template without ``{}``, and without classes.
        """
        if not classes or not templates or any("{}" not in t for t in templates):
            raise BadInput(f"classify needs classes, and templates with {{}}; got {len(classes)} and {templates}")
        said = self.encode(prompts, [t.format(name) for name in classes for t in templates])
        own = class_vectors(said.reshape(len(classes), len(templates), -1))
        return np.asarray(self.encode(modality, items) @ own.T)


def speech_text(
    sounds: Sequence[Any],
    texts: Sequence[str],
    *,
    speech: str = "whisper_tiny_en",
    text: str = "e5_small",
    modality: str = "speech",
    tower: Mapping[str, Any] | None = None,
    seed: int = 0,
    **training: Any,
) -> Bridge:
    """Teach a speech tower, on the states of a speech encoder, to meet a frozen text encoder.

    Sound i says text i. `tower` are settings of `SequenceTower`, `training` those of `fit_locked`.
    """
    heard = encoders.load(speech, modality)
    if not hasattr(heard, "tokens"):
        raise BadInput(f"the encoder {speech} gives no sequence of states")

    def read(items: Sequence[Any]) -> Tokens:
        return windows(heard.tokens(modality, items))

    return _bridge((modality, sounds, read), ("text", texts, encoders.load(text, "text")), tower, seed, training)


def image_text(
    pictures: Sequence[Any],
    texts: Sequence[str],
    *,
    image: str = "efficientnet_lite0",
    tower: Mapping[str, Any] | None = None,
    seed: int = 0,
    **training: Any,
) -> Bridge:
    """Teach a text tower, from scratch on bytes, to meet a frozen image encoder: locked-image tuning.

    Text i names picture i. `tower` are settings of `SequenceTower`, `training` those of `fit_locked`.
    """
    return _bridge(("text", texts, bytes_of), ("image", pictures, encoders.load(image, "image")), tower, seed, training)


def _bridge(
    learning: tuple[str, Sequence[Any], Callable[[Sequence[Any]], Tokens]],
    locked: tuple[str, Sequence[Any], encoders.Encoder],
    settings: Mapping[str, Any] | None,
    seed: int,
    training: Mapping[str, Any],
) -> Bridge:
    (u, items, read), (v, others, encoder) = learning, locked
    if len(items) != len(others) or len(items) < 2:
        raise BadInput(f"item i of {u} belongs to item i of {v}; there are {len(items)} and {len(others)}")
    raw = unit(matrix(encoder.encode(v, others), v), v)
    # encoders whose cosines are all close to 1 tell nothing apart until their common part is gone
    centre = raw.mean(0)
    tokens = read(items)
    d = tokens.values.shape[2] if tokens.values.ndim == 3 else None
    with seeded(seed):
        tower = SequenceTower(d, raw.shape[1], **(settings or {}))
    fit = fit_locked(
        tower,
        rows_of(*map(torch.from_numpy, tokens)),
        torch.from_numpy(unit(raw - centre)),
        seed=seed,
        **training,
    )
    return Bridge(u, v, tower, read, encoder, centre, fit)
