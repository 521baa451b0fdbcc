"""The one context that a method's `run(ctx)` gets: budget, seed, control, a cache and a place to write."""

import contextlib
import hashlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from isthmus.core.card import Control
from isthmus.core.progress import Progress, silent

if TYPE_CHECKING:
    import torch

__all__ = ["Budget", "Run", "cache_dir", "seeded"]

Budget = Literal["smoke", "small", "full"]
T = TypeVar("T")


def cache_dir() -> Path:
    """Return the folder for rebuildable data: `$ISTHMUS_CACHE`, or `isthmus` in the user's cache folder."""
    if chosen := os.environ.get("ISTHMUS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "isthmus"


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed python, numpy and torch inside the block and put their states back after it.

    This is the sanctioned way to control what takes no generator (initialisation, dropout). torch is touched
    only if it has been imported already.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    with contextlib.ExitStack() as stack:
        if torch is not None:
            # named, because forking several devices unnamed warns
            stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
            torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of one experiment.

    `control` is None in the experiment itself, or the name of the treatment (`Claim.control`) that the run
    must apply to the data of *both* arms. Files go under `out`; `cache` holds what may be rebuilt.
    """

    budget: Budget
    seed: int
    out: Path
    cache: Path
    control: Control | None = None
    progress: Progress = silent

    def pick(self, *, smoke: T, small: T, full: T) -> T:
        """Return the setting that belongs to the budget."""
        return {"smoke": smoke, "small": small, "full": full}[self.budget]

    def derived(self, name: str) -> int:
        """Return a seed that depends on the run's seed and a name, and on nothing else."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:4], "big")

    def rng(self, name: str) -> np.random.Generator:
        """Return a fresh numpy generator for a named purpose."""
        return np.random.default_rng(self.derived(name))

    def generator(self, name: str) -> "torch.Generator":
        """Return a fresh torch generator (CPU) for a named purpose."""
        import torch

        return torch.Generator().manual_seed(self.derived(name))

    def cached(self, name: str, make: Callable[[], Mapping[str, np.ndarray]], **inputs: Any) -> dict[str, np.ndarray]:
        """Return `make()`, computed once for a name and its `inputs` and shared by all arms and seeds.

        `inputs` is everything that decides the content (fingerprints, sizes, versions): JSON values only.
        """
        text = json.dumps({"name": name, **inputs}, sort_keys=True)
        path = self.cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
        if not path.exists():
            arrays = make()
            self.cache.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(partial, allow_pickle=False, **arrays)
            partial.replace(path)
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
