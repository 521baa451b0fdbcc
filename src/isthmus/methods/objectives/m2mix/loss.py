"""Mixing on the sphere, the losses against what is mixed, and the baselines that they are compared with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.parts.contrast import Tiled, distinct, info_nce, row_contrast

__all__ = [
    "M2",
    "M3",
    "M2Mix",
    "draw_share",
    "embedding_shift",
    "geodesic_mix",
    "hard_negative_loss",
    "input_mix_loss",
    "linear_mix",
    "m2_loss",
    "m3_loss",
    "unimodal_loss",
]

M2: Mapping[str, float] = MappingProxyType({"m2": 0.05})
M3: Mapping[str, float] = MappingProxyType({"m2": 0.01, "v": 0.05, "l": 0.05, "vl": 0.1})
"""Weights of the released scripts: of each mixed loss beside the contrast, whose weight is 1."""
Mix = Callable[[Tensor, Tensor, "float | Tensor"], Tensor]


def geodesic_mix(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], lam: float | Tensor) -> Float[Tensor, "n d"]:
    """Return the point on the arc from b to a at the share λ, of unit vectors.

        m_λ(a, b) = sin(λθ)/sin θ · a + sin((1−λ)θ)/sin θ · b,   cos θ = ⟨a, b⟩

    Computed in float32 at least; the angle is bounded away from 0 and π, so that equal and opposite vectors have
    finite gradients. λ is a number or (n, 1).

    Relations: λ = 1 → a, 0 → b; m_λ(a, b) = m_{1−λ}(b, a); of length 1; the angle to b is λθ; a = b → a.
    """
    work = torch.promote_types(a.dtype, torch.float32)
    x, y = a.to(work), b.to(work)
    theta = (x * y).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).arccos()
    mixed = (torch.sin(lam * theta) * x + torch.sin((1 - lam) * theta) * y) / torch.sin(theta)
    return nn.functional.normalize(mixed, dim=1).to(a.dtype)


def linear_mix(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], lam: float | Tensor) -> Float[Tensor, "n d"]:
    """Return λa + (1−λ)b brought to length 1: the ablation of `geodesic_mix`, which it equals at λ = ½."""
    return nn.functional.normalize(lam * a + (1 - lam) * b, dim=1)


def draw_share(beta: float, generator: torch.Generator | None = None) -> float:
    """Draw λ ~ Beta(β, β), from torch's global generator or one that is given. Raises `BadInput` for β ≤ 0."""
    if not 0 < beta < float("inf"):
        raise BadInput(f"beta must be positive, got {beta}")
    # Jöhnk's way, on uniform numbers alone: two powers whose sum is at most 1
    while True:
        u, v = (torch.rand(2, generator=generator, dtype=torch.float64) ** (1 / beta)).tolist()
        if 0 < u + v <= 1:
            return float(u / (u + v))


def m2_loss(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    lam: float | Tensor,
    tau: float | Float[Tensor, ""] = 0.07,
    *,
    keys: Int[Tensor, " n"] | None = None,
    mix: Mix = geodesic_mix,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """Return the contrast of each pair with negatives that are mixed of both their sides, h_j = m_λ(a_j, b_j).

        L = −1/n Σ_i log e^{⟨a_i, b_i⟩/τ} / (e^{⟨a_i, b_i⟩/τ} + Σ_{j≠i} e^{⟨a_i, h_j⟩/τ})  +  the same of b

    Pairs stay as they are; gradients flow through what is mixed to both sides. Rows of one key are no negatives.

    Relations: λ = 0 → the a-side is one direction of InfoNCE, the b-side has negatives of its own modality; λ = 1
    mirrored.  ·  one pair → 0.  ·  what a row's own h_i is does not matter to it.
    """
    n = len(a)
    hard = mix(a, b, lam)
    names = torch.arange(n, device=a.device) if keys is None else keys

    def block(rows: slice, columns: slice, name: Tensor) -> Tensor:
        here = torch.arange(rows.start, rows.stop, device=name.device)[:, None]
        there = torch.arange(columns.start, columns.stop, device=name.device)
        stranger = name[rows, None] != name[there % n]
        return torch.where(there < n, here == there, stranger)

    mask = Tiled(block, (names,))
    sides = [
        row_contrast(
            x, torch.cat([y, hard]), scale=1 / tau, mask=mask, tile=tile, rows=torch.arange(n, device=a.device)
        )
        for x, y in ((a, b), (b, a))
    ]
    return sides[0] + sides[1]


def unimodal_loss(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    lam: float,
    tau: float | Float[Tensor, ""] = 0.01,
    *,
    sides: str = "v",
    original_negatives: bool = False,
    mix: Mix = geodesic_mix,
) -> Float[Tensor, ""]:
    """Return the contrast of mixed items with what they are mixed of: V-Mix, L-Mix and VL-Mix.

    Item i is mixed with item n − 1 − i. "v" mixes a, "l" mixes b: the soft targets are λ at i and 1 − λ at its
    partner. "vl" mixes both with the same λ, and both are right alike (½ each; the released code counts them 1 each,
    which doubles the loss). With `original_negatives` all other pairs keep their similarities from before.

    Relations: λ = 1, "v" or "l" → `info_nce`.  ·  a and b, "v" and "l" swapped → the same.
    Raises `BadInput` for other sides than those.
    """
    if sides not in ("v", "l", "vl"):
        raise BadInput(f"sides is 'v', 'l' or 'vl', got {sides!r}")
    n = len(a)
    x = mix(a, a.flip(0), lam) if "v" in sides else a
    y = mix(b, b.flip(0), lam) if "l" in sides else b
    eye = torch.eye(n, device=a.device, dtype=torch.promote_types(a.dtype, torch.float32))
    targets = (eye + eye.flip(0)) / 2 if sides == "vl" else lam * eye + (1 - lam) * eye.flip(0)
    if not original_negatives:
        return info_nce(x, y, scale=1 / tau, targets=targets)
    kept = (eye + eye.flip(0)) > 0
    logits = torch.where(kept, x @ y.T, a @ b.T).to(eye.dtype) / tau
    ways = [-(t * z.log_softmax(1)).sum(1).mean() for z, t in ((logits, targets), (logits.T, targets.T))]
    return (ways[0] + ways[1]) / 2


def m3_loss(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "n d"],
    weights: Mapping[str, float] = M2,
    *,
    tau: float | Float[Tensor, ""] = 0.01,
    tau_mixed: float | Float[Tensor, ""] = 0.07,
    shares: Mapping[str, float] | None = None,
    keys: Int[Tensor, " n"] | None = None,
    mix: Mix = geodesic_mix,
    tile: int | None = None,
) -> dict[str, Tensor]:
    """Return "loss" = contrast + Σ w · mixed losses, and each of them by name, of unit vectors.

    `weights` names "m2" (`m2_loss` at `tau_mixed`), "v", "l" and "vl" (`unimodal_loss` at `tau`). `shares` gives the λ
    of each, drawn by `draw_share` before; ½ where it is left out. Rows of one key (n,) are no negatives of one another
    in the contrast and in m2.

    Relations: all weights 0 → `info_nce`.

    Raises `BadInput` for unequal shapes, a temperature ≤ 0, a λ outside of [0, 1] or weights that are negative or not
    finite, `NotFound` for an unknown loss.
    """
    if a.ndim != 2 or a.shape != b.shape or (keys is not None and keys.shape != (len(a),)):
        shapes = [tuple(x.shape) for x in (a, b, *(() if keys is None else (keys,)))]
        raise BadInput(f"m3_loss needs both sides (n, d) and keys (n,), got {shapes}")
    checked_weights(weights)
    if not (bool(torch.as_tensor(tau) > 0) and bool(torch.as_tensor(tau_mixed) > 0)):
        raise BadInput(f"tau and tau_mixed must be positive, got {tau} and {tau_mixed}")
    given = dict.fromkeys(weights, 0.5) | dict(shares or {})
    if wrong := {name: lam for name, lam in given.items() if not 0 <= lam <= 1}:
        raise BadInput(f"shares must lie in [0, 1], got {wrong}")
    mask = None if keys is None else distinct(keys)
    found = {"contrast": info_nce(a, b, scale=1 / tau, mask=mask, tile=tile)}
    total = found["contrast"]
    for name, weight in weights.items():
        if weight:
            if name == "m2":
                found[name] = m2_loss(a, b, given[name], tau_mixed, keys=keys, mix=mix, tile=tile)
            else:
                found[name] = unimodal_loss(a, b, given[name], tau, sides=name, mix=mix)
            total = total + weight * found[name]
    return {"loss": total, **found}


def checked_weights(weights: Mapping[str, float]) -> None:
    """Raise `NotFound` for an unknown loss, `BadInput` for weights that are negative or not finite."""
    if unknown := [name for name in weights if name not in M3]:
        raise NotFound.named("mixed loss", unknown[0], M3)
    if not all(0 <= w < float("inf") for w in weights.values()):
        raise BadInput(f"weights must be at least 0 and finite, got {dict(weights)}")


def hard_negative_loss(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], *, tau_plus: float = 0.1, beta: float = 1.0, scale: float = 2.0
) -> Float[Tensor, ""]:
    """Return the contrast of Robinson et al. (HCL) from a to b: hard negatives weigh more, false ones are taken off.

        −1/n Σ_i log p_i / (p_i + N_i),   p_i = e^{s⟨a_i,b_i⟩},   w_ij ∝ e^{βs⟨a_i,b_j⟩}, of mean 1 over j ≠ i
        N_i = max( [Σ_{j≠i} w_ij e^{s⟨a_i,b_j⟩} − τ⁺ n p_i] / (1 − τ⁺),  (n−1) e^{−s} )

    The released code lacks the lower bound, without which the logarithm of a negative number can be asked for.
    Relations: β = 0, τ⁺ = 0 → one direction of InfoNCE at 1/τ = s.
    Raises `BadInput` for fewer than 2 pairs, τ⁺ outside of [0, 1), or β < 0.
    """
    n = len(a)
    if n < 2 or a.shape != b.shape or not 0 <= tau_plus < 1 or beta < 0:
        raise BadInput(
            f"hard_negative_loss needs at least 2 pairs, tau_plus in [0, 1) and beta ≥ 0; got {tuple(a.shape)}, "
            f"{tuple(b.shape)}, {tau_plus}, {beta}"
        )
    logits = scale * (a @ b.T)
    others = ~torch.eye(n, dtype=torch.bool, device=a.device)
    negative = logits[others].view(n, n - 1)
    positive = logits.diagonal()
    weight = (beta * negative).softmax(1) * (n - 1)
    drawn = ((weight * negative.exp()).sum(1) - tau_plus * n * positive.exp()) / (1 - tau_plus)
    drawn = drawn.clamp(min=(n - 1) * torch.exp(torch.tensor(-scale)).item())
    return (torch.log(positive.exp() + drawn) - positive).mean()


def input_mix_loss(
    tower: Callable[[Tensor], Tensor],
    x: Tensor,
    b: Float[Tensor, "n d"],
    lam: float,
    tau: float | Float[Tensor, ""] = 0.01,
    *,
    partner: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Return the contrast of what the tower sees in mixed inputs λx + (1−λ)x[partner] with the unmixed other side.

    Soft targets λ and 1 − λ. With a random permutation as `partner` that is i-Mix, with the batch turned round (the
    default) Un-Mix. Relations: λ = 1 → `info_nce`.
    """
    n = len(x)
    order = torch.arange(n - 1, -1, -1, device=x.device) if partner is None else partner
    if order.shape != (n,) or len(b) != n:
        raise BadInput(f"{n} inputs need as many partners and vectors, got {tuple(order.shape)} and {len(b)}")
    seen = nn.functional.normalize(tower(lam * x + (1 - lam) * x[order]), dim=-1)
    eye = torch.eye(n, device=b.device, dtype=b.dtype)
    return info_nce(seen, b, scale=1 / tau, targets=lam * eye + (1 - lam) * eye[order])


def embedding_shift(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], share: float = 1.0
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return both tables moved towards one another by a share of half the way between their centres, of length 1.

    The baseline that closes the gap without training. Relations: share 0 → the unit vectors themselves.
    """
    way = (b.mean(0) - a.mean(0)) * (share / 2)
    return nn.functional.normalize(a + way, dim=1), nn.functional.normalize(b - way, dim=1)


class M2Mix(nn.Module):
    """The losses on batches of two modalities: contrast, and what is mixed of it, with λ drawn anew for each.

    m2 draws λ ~ Beta(β, β) with β = `beta`, the others together with β = `beta_others`. `Batch.y`, where there is one,
    holds the keys. Vectors are brought to length 1 here; items that lack a modality are left out.
    """

    def __init__(
        self,
        first: str,
        second: str,
        *,
        weights: Mapping[str, float] = M2,
        tau: float = 0.01,
        tau_mixed: float = 0.07,
        beta: float = 0.5,
        beta_others: float = 0.5,
        tile: int | None = None,
    ) -> None:
        super().__init__()
        checked_weights(weights)
        if not min(tau, tau_mixed, beta, beta_others) > 0:
            raise BadInput(f"tau, tau_mixed and betas must be positive: {tau}, {tau_mixed}, {beta}, {beta_others}")
        self.first, self.second, self.weights, self.tile = first, second, dict(weights), tile
        self.tau, self.tau_mixed, self.beta, self.beta_others = tau, tau_mixed, beta, beta_others

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return "loss", "contrast" and each mixed loss. Raises `BadInput` when no item has both modalities."""
        if absent := [m for m in (self.first, self.second) if m not in batch.x]:
            raise BadInput(f"the batch has {sorted(batch.x)}, but not {', '.join(absent)}")
        has = batch.present(self.first, self.second)
        if not bool(has.any()):
            raise BadInput(f"no item of the batch has both {self.first} and {self.second}")
        a, b = (_unit(batch.x[m][has], m) for m in (self.first, self.second))
        keys = None if batch.y is None else batch.y[has]
        return m3_loss(
            a, b, self.weights, tau=self.tau, tau_mixed=self.tau_mixed, shares=self.draw(), keys=keys, tile=self.tile
        )

    def draw(self, generator: torch.Generator | None = None) -> dict[str, float]:
        """Draw the λ of each loss."""
        others = draw_share(self.beta_others, generator)
        return {name: draw_share(self.beta, generator) if name == "m2" else others for name in self.weights}


def _unit(x: Tensor, name: str) -> Tensor:
    if not bool(x.any(1).all()):
        raise BadInput(f"{name} has a vector of zeros in row {int((~x.any(1)).nonzero()[0])} of the items with both")
    return nn.functional.normalize(x, dim=-1)
