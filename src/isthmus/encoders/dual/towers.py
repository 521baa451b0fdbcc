"""The towers: pictures by a small ViT or a small ResNet, texts by a small Transformer. All of them give tokens.

A tower has ``embed`` (what enters it: patches, or the rows of the token table), ``tokens`` (what leaves it, with a
mask) and is called for the mean of the latter. None of them has state beside its weights (no batch statistics), so
that a vector does not depend on its batch, nor a gradient on how many processes share one.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["ResNet", "TextTransformer", "ViT"]

GROUPS = 8
"""Groups of channels that are normalised together."""


class Block(nn.Module):
    """A block of a Transformer with normalisation first: attention, then two layers, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"] | None = None) -> Float[Tensor, "n t d"]:
        """Return the tokens after the block; nobody looks at places where `mask` is False."""
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None])
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, d))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class ViT(nn.Module):
    """Pictures (n, 3, s, s) as (s / patch)² tokens of `width` numbers."""

    def __init__(self, *, side: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(torch.randn((side // patch) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def embed(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n t d"]:
        """Return the patch features: what enters the first block."""
        patches: Tensor = self.patches(x).flatten(2).transpose(1, 2)
        return patches + self.places

    def tokens(
        self, x: Float[Tensor, "n 3 s s"], *, embedded: Tensor | None = None
    ) -> tuple[Float[Tensor, "n t d"], Bool[Tensor, "n t"]]:
        """Return the tokens of the last block and their mask, True throughout; of `embedded` where it is given."""
        y = self.embed(x) if embedded is None else embedded
        for block in self.blocks:
            y = block(y)
        return self.norm(y), torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)

    def forward(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Return the mean of the tokens."""
        return self.tokens(x)[0].mean(1)


class Residual(nn.Module):
    """Two 3 × 3 convolutions added to their input, which is projected where the shapes differ."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, outside), nn.GroupNorm(GROUPS, outside)
        nn.init.zeros_(self.norm2.weight)  # a block begins as its shortcut, so that the gradient reaches the stem
        same = stride == 1 and inside == outside
        self.skip = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n e i j"]:
        """Return the map after the block."""
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(self.skip(x) + y)


class ResNet(nn.Module):
    """Pictures (n, 3, s, s) as (s / 16)² tokens of 4 · `base` numbers: a stem and three stages of `depth` blocks."""

    def __init__(self, *, base: int, depth: int) -> None:
        super().__init__()
        self.width = 4 * base
        self.stem = nn.Sequential(
            nn.Conv2d(3, base, 5, 4, 2, bias=False), nn.GroupNorm(GROUPS, base), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential()
        inside = base
        for stage in range(3):
            for number in range(depth):
                outside = base * 2**stage
                self.stages.append(Residual(inside, outside, 2 if stage and not number else 1))
                inside = outside
        # without it the mean of what a ReLU leaves points the same way for every picture
        self.norm = nn.LayerNorm(self.width)

    def embed(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n c h w"]:
        """Return the map of the stem: a feature for every fourth pixel."""
        features: Tensor = self.stem(x)
        return features

    def tokens(
        self, x: Float[Tensor, "n 3 s s"], *, embedded: Tensor | None = None
    ) -> tuple[Float[Tensor, "n t d"], Bool[Tensor, "n t"]]:
        """Return the last map place by place and its mask, True throughout; of `embedded` where it is given."""
        y = self.norm(self.stages(self.embed(x) if embedded is None else embedded).flatten(2).transpose(1, 2))
        return y, torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)

    def forward(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Return the mean of the map."""
        return self.tokens(x)[0].mean(1)


class TextTransformer(nn.Module):
    """Token numbers (n, t) as tokens of `width` numbers; 0 is no token."""

    def __init__(self, *, vocabulary: int, longest: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width, self.longest = width, longest
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.5 / math.sqrt(width))
        with torch.no_grad():
            self.table.weight[0] = 0
        self.places = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def embed(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n t d"]:
        """Return the token embeddings, before their places are added."""
        rows: Tensor = self.table(ids)
        return rows

    def tokens(
        self, ids: Int[Tensor, "n t"], *, embedded: Tensor | None = None
    ) -> tuple[Float[Tensor, "n t d"], Bool[Tensor, "n t"]]:
        """Return the tokens of the last block and where there are any; of `embedded` rows where they are given."""
        mask = ids != 0
        x = (self.embed(ids) if embedded is None else embedded) + self.places[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x), mask

    def forward(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """Return the mean of the tokens."""
        x, mask = self.tokens(ids)
        weights = mask.unsqueeze(-1).to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
