"""The optional fine-grained loss (SPARC, Bica et al. 2024, arXiv 2401.09865), weight 0 in the paper's recipe."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.core.errors import BadInput

__all__ = ["grouped_patches", "sparc_loss"]


def grouped_patches(
    patches: Float[Tensor, "n p d"], words: Float[Tensor, "n t d"], *, threshold: float | None = None
) -> Float[Tensor, "n t d"]:
    """Return for each word the unit mean of the patches that resemble it.

        s_tp = wordᵗ·patch_p,  ŝ = (s − min_p s) / (max_p s − min_p s),  ŝ = 0 below `threshold` (default 1/P),
        a_tp = ŝ_tp / Σ_p ŝ_tp,  g_t = Σ_p a_tp patch_p / ‖·‖

    A word that all patches resemble alike has 0/0 there; it gets all patches in equal parts.

    Relations: one patch → that patch; all patches equal → that patch; scaling of the words → unchanged.
    """
    if patches.shape[0] != words.shape[0] or patches.shape[2] != words.shape[2]:
        raise BadInput(f"patches {tuple(patches.shape)} and words {tuple(words.shape)} need equal n and d")
    similarity = words @ patches.transpose(1, 2)
    low, high = similarity.amin(2, keepdim=True), similarity.amax(2, keepdim=True)
    tied = high - low <= torch.finfo(similarity.dtype).eps * high.abs()
    scaled = torch.where(tied, 1.0, (similarity - low) / (high - low).where(~tied, 1))
    bar = 1 / patches.shape[1] if threshold is None else threshold
    if not 0 <= bar <= 1:
        raise BadInput(f"threshold is a share of the range of similarities, 0 to 1, got {bar}")
    kept = scaled.where(scaled >= bar, 0)
    return torch.nn.functional.normalize((kept / kept.sum(2, keepdim=True)) @ patches, dim=-1)


def sparc_loss(
    patches: Float[Tensor, "n p d"],
    words: Float[Tensor, "n t d"],
    mask: Bool[Tensor, "n t"],
    *,
    scale: float | Float[Tensor, ""] = 1.0,
    threshold: float | None = None,
) -> Float[Tensor, ""]:
    """Contrast each word with the other words of its own text through `grouped_patches`, in both directions.

    The mean over the words where `mask` is True of −log softmax over the words of the same text. `scale` is
    1/τ (the official code: 1).

    Relations: one word a text → 0; words of padding → no influence.
    """
    if mask.shape != words.shape[:2]:
        raise BadInput(f"word mask has shape {tuple(mask.shape)}; expected {tuple(words.shape[:2])}")
    if not bool(mask.any()):
        raise BadInput("sparc_loss needs at least one word; the mask is False everywhere")
    words = words.where(mask.unsqueeze(-1), 0)
    groups = grouped_patches(patches, words, threshold=threshold)
    words = torch.nn.functional.normalize(words, dim=-1)
    logits = scale * (groups @ words.transpose(1, 2))
    # A padded word may attend to itself, so that its row stays finite; it is left out of the mean.
    allowed = mask.unsqueeze(1) | torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    losses = []
    for table in (logits, logits.transpose(1, 2)):
        masked = table.masked_fill(~allowed, -torch.inf)
        losses.append((masked.logsumexp(2) - masked.diagonal(dim1=1, dim2=2)).where(mask, 0).sum() / mask.sum())
    return (losses[0] + losses[1]) / 2
