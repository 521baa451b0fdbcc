"""The terms that are added to the contrastive loss, their weighted sum, and the module of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.parts.contrast import Tiled, distinct, gather_rows, gathered_info_nce, info_nce, row_contrast

__all__ = [
    "CLIP",
    "CUA",
    "CUAXU",
    "CYCLIP",
    "TERMS",
    "ClipPlus",
    "alignment_loss",
    "clip_plus",
    "cosine_uniformity_loss",
    "cross_uniformity_loss",
    "cyclic_direction_loss",
    "cyclic_loss",
    "joint_contrast",
    "pearson_loss",
    "rsa_loss",
    "singular_value_loss",
    "uniform_cyclic_loss",
    "uniformity_loss",
]

CELLS = 1 << 22
"""Pairs that are held at once."""

CLIP: Mapping[str, float] = MappingProxyType({"contrast": 1.0})
CUA: Mapping[str, float] = MappingProxyType({"contrast": 1.0, "uniformity": 1.0, "alignment": 1.0})
CUAXU: Mapping[str, float] = MappingProxyType(
    {"contrast": 1.0, "uniformity": 1.0, "alignment": 1.0, "cross_uniformity": 1.0}
)
CYCLIP: Mapping[str, float] = MappingProxyType({"contrast": 1.0, "cyclic": 1.0})


def uniformity_loss(x: Float[Tensor, "n d"], keys: Int[Tensor, " n"] | None = None, *, t: float = 2.0) -> Tensor:
    """Return log mean_{j≠k} exp(−t ‖x_j − x_k‖²) of unit vectors; pairs of one key (a caption twice) do not count.

    Relations: all equal → 0.  ·  two opposite points → −4t.  ·  a regular simplex of n → −2t·n/(n−1).
    Raises `BadInput` without two rows of different key.
    """
    return _log_mean_exp(x, x, keys, 2 * t, below=2 * t)


def cross_uniformity_loss(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], keys: Int[Tensor, " n"] | None = None, *, t: float = 2.0
) -> Tensor:
    """Return log mean_{j≠k} exp(−t ‖a_j − b_k‖²): strangers of the two modalities, never a pair itself.

    Relations: a = b → `uniformity_loss`.  ·  a pair moved together where no stranger is → unchanged.
    """
    return _log_mean_exp(a, b, keys, 2 * t, below=2 * t)


def alignment_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return mean_j ‖a_j − b_j‖². Relations: 2 − 2 · mean cosine of the pairs on unit vectors; equal tables → 0."""
    return _up(a - b).square().sum(1).mean()


def cyclic_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return CyCLIP's n/4 · [mean (⟨a_j, a_k⟩ − ⟨b_j, b_k⟩)² + mean (⟨a_j, b_k⟩ − ⟨b_j, a_k⟩)²], means over all pairs.

    Relations: a = b → 0. Source: goel2022 (arXiv 2205.14459), as the official code of the gap weighs it.
    """
    return len(a) * (_square_of(_own_minus_own, a, b) + _square_of(_across_minus_back, a, b)) / 4


def uniform_cyclic_loss(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], keys: Int[Tensor, " n"] | None = None
) -> Tensor:
    """Return mean_{j≠k} (‖a_j − a_k‖² − ‖b_j − b_k‖²)² of unit vectors. Relations: a = b, or b turned → 0."""
    n = len(a)
    strangers = _different(keys, n, a.device)
    return 4 * _square_of(_own_minus_own, a, b, strangers) * n * n / _count(strangers, n)


def cyclic_direction_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return the mean over pairs and axes of ((a_j − a_k) − (b_j − b_k))².

    Through e = a − b, as 2 (mean ‖e‖² − ‖mean e‖²) / d, without the (n, n, d) differences.
    Relations: b = a + a common shift → 0.
    """
    e = _up(a - b)
    return 2 * (e - e.mean(0)).square().sum(1).mean() / e.shape[1]


def cosine_uniformity_loss(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], keys: Int[Tensor, " n"] | None = None
) -> Tensor:
    """Return ½ U(a, b) + ¼ U(a, a) + ¼ U(b, b) with U(x, y) = log mean_{j≠k} exp⟨x_j, y_k⟩.

    The official line breaks off before the last of the three, which is never added there; here all are.
    """
    cross, own_a, own_b = (_log_mean_exp(x, y, keys, 1.0, below=0.0) for x, y in ((a, b), (a, a), (b, b)))
    return cross / 2 + own_a / 4 + own_b / 4


def joint_contrast(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    scale: float | Tensor,
    keys: Int[Tensor, " n"] | None = None,
    *,
    with_itself: bool = False,
    tile: int | None = None,
) -> Tensor:
    """Return the NT-Xent loss of SimCLR over both modalities in one table [a; b]: each row finds its partner.

    A row is no negative of itself, nor are others of its key; `with_itself` keeps it in the denominator, as the
    official code does, which no model can lower below log(1 + e^0) per row for pairs that coincide.
    """
    n, z = len(a), torch.cat([a, b])
    partner = torch.arange(2 * n, device=z.device).roll(n)
    names = torch.arange(n, device=z.device) if keys is None else keys

    def block(rows: slice, columns: slice, name: Tensor, own: Tensor) -> Tensor:
        here = torch.arange(rows.start, rows.stop, device=own.device)[:, None]
        there = torch.arange(columns.start, columns.stop, device=own.device)
        wanted = own[rows, None] == there
        return (name[rows, None] != name[columns]) | wanted | ((here == there) & with_itself)

    mask = Tiled(block, (names.repeat(2), partner))
    return row_contrast(z, z, scale=scale, rows=partner, mask=mask, tile=tile)


def rsa_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return −½ [cos(AB, AA) + cos(BA, BB)] of the tables of cosines, taken as long vectors. Relations: a = b → −1."""
    tables = [_up(x) @ _up(y).T for x, y in ((a, b), (a, a), (b, a), (b, b))]
    across, own_a, back, own_b = (table.flatten() for table in tables)
    alike = nn.functional.cosine_similarity
    return -(alike(across, own_a, dim=0) + alike(back, own_b, dim=0)) / 2


def pearson_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return −½ [r(AB, AA) + r(AB, BB)], r Pearson's correlation over the pairs below the diagonal.

    As in the code, of AB too only that half is read, so that the order of the rows matters, as nowhere else here.
    Relations: a = b → −1. Raises `BadInput` for fewer than 3 rows, which leave nothing to correlate.
    """
    if len(a) < 3:
        raise BadInput(f"pearson_loss needs at least 3 pairs, got {len(a)}")
    low = torch.tril_indices(len(a), len(a), -1, device=a.device)
    across, own_a, own_b = ((_up(x) @ _up(y).T)[low[0], low[1]] for x, y in ((a, b), (a, a), (b, b)))
    centred = [values - values.mean() for values in (across, own_a, own_b)]
    alike = nn.functional.cosine_similarity
    return -(alike(centred[0], centred[1], dim=0) + alike(centred[0], centred[2], dim=0)) / 2


def singular_value_loss(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """Return ½ Σ over both tables of (σ_max − σ_min)². Relations: equal singular values (isotropic) → 0."""
    values = [torch.linalg.svdvals(_up(x)) for x in (a, b)]
    return torch.stack([(s[0] - s[-1]).square() for s in values]).mean()


Term = Callable[[Tensor, Tensor, "float | Tensor", "Tensor | None"], Tensor]

TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "uniformity": lambda a, b, s, keys: (uniformity_loss(a, keys) + uniformity_loss(b, keys)) / 2,
        "cross_uniformity": lambda a, b, s, keys: cross_uniformity_loss(a, b, keys),
        "alignment": lambda a, b, s, keys: alignment_loss(a, b),
        "cyclic": lambda a, b, s, keys: cyclic_loss(a, b),
        "uniform_cyclic": lambda a, b, s, keys: uniform_cyclic_loss(a, b, keys),
        "cyclic_direction": lambda a, b, s, keys: cyclic_direction_loss(a, b),
        "cosine_uniformity": lambda a, b, s, keys: cosine_uniformity_loss(a, b, keys),
        "cosine_alignment": lambda a, b, s, keys: -(_up(a) * b).sum(1).mean(),
        "joint_contrast": joint_contrast,
        "rsa": lambda a, b, s, keys: rsa_loss(a, b),
        "pearson": lambda a, b, s, keys: pearson_loss(a, b),
        "singular_values": lambda a, b, s, keys: singular_value_loss(a, b),
    }
)
"""What may be added to "contrast", by name: functions of both unit vectors (n, d), the scale and the keys."""


def clip_plus(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    weights: Mapping[str, float] = CUA,
    tau: float | Float[Tensor, ""] = 0.01,
    *,
    keys: Int[Tensor, " n"] | None = None,
    gather: bool = False,
    tile: int | None = None,
) -> dict[str, Tensor]:
    """Return "loss", the weighted sum of terms of unit vectors, and each of the terms by name.

    `weights` names terms of `TERMS`, and "contrast" for the symmetric CLIP loss; without it the contrastive loss is
    left out. Terms of weight 0 are not computed. Rows of one key in `keys` (n,) (a caption that occurs twice) are no
    negatives of one another and are not driven apart. With `gather` every process brings its own n rows; the mean
    over processes is the loss of the whole batch. `tile` bounds the memory of the contrast; the others hold 4 million
    pairs at once whatever the batch.

    Relations (each one a test):
        `CLIP` → `info_nce`.  ·  weights without "contrast" → the loss less the contrast.
        the same rotation of both, or one permutation of the rows → unchanged.

    Raises:
        BadInput: for unequal shapes, a temperature ≤ 0, weights that are not finite or all 0, or a batch without two
            rows of different key.
        NotFound: for an unknown term.
    """
    if a.ndim != 2 or a.shape != b.shape or (keys is not None and keys.shape != (len(a),)):
        shapes = [tuple(x.shape) for x in (a, b, *(() if keys is None else (keys,)))]
        raise BadInput(f"clip_plus needs both sides (n, d) and keys (n,), got {shapes}")
    checked_weights(weights)
    if not bool(torch.as_tensor(tau) > 0):
        raise BadInput(f"tau must be positive, got {tau}")
    found: dict[str, Tensor] = {}
    whole_a, whole_b, whole_keys = a, b, keys
    if gather:
        whole_a, whole_b = gather_rows(a), gather_rows(b)
        whole_keys = None if keys is None else gather_rows(keys)
    if weights.get("contrast"):
        mask = None if whole_keys is None else distinct(whole_keys)
        compare = gathered_info_nce if gather else info_nce
        found["contrast"] = compare(a, b, scale=1 / tau, mask=mask, tile=tile)
    for name, weight in weights.items():
        if weight and name != "contrast":
            found[name] = TERMS[name](whole_a, whole_b, 1 / tau, whole_keys)
    total = torch.stack([weights[name] * value for name, value in found.items()]).sum()
    return {"loss": total, **found}


def checked_weights(weights: Mapping[str, float]) -> None:
    """Raise `NotFound` for an unknown term, `BadInput` for weights that are not finite or all 0."""
    known = ("contrast", *TERMS)
    if unknown := [name for name in weights if name not in known]:
        raise NotFound.named("term", unknown[0], known)
    if not any(weights.values()) or not all(abs(w) < float("inf") for w in weights.values()):
        raise BadInput(f"weights must be finite and not all 0, got {dict(weights)}")


class ClipPlus(nn.Module):
    """The loss on batches of two modalities, at a fixed temperature as in the paper.

    Vectors are brought to length 1 here; items that lack a modality are left out, and `Batch.y`, where there is one,
    holds the keys.
    """

    def __init__(
        self,
        first: str,
        second: str,
        *,
        weights: Mapping[str, float] = CUA,
        tau: float = 0.01,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        checked_weights(weights)
        if not tau > 0:
            raise BadInput(f"tau must be positive, got {tau}")
        self.first, self.second, self.weights, self.tau, self.tile = first, second, dict(weights), tau, tile

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return "loss" and each of its terms.

        Raises `BadInput` when a modality is not in the batch, fewer than two items have both, or a vector is zero.
        """
        if absent := [m for m in (self.first, self.second) if m not in batch.x]:
            raise BadInput(f"the batch has {sorted(batch.x)}, but not {', '.join(absent)}")
        has = batch.present(self.first, self.second)
        if int(has.sum()) < 2:
            raise BadInput(
                f"{int(has.sum())} items of the batch have both {self.first} and {self.second}; 2 are needed"
            )
        a, b = (_unit(batch.x[m][has], m) for m in (self.first, self.second))
        keys = None if batch.y is None else batch.y[has]
        return clip_plus(a, b, self.weights, self.tau, keys=keys, tile=self.tile)


def _unit(x: Tensor, name: str) -> Tensor:
    if not bool(x.any(1).all()):
        raise BadInput(f"{name} has a vector of zeros in row {int((~x.any(1)).nonzero()[0])} of the items with both")
    return nn.functional.normalize(x, dim=-1)


def _log_mean_exp(a: Tensor, b: Tensor, keys: Tensor | None, factor: float, *, below: float) -> Tensor:
    """Return log mean exp(factor·⟨a_j, b_k⟩ − below) over the pairs of different key."""
    strangers = _different(keys, len(a), a.device)
    count = _count(strangers, len(a))
    total: Tensor = _SumExp.apply(_up(a), _up(b), strangers, factor, below)
    return (total / count).log()


class _SumExp(torch.autograd.Function):
    """Σ exp(factor·⟨a_j, b_k⟩ − below) over the pairs of different name, block by block.

    The gradient is a multiple of what each block adds to it, so that it is made on the way and no block is kept or
    computed twice.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, names: Tensor, factor: float, below: float) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        total, pulls = (
            a.new_zeros(()),
            [torch.zeros_like(x) if w else None for x, w in zip((a, b), wanted, strict=True)],
        )
        for rows in _blocks(len(a)):
            near = (a[rows] @ b.T).mul_(factor).sub_(below).exp_()
            near.masked_fill_(names[rows, None] == names, 0)
            total += near.sum()
            if pulls[0] is not None:
                pulls[0][rows] = near @ b
            if pulls[1] is not None:
                pulls[1].addmm_(near.T, a[rows])
        ctx.pulls = [None if pull is None else pull.mul_(factor) for pull in pulls]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if pull is None else grad * pull for pull in ctx.pulls), None, None, None)


def _own_minus_own(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x @ a.T - y @ b.T


def _across_minus_back(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x @ b.T - y @ a.T


def _square_of(
    difference: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    a: Tensor,
    b: Tensor,
    names: Int[Tensor, " n"] | None = None,
) -> Tensor:
    """Return the sum over pairs (of different name) of a squared difference of cosines, over n²."""
    a, b = _up(a), _up(b)

    def sums(x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
        return (difference(a, b, x, y).square() * keep).sum()

    n = len(a)
    parts = []
    for rows in _blocks(n):
        keep = torch.ones(1, n, dtype=torch.bool, device=a.device) if names is None else names[rows, None] != names
        parts.append(_again(sums, a[rows], b[rows], keep))
    return torch.stack(parts).sum() / n**2


def _again(sums: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, y: Tensor, keep: Bool[Tensor, "b n"]) -> Tensor:
    """Compute a block; where there are several, once more in the backward pass, so that none outlives the next."""
    if keep.shape[-1] ** 2 <= CELLS or not (x.requires_grad or y.requires_grad):
        return sums(x, y, keep)
    found: Tensor = checkpoint(sums, x, y, keep, use_reentrant=False, preserve_rng_state=False)
    return found


def _blocks(n: int) -> list[slice]:
    step = max(1, CELLS // n)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _different(keys: Tensor | None, n: int, device: torch.device) -> Int[Tensor, " n"]:
    return torch.arange(n, device=device) if keys is None else keys


def _count(names: Int[Tensor, " n"], n: int) -> int:
    same = torch.unique(names, return_counts=True)[1]
    if not (count := n * n - int(same.square().sum())):
        raise BadInput(f"the {n} rows of the batch are one item: uniformity needs two of different key")
    return count


def _up(x: Tensor) -> Tensor:
    """Return half precision as float32, where exp(−8) and its gradient are not 0."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
