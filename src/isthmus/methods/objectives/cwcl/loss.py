"""The loss, its weights, and the module with a learned temperature."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput
from isthmus.parts.contrast import LogScale, gather_rows, row_contrast

__all__ = [
    "CWCL",
    "WeightFn",
    "Weighted",
    "affine",
    "centred",
    "cwcl_loss",
    "effective_positives",
    "nearest",
    "paired",
    "same_label",
    "sharpened",
]

Weighted = Literal["u2v", "v2u", "both"]
WeightFn = Callable[[Tensor, Tensor], Tensor]
"""From the references (m, …) of the whole batch and (n,) row numbers to the weights (n, m) of those rows."""


def affine(ref: Float[Tensor, "m d"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    """Return the paper's weights, (⟨r_i, r_j⟩ + 1) / 2: in [0, 1], symmetric, 1 on the diagonal."""
    return ((1 + _cosines(ref, rows)) / 2).clamp(0, 1)


def centred(ref: Float[Tensor, "m d"], rows: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    """Return the affine weights of the references less their mean: for encoders whose cosines are all close to 1."""
    unit = nn.functional.normalize(ref, dim=-1)
    return affine(unit - unit.mean(0), rows)


def sharpened(temperature: float, *, centre: bool = True) -> WeightFn:
    """Return weights exp((⟨r_i, r_j⟩ − 1) / τ_w), which the loss normalises to softmax_j(⟨r_i, r_j⟩ / τ_w).

    Relations: τ_w → 0 gives `paired`, τ_w → ∞ equal weights. Raises `BadInput` for a temperature ≤ 0.
    """
    if not temperature > 0:
        raise BadInput(f"the temperature of the weights must be positive, got {temperature}")

    def weights(ref: Tensor, rows: Tensor) -> Tensor:
        unit = nn.functional.normalize(ref, dim=-1)
        return ((_cosines(unit - unit.mean(0) if centre else unit, rows) - 1) / temperature).exp().clamp(max=1)

    return weights


def nearest(k: int, weight_fn: WeightFn = affine) -> WeightFn:
    """Return weights that are 0 but for the k largest of a row (its own among them); not symmetric.

    Relations: k = 1 → `paired`; k = m → `weight_fn`. Raises `BadInput` for k < 1.
    """
    if k < 1:
        raise BadInput(f"nearest needs k of at least 1, got {k}")

    def weights(ref: Tensor, rows: Tensor) -> Tensor:
        w = weight_fn(ref, rows)
        # another item may be as near as the item itself, which must be among the k all the same
        ranked = w.scatter(1, rows.unsqueeze(1), torch.inf)
        top = ranked.topk(min(k, w.shape[1]), dim=1).indices
        return torch.zeros_like(w).scatter(1, top, w.gather(1, top))

    return weights


def paired(ref: Tensor, rows: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    """Return the weights of the baseline, 1 for the pair itself and 0 elsewhere: CL, and LiT with a locked tower."""
    eye = torch.zeros(len(rows), len(ref), dtype=_dtype(ref), device=ref.device)
    return eye.scatter(1, rows.unsqueeze(1), 1)


def same_label(ref: Tensor, rows: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
    """Return the weights of supervised contrast, [y_i = y_j]; the references are labels (m,)."""
    if ref.ndim != 1:
        raise BadInput(f"same_label takes labels (m,) as references, got shape {tuple(ref.shape)}")
    return (ref[rows].unsqueeze(1) == ref).to(_dtype(ref))


def cwcl_loss(
    p: Float[Tensor, "n d"],
    q: Float[Tensor, "n d"],
    ref: Tensor,
    tau: float | Float[Tensor, ""] = 0.07,
    *,
    weighted: Weighted = "u2v",
    weight_fn: WeightFn = affine,
    keys: Int[Tensor, " n"] | None = None,
    gather: bool = False,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return L_cw + L_cl of unit vectors `p` (the modality that learns) and `q` (the one that is frozen).

    `ref` (n, …) are the frozen features that the weights are taken from; no gradient reaches them. `weighted` says
    which direction has soft positives: the paper's is p → q. `keys` (n,) name the items: those of one key (a caption
    that occurs twice) are no negatives of one another in the direction without weights. With `gather` every process
    brings its own n rows and compares them with the rows of all; the mean over processes is the loss of the whole
    batch. `tile` bounds the memory (`parts.contrast.row_contrast`).

    Relations (each one a test):
        `weight_fn` = `paired` → twice `info_nce`, the symmetric CLIP loss.
        `weight_fn` = `same_label` → supervised contrast with the logarithm outside, one way.
        all weights 1 → the mean over j of −log softmax; all logits equal → log n, its minimum.
        L_cw ≥ the mean entropy of the normalised weights, with equality where the soft-max is the weights.
        weighted="both" → twice `info_nce` with the weights as targets.

    Raises:
        BadInput: for shapes that do not fit, a direction that does not exist, or a temperature ≤ 0.
    """
    n = len(p)
    if p.shape != q.shape or p.ndim != 2 or len(ref) != n or (keys is not None and keys.shape != (n,)):
        shapes = [tuple(x.shape) for x in (p, q, ref)] + ([] if keys is None else [tuple(keys.shape)])
        raise BadInput(f"cwcl_loss needs p, q (n, d), references (n, …) and keys (n,), got {shapes}")
    if weighted not in ("u2v", "v2u", "both"):
        raise BadInput(f"weighted is 'u2v', 'v2u' or 'both', got {weighted!r}")
    if not bool(torch.as_tensor(tau) > 0):
        raise BadInput(f"tau must be positive, got {tau}")
    ref, scale = ref.detach(), 1 / tau
    rows = torch.arange(n, device=p.device)
    all_p, all_q = p, q
    if gather and torch.distributed.is_available() and torch.distributed.is_initialized():
        all_p, all_q, ref = gather_rows(p), gather_rows(q), gather_rows(ref)
        keys = None if keys is None else gather_rows(keys)
        rows = rows + n * torch.distributed.get_rank()

    def weights(here: Tensor) -> Tensor:
        return weight_fn(ref, here).to(p.dtype)

    def others(here: Tensor) -> Tensor:
        assert keys is not None
        twins = keys[here].unsqueeze(1) == keys
        return ~twins.scatter(1, here.unsqueeze(1), False)

    def direction(anchors: Tensor, candidates: Tensor, soft: bool) -> Tensor:
        targets, mask = (weights, None) if soft else (None, None if keys is None else others)
        return row_contrast(anchors, candidates, scale=scale, rows=rows, targets=targets, mask=mask, tile=tile)

    return direction(p, all_q, weighted != "v2u") + direction(q, all_p, weighted != "u2v")


def effective_positives(weights: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Return exp(H) of each row's normalised weights: how many equally weighted positives it amounts to.

    Relations: one weight above 0 → 1; m equal weights → m. Raises `BadInput` for a row without a weight.
    """
    if weights.ndim != 2 or bool((weights < 0).any()) or not bool((weights > 0).any(1).all()):
        raise BadInput(f"weights of shape {tuple(weights.shape)} must be (n, m), at least 0, with one above 0 a row")
    entropy: Tensor = torch.special.entr(weights / weights.sum(1, keepdim=True)).sum(1)
    return entropy.exp()


class CWCL(nn.Module):
    """The loss on batches, with a learned temperature.

    `u` names the modality that learns and `v` the frozen one. The weights come from the batch's features of `v` as
    they are; where a head trains on top of them, name the modality that holds the frozen features as `ref`. Vectors
    are brought to length 1 here; items that lack one of the modalities are left out (with `gather`, every process
    must be left with the same number).
    """

    def __init__(
        self,
        u: str,
        v: str,
        *,
        ref: str | None = None,
        tau: float = 0.07,
        weighted: Weighted = "u2v",
        weight_fn: WeightFn = affine,
        gather: bool = False,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        self.u, self.v, self.ref = u, v, ref or v
        self.weighted, self.weight_fn, self.gather, self.tile = weighted, weight_fn, gather, tile
        self.scale = LogScale(tau)

    def loss(self, batch: Batch, *, ref: Tensor | None = None, keys: Tensor | None = None) -> Mapping[str, Tensor]:
        """Return "loss" and the temperature "tau" of the items that have both modalities.

        `ref` (n, …), one entry an item of the batch, is what the weights are taken from, such as the labels for
        `same_label`; without it the vectors of the modality `ref` of the constructor are. `keys` (n,) name the items.

        Raises `BadInput` when a modality is not in the batch, when no item has all of them, or for shapes that do not
        fit.
        """
        names = dict.fromkeys([self.u, self.v, *([self.ref] if ref is None else [])])
        if absent := [m for m in names if m not in batch.x]:
            raise BadInput(f"the batch has {sorted(batch.x)}, but not {', '.join(absent)}")
        if wrong := [tuple(x.shape) for x in (ref, keys) if x is not None and len(x) != len(batch)]:
            raise BadInput(f"references and keys need one entry for each of the {len(batch)} items, got {wrong[0]}")
        both = batch.present(*names)
        if not bool(both.any()):
            raise BadInput(f"no item of the batch has all of {', '.join(names)}")
        p, q = (nn.functional.normalize(batch.x[m][both], dim=-1) for m in (self.u, self.v))
        scale = self.scale()
        loss = cwcl_loss(
            p,
            q,
            (batch.x[self.ref] if ref is None else ref)[both],
            1 / scale,
            weighted=self.weighted,
            weight_fn=self.weight_fn,
            keys=None if keys is None else keys[both],
            gather=self.gather,
            tile=self.tile,
        )
        return {"loss": loss, "tau": 1 / scale}


def _cosines(ref: Tensor, rows: Tensor) -> Tensor:
    unit = nn.functional.normalize(ref, dim=-1)
    # rounding must not take the diagonal off 1
    return (unit[rows] @ unit.T).scatter(1, rows.unsqueeze(1), 1)


def _dtype(ref: Tensor) -> torch.dtype:
    return ref.dtype if ref.is_floating_point() else torch.get_default_dtype()
