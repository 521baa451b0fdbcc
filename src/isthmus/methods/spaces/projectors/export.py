"""Towers as lists of steps that `isthmus.space` runs without torch, and projector-only checkpoints."""

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.methods.spaces.projectors.modules import MLPHead, StartedProjector, TokenProjector, Tower

__all__ = ["block_steps", "load_projectors", "push_projectors", "save_projectors", "tower_steps"]

CHECKPOINT = "projectors.safetensors"
FORMAT_VERSION = 1


def save_projectors(towers: Mapping[str, Tower], path: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
    """Write towers without their encoders to one safetensors file, atomically; `card` are JSON facts about them.

    A folder gets the file `projectors.safetensors`. Raises `BadInput` for a modality with "/" in its name.
    """
    if slashed := [m for m in towers if "/" in m]:
        raise BadInput(f"modalities need names without '/', got {slashed}")
    path = Path(path)
    path = path if path.suffix == ".safetensors" else path / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{m}/{k}": v.contiguous().cpu() for m, t in towers.items() for k, v in t.state_dict().items()}
    head = {
        "format_version": FORMAT_VERSION,
        "towers": {m: t.settings for m, t in towers.items()},
        "card": dict(card or {}),
    }
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, partial, metadata={"isthmus.projectors": json.dumps(head)})
    partial.replace(path)
    return path


def load_projectors(path: str | Path) -> tuple[dict[str, Tower], dict[str, Any]]:
    """Read `save_projectors`' file (or its folder): ({modality: tower in evaluation mode}, card)."""
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise NotFound(f"{path} does not exist; save_projectors writes it")
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {}).get("isthmus.projectors", "null"))
            if head is None:
                raise BadInput(f"{path} is no checkpoint of projectors")
            if head["format_version"] > FORMAT_VERSION:
                raise BadInput(f"{path} has format {head['format_version']}, newer than {FORMAT_VERSION}: update")
            towers = {}
            for modality, settings in head["towers"].items():
                prefix = f"{modality}/"
                state = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
                towers[modality] = Tower(**settings).eval()
                towers[modality].load_state_dict(state)
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, RuntimeError) as error:
        raise BadInput(f"{path} cannot be read as a checkpoint of projectors: {error}") from error
    return towers, head["card"]


def push_projectors(path: str | Path, repository: str, *, private: bool = True) -> str:
    """Upload a checkpoint to a model repository of the Hugging Face hub and return its address; needs network."""
    load_projectors(path)
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise MissingExtra(
            "pushing a checkpoint needs the package 'huggingface_hub': pip install huggingface_hub"
        ) from None
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    hub.create_repo(repository, private=private, exist_ok=True)
    return str(hub.upload_file(path_or_fileobj=str(path), path_in_repo=CHECKPOINT, repo_id=repository))


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


def block_steps(members: Sequence[StartedProjector]) -> tuple[list[dict[str, Any]], Mapping[str, np.ndarray]]:
    """Return (steps, tensors) of started projectors side by side, then unit length: block matrices do them at once."""
    steps = _Steps()
    weight, mean = torch.cat([m.weight for m in members]), torch.cat([m.weight @ m.mean for m in members])
    hidden = steps.linear(_diagonal(*(m.hidden.weight for m in members)), torch.cat([m.hidden.bias for m in members]))
    out = steps.linear(_diagonal(*(m.out.weight for m in members)), torch.cat([m.out.bias for m in members]))
    listed = [
        {"op": "layernorm"},
        steps.linear(weight, -mean),
        {"op": "residual", "steps": [hidden, {"op": "gelu"}, out]},
        {"op": "normalise"},
    ]
    return listed, steps.tensors


def _diagonal(*blocks: Tensor) -> Tensor:
    """Return the block-diagonal matrix of some matrices."""
    joined: Tensor = torch.block_diag(*blocks)
    return joined
