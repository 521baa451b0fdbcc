"""Relative coordinates that gradients flow through, to rows and anchors: a layer between encoder and head."""

from typing import Literal

import torch
from torch import Tensor, nn

from isthmus.core.errors import BadInput

__all__ = ["RelativeLayer", "Similarity", "clustered", "relative", "rounded", "smooth_steps", "stratified_mean"]

Similarity = Literal["cosine", "angular", "euclidean", "l1", "basis"]
SIMILARITIES = ("cosine", "angular", "euclidean", "l1", "basis")


def relative(x: Tensor, anchors: Tensor, similarity: Similarity = "cosine") -> Tensor:
    """Return (n, k), how similar rows (n, d) are to anchors (k, d): more is nearer.

    "cosine"; "angular", 1 − arccos(cos)/π in [0, 1]; "euclidean" and "l1", minus the distance; "basis", the
    least-squares coordinates of a row in the anchors. The first, second, third and last are those of
    `isthmus.parts.linear.RelativeProjection`, which is for fitted anchors; here both sides may have gradients.
    Raises `BadInput` for widths that differ or an unknown similarity.
    """
    if x.ndim != 2 or anchors.ndim != 2 or x.shape[1] != anchors.shape[1]:
        raise BadInput(f"rows {tuple(x.shape)} and anchors {tuple(anchors.shape)} need the same number of columns")
    if similarity == "basis":
        inverse: Tensor = torch.linalg.pinv(anchors)
        return x @ inverse
    if similarity in ("euclidean", "l1"):
        return -torch.cdist(x, anchors, p=2.0 if similarity == "euclidean" else 1.0)
    if similarity not in SIMILARITIES:
        raise BadInput(f"similarity {similarity!r} is none of {', '.join(SIMILARITIES)}")
    cosines = nn.functional.normalize(x, dim=1) @ nn.functional.normalize(anchors, dim=1).T
    if similarity == "cosine":
        return cosines
    # at ±1 the derivative of the arc cosine is infinite
    edge = 1 - torch.finfo(cosines.dtype).eps
    return 1 - cosines.clamp(-edge, edge).acos() / torch.pi


def rounded(r: Tensor, size: float) -> Tensor:
    """Return similarities rounded to multiples of `size`; gradients pass as if they were not."""
    if not size > 0:
        raise BadInput(f"bins of size {size}; expected a number above 0")
    return r + (torch.round(r / size) * size - r).detach()


def smooth_steps(r: Tensor, size: float = 1.0) -> Tensor:
    """Return r − size·sin(2πr/size)/2π: steps of `size` that are smooth, steep between two multiples and flat at them.

    Relations: multiples of size/2 → unchanged; size = 1 → the released code's.
    """
    if not size > 0:
        raise BadInput(f"steps of size {size}; expected a number above 0")
    return r - size * torch.sin(2 * torch.pi * r / size) / (2 * torch.pi)


def clustered(r: Tensor, centres: Tensor) -> Tensor:
    """Return for each row of coordinates (n, k) the nearest of the centres (c, k); gradients pass as if unchanged."""
    if centres.ndim != 2 or centres.shape[1] != r.shape[1]:
        raise BadInput(f"coordinates {tuple(r.shape)} and centres {tuple(centres.shape)} need the same columns")
    nearest = centres[torch.cdist(r.detach(), centres).argmin(1)]
    return r + (nearest - r).detach()


def stratified_mean(r: Tensor, labels: Tensor) -> Tensor:
    """Return (n, c), the mean similarity to the anchors of each class; `labels` (k,) number the anchors' classes."""
    if labels.shape != (r.shape[1],):
        raise BadInput(f"{r.shape[1]} anchors need as many labels, got shape {tuple(labels.shape)}")
    member = nn.functional.one_hot(labels).to(r.dtype)
    return r @ (member / member.sum(0).clamp(min=1))


class RelativeLayer(nn.Module):
    """(n, d) and the anchors (k, d) of the same encoder → coordinates (n, `parts` · k).

    The anchors are given at each call, because an encoder that trains moves them: stale ones break the training.
    With several `parts` the columns are cut into as many pieces, each with its own similarities, side by side.
    `bin` above 0 rounds similarities (`rounded`), `norm` is the LayerNorm of all experiments of the paper, unit
    length or nothing; `centring` takes the anchors' mean off both first.

    Relations: one part, no bin, no norm → `relative`. Raises `BadInput` where d is no multiple of the parts.
    """

    def __init__(
        self,
        *,
        similarity: Similarity = "cosine",
        centring: bool = False,
        parts: int = 1,
        bin: float = 0.0,
        norm: Literal["layer", "l2", "none"] = "layer",
    ) -> None:
        super().__init__()
        if similarity not in SIMILARITIES or norm not in ("layer", "l2", "none") or parts < 1 or bin < 0:
            raise BadInput(f"similarity={similarity!r}, norm={norm!r}, parts={parts}, bin={bin} is no layer")
        self.similarity, self.centring, self.parts, self.bin, self.norm = similarity, centring, parts, bin, norm

    def forward(self, x: Tensor, anchors: Tensor) -> Tensor:
        """Return the coordinates of the rows."""
        if anchors.shape[-1] % self.parts:
            raise BadInput(f"{anchors.shape[-1]} columns cannot be cut into {self.parts} equal parts")
        if self.centring:
            mean = anchors.mean(0)
            x, anchors = x - mean, anchors - mean
        pieces = zip(x.chunk(self.parts, 1), anchors.chunk(self.parts, 1), strict=True)
        r = torch.cat([relative(a, b, self.similarity) for a, b in pieces], 1)
        if self.bin:
            r = rounded(r, self.bin)
        if self.norm == "layer":
            return nn.functional.layer_norm(r, r.shape[1:])
        return nn.functional.normalize(r, dim=1) if self.norm == "l2" else r
