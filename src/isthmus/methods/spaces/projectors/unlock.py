"""Partial unfreezing of an encoder, by the type of module rather than by parts of parameter names."""

import hashlib
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from isthmus.core.errors import BadInput

__all__ = ["Adapter", "Unlock", "insert_adapters", "trained_report", "unlock", "weights_hash"]

Unlock = Literal["biases", "norms", "attention", "dense", "all"]
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)


def unlock(encoder: nn.Module, *what: Unlock) -> list[str]:
    """Freeze an encoder, then let some kinds of parameter train again; return their names.

    - "biases" (BitFit): every parameter that its module holds as ``bias``;
    - "norms": the gains and biases of normalisation layers;
    - "attention": everything inside attention modules: `nn.MultiheadAttention`, or a module whose class name
      ends in "Attention" (that is how backbones of other libraries name theirs);
    - "dense": linear layers outside of attention;
    - "all": fine-tune.

    Nothing named → all frozen. Raises `BadInput` for an unknown kind, or one that the encoder has nothing of.
    """
    if unknown := set(what) - set(get_args(Unlock)):
        raise BadInput(f"unlock takes {', '.join(get_args(Unlock))}; got {', '.join(sorted(unknown))}")
    encoder.requires_grad_(False)
    inside = {id(m) for module in encoder.modules() if _attends(module) for m in module.modules()}
    found: dict[str, int] = dict.fromkeys(what, 0)
    opened: list[str] = []
    for prefix, module in encoder.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            kinds = {"all"}
            kinds |= {"biases"} if name == "bias" or name.endswith("_bias") else set()
            kinds |= {"norms"} if isinstance(module, NORMS) else set()
            kinds |= {"attention"} if id(module) in inside else set()
            kinds |= {"dense"} if isinstance(module, nn.Linear) and id(module) not in inside else set()
            for kind in kinds & set(what):
                found[kind] += 1
            if kinds & set(what):
                parameter.requires_grad_(True)
                opened.append(f"{prefix}.{name}" if prefix else name)
    if nothing := [kind for kind, count in found.items() if not count]:
        raise BadInput(f"{type(encoder).__name__} has nothing of the kind {', '.join(nothing)}")
    return opened


def _attends(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) or type(module).__name__.endswith("Attention")


class Adapter(nn.Module):
    """A bottleneck after a frozen layer: y + up(GELU(down(y))), `reduction` times narrower, 0 at the start."""

    def __init__(self, layer: nn.Linear, *, reduction: int = 4) -> None:
        super().__init__()
        if reduction < 1:
            raise BadInput(f"reduction must be at least 1, got {reduction}")
        width = layer.out_features
        self.layer = layer
        self.down = nn.Linear(width, max(1, width // reduction))
        self.up = nn.Linear(max(1, width // reduction), width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, adapted."""
        y = self.layer(x)
        adapted: Tensor = y + self.up(nn.functional.gelu(self.down(y)))
        return adapted


def insert_adapters(encoder: nn.Module, *, reduction: int = 4) -> list[Adapter]:
    """Freeze an encoder, put an `Adapter` after the last linear layer of each block, and return them.

    A block is a module that stands in an `nn.ModuleList` or `nn.Sequential` and contains linear layers. Before
    training the encoder's function is unchanged. Raises `BadInput` when there is no such block.
    """
    encoder.requires_grad_(False)
    adapters = []
    blocks = [b for m in encoder.modules() if isinstance(m, nn.ModuleList | nn.Sequential) for b in m.children()]
    for block in blocks:
        holders = [
            (parent, name, child)
            for parent in block.modules()
            if not isinstance(parent, Adapter)
            for name, child in parent.named_children()
            if type(child) is nn.Linear
        ]
        if holders:
            parent, name, layer = holders[-1]
            adapter = Adapter(layer, reduction=reduction)
            setattr(parent, name, adapter)
            adapters.append(adapter)
    if not adapters:
        raise BadInput(f"{type(encoder).__name__} has no block with a linear layer to adapt")
    return adapters


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, names included: equal before and after → nothing moved."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode() + str(tuple(tensor.shape)).encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def trained_report(*modules: nn.Module, items: int = 0, steps: int = 0, tokens: int = 1) -> dict[str, float]:
    """Return the cost of training: {"trained", "total", "share", "training_flops"}.

    Parameters are counted once each. The compute counts 6 operations a trained matrix entry, token and item
    (2 forward, 4 backward); `items` are those of one step, `tokens` the mean tokens an item.
    """
    parameters = {id(p): p for module in modules for p in module.parameters()}.values()
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    matrices = sum(p.numel() for p in parameters if p.requires_grad and p.ndim >= 2)
    return {
        "trained": float(trained),
        "total": float(total),
        "share": trained / total if total else 0.0,
        "training_flops": 6.0 * matrices * tokens * items * steps,
    }
