"""What adapters to other packages' torch models share: weights as a digest, and failed fetches in words."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.core.errors import BadInput, IsthmusError, NotFound

__all__ = ["fetching", "pooled", "weights_digest"]


def weights_digest(model: Any) -> str:
    """Return the SHA-256 of the weights and buffers of a torch module, by name."""
    import torch

    sha = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        sha.update(key.encode())
        # as bytes, because numpy has no bfloat16
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


@contextlib.contextmanager
def fetching(name: str, place: str) -> Iterator[None]:
    """Say what to do where a model can neither be read from the folder `place` nor fetched by that name."""
    try:
        yield
    except (IsthmusError, ModuleNotFoundError):
        raise
    except Exception as error:  # the packages raise what their own dependencies do
        reason = " ".join(str(error).split())[:200]
        if Path(place).is_dir():
            raise BadInput(f"{name}: the folder {place} cannot be loaded ({reason})") from error
        raise NotFound(
            f"{name}: {place} is no folder here, and could not be fetched ({type(error).__name__}: {reason}). "
            "Check the name and the connection, or name a folder with the model"
        ) from error


def pooled(states: Any, mask: Any) -> Any:
    """Return the means over the tokens of `mask` (n, t) of states (n, t, d)."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
