"""Towers as lists of steps that `isthmus.space` runs without torch, and projector-only checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.core.errors import BadInput
from isthmus.methods.spaces.projectors.modules import MLPHead, TokenProjector, Tower

__all__ = ["tower_steps"]


class _Steps:
    """Collects steps and gives their tensors names."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}

    def keep(self, name: str, tensor: Tensor) -> str:
        """Store a tensor under a fresh name and return the name."""
        name = f"{len(self.tensors)}.{name}"
        self.tensors[name] = tensor.detach().cpu().numpy().copy()
        return name

    def linear(self, weight: Tensor, bias: Tensor) -> dict[str, Any]:
        """Return the step of x · weightᵀ + bias."""
        return {"op": "linear", "weight": self.keep("weight", weight), "bias": self.keep("bias", bias)}

    def norm(self, norm: nn.LayerNorm) -> dict[str, Any]:
        """Return the step of a layer norm."""
        weight, bias = self.keep("weight", norm.weight), self.keep("bias", norm.bias)
        return {"op": "layernorm", "weight": weight, "bias": bias, "eps": norm.eps}

    def of(self, part: nn.Module) -> list[dict[str, Any]]:
        """Return the steps of a block as it runs in evaluation mode (dropout does nothing)."""
        if isinstance(part, TokenProjector):
            return self.token(part)
        if isinstance(part, MLPHead):
            inner = [{"op": "gelu"}, self.linear(part.residual.weight, part.residual.bias)]
            first = self.linear(part.project.weight, part.project.bias)
            return [first, {"op": "residual", "steps": inner}, self.norm(part.norm)]
        if isinstance(part, nn.Linear):
            return [self.linear(part.weight, part.bias)]
        if isinstance(part, nn.Identity):
            return []
        raise BadInput(f"{type(part).__name__} cannot be written as steps")

    def token(self, part: TokenProjector) -> list[dict[str, Any]]:
        """Return the two branches as one hidden layer: x = gelu(x) − gelu(−x), so the linear one passes through."""
        first, second = part.mlp[0], part.mlp[2]
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        straight, eye = part.linear, torch.eye(part.linear.out_features)
        return [
            self.norm(part.norm),
            self.linear(
                torch.cat([first.weight, straight.weight, -straight.weight]),
                torch.cat([first.bias, straight.bias, -straight.bias]),
            ),
            {"op": "gelu"},
            self.linear(torch.cat([second.weight, eye, -eye], dim=1), second.bias),
        ]


def tower_steps(tower: Tower) -> tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]:
    """Return (steps, tensors) that compute the tower in evaluation mode.

    A tower of tokens takes (n, t, d) and a mask, one of a summary takes (n, d). Raises `BadInput` for a tower
    that needs both: a map has one input.
    """
    if tower.local is not None and tower.summary is not None:
        raise BadInput("a tower with a local and a summary block has two inputs and cannot be written as steps")
    steps = _Steps()
    if tower.local is not None:
        listed = [*steps.of(tower.local), {"op": "masked_mean"}]
    else:
        assert tower.summary is not None
        listed = steps.of(tower.summary)
    return [*listed, *steps.of(tower.head), {"op": "normalise"}], steps.tensors
