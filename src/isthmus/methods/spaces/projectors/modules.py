"""The projector blocks and the tower they make, on token states or pooled vectors of a frozen encoder."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput

__all__ = ["Block", "MLPHead", "StartedProjector", "Temperature", "TokenProjector", "Tower", "block", "masked_mean"]

Block = Literal["token", "mlp", "linear", "identity", "none"]


class TokenProjector(nn.Module):
    """The paper's token projector: LN → dropout → Linear(d→D) + Linear(D→D)∘GELU∘Linear(d→D).

    Applied to each token alone, so it is shared over tokens and follows their order.

    Relations: second matrix and bias of the MLP = 0 → the linear block after LN.
    """

    def __init__(self, d: int, width: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(d, width)
        self.mlp = nn.Sequential(nn.Linear(d, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n w"]:
        """Return the projected tokens."""
        x = self.dropout(self.norm(x))
        projected: Tensor = self.linear(x) + self.mlp(x)
        return projected


class MLPHead(nn.Module):
    """The paper's MLP head: p = Linear(d→D); LN(p + dropout(Linear(D→D)(GELU(p)))).

    Relations: second matrix and bias = 0 → LN of the linear block.
    """

    def __init__(self, d: int, width: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Linear(d, width)
        self.residual = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n w"]:
        """Return the projected vectors."""
        p = self.project(x)
        projected: Tensor = self.norm(p + self.dropout(self.residual(nn.functional.gelu(p))))
        return projected


class StartedProjector(nn.Module):
    """A token projector whose linear branch is given: h = P(LN(x) − mean), then h + Linear(kw→w)∘GELU∘Linear(w→kw)(h).

    P and the mean stay as they are; the MLP branch starts at 0, so that training starts at the given map.

    Relations: untrained → P(LN(x) − mean).
    """

    mean: Tensor
    weight: Tensor

    def __init__(
        self, mean: Float[np.ndarray, " d"], weight: Float[np.ndarray, "w d"], *, dropout: float, hidden: int = 2
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("weight", torch.from_numpy(weight))
        width = len(weight)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(width, hidden * width)
        self.out = nn.Linear(hidden * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def project(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n w"]:
        """Return the part that does not train."""
        return (nn.functional.layer_norm(x, x.shape[-1:]) - self.mean) @ self.weight.T

    def refine(self, h: Float[Tensor, "*n w"]) -> Float[Tensor, "*n w"]:
        """Return the part that trains, on `project`'s result."""
        h = self.dropout(h)
        refined: Tensor = h + self.out(nn.functional.gelu(self.hidden(h)))
        return refined

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n w"]:
        """Return the projected vectors."""
        return self.refine(self.project(x))


def block(kind: Block, d: int, width: int, *, dropout: float = 0.1) -> nn.Module:
    """Build a projector block by name: "token", "mlp", "linear" or "identity" (which needs d = width)."""
    if kind == "token":
        return TokenProjector(d, width, dropout=dropout)
    if kind == "mlp":
        return MLPHead(d, width, dropout=dropout)
    if kind == "linear":
        return nn.Linear(d, width)
    if kind == "identity":
        if d != width:
            raise BadInput(f"block 'identity' keeps the width, but the input has {d} and the space {width}")
        return nn.Identity()
    raise BadInput(f"a block is 'token', 'mlp', 'linear' or 'identity', got {kind!r}")


class Tower(nn.Module):
    """One modality's way into the space: tokens and a summary vector in, one unit vector out.

        z = head( mean_t local(token_t)  +  summary(vector) ),   ẑ = z / ‖z‖

    The paper's image tower is local="token", summary="token" (patches and CLS), head="identity"; its text
    tower is local="token", summary="none", head="mlp". "none" leaves a position out. A tower without a
    summary takes tokens only, one without local blocks takes the summary (a pooled vector) only.
    """

    def __init__(
        self,
        d: int,
        width: int,
        *,
        local: Block = "token",
        summary: Block = "none",
        head: Block = "identity",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if local == "none" and summary == "none":
            raise BadInput("a tower needs a local or a summary block; both are 'none'")
        self.settings = {"d": d, "width": width, "local": local, "summary": summary, "head": head, "dropout": dropout}
        self.local = None if local == "none" else block(local, d, width, dropout=dropout)
        self.summary = None if summary == "none" else block(summary, d, width, dropout=dropout)
        self.head = nn.Identity() if head == "none" else block(head, width, width, dropout=dropout)

    def forward(
        self,
        tokens: Float[Tensor, "n t d"] | None = None,
        *,
        mask: Bool[Tensor, "n t"] | None = None,
        summary: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "n w"]:
        """Return (n, width) unit vectors.

        Raises `BadInput` when an input that a block of this tower needs is not given.
        """
        parts: list[Tensor] = []
        if self.local is not None:
            if tokens is None:
                raise BadInput("this tower has a local block and needs tokens (n, t, d)")
            parts.append(masked_mean(self.local(tokens), mask))
        if self.summary is not None:
            if summary is None:
                raise BadInput("this tower has a summary block and needs summary vectors (n, d)")
            parts.append(self.summary(summary))
        return nn.functional.normalize(self.head(sum(parts[1:], parts[0])), dim=-1)

    def tokens(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t w"]:
        """Return the adapted tokens as unit vectors, for localisation."""
        if self.local is None:
            raise BadInput("this tower has no local block, so it has no adapted tokens")
        return nn.functional.normalize(self.head(self.local(tokens)), dim=-1)


def masked_mean(x: Float[Tensor, "n t w"], mask: Bool[Tensor, "n t"] | None) -> Float[Tensor, "n w"]:
    """Return the mean over the tokens where `mask` is True, over all of them without a mask.

    Relations: padding appended with mask False → unchanged; one token → that token.

    Raises:
        BadInput: for a mask of another shape, or an item without any token.
    """
    if mask is None:
        return x.mean(1)
    if mask.shape != x.shape[:2]:
        raise BadInput(f"token mask has shape {tuple(mask.shape)}; expected {tuple(x.shape[:2])}")
    count = mask.sum(1, keepdim=True)
    if not bool((count > 0).all()):
        raise BadInput(f"item {int((count == 0).nonzero()[0, 0])} has no token at all")
    # Selecting before summing keeps a NaN or inf in the padding out of the mean.
    return x.where(mask.unsqueeze(-1), 0).sum(1) / count


class Temperature(nn.Module):
    """A learned temperature τ that divides the similarities, clamped in place before each use.

    The paper's start is 0.07 and its bounds [0.001, 0.5]; calling it returns 1/τ, the `scale` of `info_nce`.
    """

    def __init__(self, start: float = 0.07, *, low: float = 0.001, high: float = 0.5) -> None:
        super().__init__()
        if not 0 < low <= start <= high:
            raise BadInput(f"temperature needs 0 < low <= start <= high, got {low}, {start}, {high}")
        self.low, self.high = low, high
        self.tau = nn.Parameter(torch.tensor(float(start)))

    def forward(self) -> Float[Tensor, ""]:
        """Return 1/τ."""
        with torch.no_grad():
            self.tau.clamp_(self.low, self.high)
        return 1 / self.tau
