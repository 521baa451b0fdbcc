"""The contrast of one item with its K texts, and the batches of the recipes that it is compared with."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput
from isthmus.parts.contrast import LogScale, gather_rows, row_contrast

__all__ = ["Balance", "OneToK", "one_to_k_loss"]

Balance = Literal["repo", "mean"]


def one_to_k_loss(
    v: Float[Tensor, "n d"],
    t: Float[Tensor, "nk d"],
    k: int,
    tau: float | Float[Tensor, ""] = 0.07,
    *,
    balance: Balance = "repo",
    present: Bool[Tensor, "n k"] | None = None,
    gather: bool = False,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return the contrast of each item with its `k` texts, and of each text with its item; unit vectors.

        i2t = −1/n Σ_i 1/K_i Σ_k log softmax_row(v_i tᵀ/τ)[(i, k)],   t2i = −1/Σ K_i Σ_(i,k) log softmax_n(v t_ikᵀ/τ)[i]
        L   = ½ (i2t + t2i / K)  "repo",    ½ (i2t + t2i)  "mean"

    Text k of item i is row i·K + k of `t`. Where `present` is False there is no text: its row may hold anything, and
    K_i counts the others; an item without any text takes no part. With `gather` every process brings its own n items,
    and the mean over processes is the loss of the whole batch. `tile` bounds the memory (`row_contrast`).

    Relations (each one a test):
        k = 1 → `info_nce`, for both balances.  ·  the same text k times → i2t is that of one, plus log k.
        texts of an item in another order → unchanged.  ·  i2t ≥ log K: the mass is shared by K texts.

    Raises:
        BadInput: for shapes that do not fit, k below 1, no text at all, or a temperature ≤ 0.
    """
    _check(v, t, k, tau, balance, present)
    n, here = len(v), slice(None)
    all_v, all_t = v, t
    rank, processes = 0, 1
    given = torch.ones(n, k, dtype=torch.bool, device=v.device) if present is None else present
    all_given = given
    if gather and torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        all_v, all_t, all_given = gather_rows(v), gather_rows(t), gather_rows(given.byte()).bool()
        here = slice(rank * n, (rank + 1) * n)
    owner = torch.arange(len(all_v), device=v.device).repeat_interleave(k)
    kept, own_kept = all_given.reshape(-1), given.reshape(-1)
    texts, owners = all_t[kept], owner[kept]
    own_texts, own_owners = t[own_kept], owner.view(-1, k)[here].reshape(-1)[own_kept]

    def partners(rows: Int[Tensor, " r"]) -> Float[Tensor, "r m"]:
        return (owners == rows.unsqueeze(1)).to(v.dtype)

    told, all_told = given.any(1), all_given.any(1)
    if not bool(told.any()):
        # A process whose items have no texts still meets the others in the gathered rows, with a gradient of 0.
        return (all_v.sum() + all_t.sum()) * 0
    numbers = torch.arange(len(all_v), device=v.device)[here]
    i2t = row_contrast(v[told], texts, scale=1 / tau, rows=numbers[told], targets=partners, tile=tile)
    t2i = row_contrast(own_texts, all_v, scale=1 / tau, rows=own_owners, tile=tile)
    # With absent texts the processes hold unequal shares of the two means.
    i2t = i2t * (int(told.sum()) * processes / int(all_told.sum()))
    t2i = t2i * (len(own_texts) * processes / len(texts))
    return (i2t + (t2i / k if balance == "repo" else t2i)) / 2


def _check(v: Tensor, t: Tensor, k: int, tau: float | Tensor, balance: str, present: Tensor | None) -> None:
    if v.ndim != 2 or t.ndim != 2 or k < 1 or not len(v) or len(t) != k * len(v) or v.shape[1] != t.shape[1]:
        raise BadInput(f"one_to_k_loss needs (n, d) and (n·{k}, d), got {tuple(v.shape)} and {tuple(t.shape)}")
    if present is not None and (present.shape != (len(v), k) or present.dtype != torch.bool):
        raise BadInput(f"present must be booleans ({len(v)}, {k}), got {present.dtype} {tuple(present.shape)}")
    if present is not None and not bool(present.any()):
        raise BadInput("no item has a text: present is False throughout")
    if balance not in ("repo", "mean"):
        raise BadInput(f"balance is 'repo' or 'mean', got {balance!r}")
    if not bool(torch.as_tensor(tau) > 0):
        raise BadInput(f"tau must be positive, got {tau}")


class OneToK(nn.Module):
    """The loss on batches, with a learned temperature: one modality against several that say the same.

    `one` names the modality that is contrasted with all of `many` (such as a text in each of several languages) at
    once. Vectors are brought to length 1 here; an item may lack any of `many`, and one without `one` is left out.
    """

    def __init__(
        self, one: str, *many: str, tau: float = 0.07, balance: Balance = "repo", tile: int | None = None
    ) -> None:
        super().__init__()
        if not many:
            raise BadInput(f"OneToK({one!r}) needs at least one other modality")
        self.one, self.many, self.balance, self.tile = one, many, balance, tile
        self.scale = LogScale(tau)

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return "loss", the temperature "tau", and "floor": the share of the loss that no model gets under.

        Raises `BadInput` when a modality is not in the batch, or no item has `one` and another.
        """
        if absent := [m for m in (self.one, *self.many) if m not in batch.x]:
            raise BadInput(f"the batch has {sorted(batch.x)}, but not {', '.join(absent)}")
        has = batch.present(self.one)
        present = torch.stack([batch.present(m) for m in self.many], 1)[has]
        if not bool(present.any()):
            raise BadInput(f"no item of the batch has {self.one} and one of {', '.join(self.many)}")
        v = nn.functional.normalize(batch.x[self.one][has], dim=-1)
        t = nn.functional.normalize(torch.stack([batch.x[m][has] for m in self.many], 1), dim=-1)
        scale = self.scale()
        loss = one_to_k_loss(
            v, t.flatten(0, 1), len(self.many), 1 / scale, balance=self.balance, present=present, tile=self.tile
        )
        counts = present.sum(1).to(loss.dtype)
        return {"loss": loss, "tau": 1 / scale, "floor": counts[counts > 0].log().mean() / 2}
