"""The contrastive losses of paired sets on one score matrix: dense for small batches, in tiles for large ones.

| what | loss |
|---|---|
| row i belongs to row i (CLIP) | `info_nce` |
| soft or several positives | `info_nce` with `targets`, such as `alike`, `same`, `smoothed`, `one_to_k` |
| duplicates, other pairs of the same item | `info_nce` with ``mask=distinct(keys)`` |
| a temperature of each pair | `info_nce` with `pair_scale` |
| one direction, some of the rows | `row_contrast` |
| rows of several processes | `gathered_info_nce`, or any loss of `gather_rows` |
| each pair a question of its own (SigLIP) | `sigmoid_contrast` |
| hardest negatives (VSE++) | `hinge_contrast` |
| a batch whose activations do not fit | any loss of `encode_in_chunks` |

    L = ½ [ mean_i −Σ_j P_ij log softmax_j(s·a_iᵀb_j)  +  mean_j −Σ_i Q_ij log softmax_i(s·a_iᵀb_j) ]

P is `targets` with rows that sum to one, Q the same with columns that sum to one; s is `scale` (1/τ), learned by
`LogScale`.

>>> import torch
>>> a, b = (torch.nn.functional.normalize(torch.eye(4) + x, dim=1) for x in (0.1, 0.2))
>>> bool(info_nce(a, b, scale=10.0) < info_nce(a, b.roll(1, 0), scale=10.0))
True

Source: van den Oord et al. 2018 (arXiv 1807.03748) for the loss, Radford et al. 2021 (arXiv 2103.00020) for the
symmetric form.
"""

from isthmus.parts.contrast.cached import encode_in_chunks
from isthmus.parts.contrast.gather import gather_rows
from isthmus.parts.contrast.info_nce import OfRows, gathered_info_nce, info_nce, row_contrast
from isthmus.parts.contrast.matrix import Matrix, Tiled, alike, distinct, one_to_k, same, smoothed
from isthmus.parts.contrast.pairwise import hardest_negatives, hinge_contrast, sigmoid_contrast
from isthmus.parts.contrast.temperature import LogScale

__all__ = [
    "LogScale",
    "Matrix",
    "OfRows",
    "Tiled",
    "alike",
    "distinct",
    "encode_in_chunks",
    "gather_rows",
    "gathered_info_nce",
    "hardest_negatives",
    "hinge_contrast",
    "info_nce",
    "one_to_k",
    "row_contrast",
    "same",
    "sigmoid_contrast",
    "smoothed",
]
