"""A small dual encoder of our own: pictures and texts in one space, trained here, with its inside within reach.

You get a frozen or starting model for methods that probe, invert, distil, continue or fine-tune one. It is built by one
command from data that packages carry, and read by name afterwards:

    isthmus train dual                               # openmoji, emoji_styles and the world, on a processor
    isthmus embed openmoji --encoder image=dual --encoder text=dual --out store

`dual` has a ResNet for pictures, `dual_vit` a ViT, `dual_tiny` is for smoke runs and builds itself in two seconds on
first use. ``dual/FOLDER`` is a model that was trained into a folder. `open_clip` and other encoders of both modalities
can stand in its place by name; `DualEncoder` is the module with its parts.

`dual` after its 1,500 steps, one seed: 731 s of one processor core for the steps (1,395 s by the clock, on a machine
that others kept busy). Between 300 held-out emoji of openmoji, unseen in any style: text to picture R@1 .030 and R@10
.177, picture to text R@10 .193 (chance .003 and .033). Between 200 unseen scenes of the world: picture to caption R@1
.295 (chance .005). With their hard negatives a pair is told apart both ways in .016 of the cases after a swap of
attributes, .006 after a swap of places, .125 after a change of count and .365 after an insertion (chance .167). It
names the colour of a thing in .84 of the cases (chance .125), in combinations that training did not leave out; shape,
size and material it names no better than chance. `dual_vit` has not been trained to the end.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from isthmus.core.errors import NotFound
from isthmus.core.roles import Tokens
from isthmus.core.run import cache_dir
from isthmus.encoders.checks import check_modality, checked
from isthmus.encoders.dual.model import HEAD, DualEncoder, Shape, load_model, save_model
from isthmus.encoders.dual.training import PRESETS, Preset, Settings, Trained, fit
from isthmus.store.fingerprint import Fingerprint

__all__ = [
    "PRESETS",
    "Dual",
    "DualEncoder",
    "Preset",
    "Settings",
    "Shape",
    "Trained",
    "fit",
    "home",
    "load",
    "load_model",
    "save_model",
]

MODALITIES = ("image", "text")
EXTRA = "train"
NAMES = {"dual": "tokenizers", "dual_vit": "tokenizers", "dual_tiny": "tokenizers"}
PREFIX = "dual/"
"""Every name that starts like this is a folder with a model."""
PACKAGE = "tokenizers"
TINY = "dual_tiny"


class Dual:
    """One side of a dual encoder; `model` is the whole of it."""

    def __init__(self, name: str, modality: str, model: DualEncoder, weights: str, *, device: str) -> None:
        self.modality, self.model, self._device = modality, model, device
        shape = model.shape
        seen = f"longer side {shape.side} px bicubic, white border, x / 127.5 - 1"
        read = f"byte pairs of NFKC in lower case, {shape.vocabulary} tokens, at most {shape.longest}"
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=modality,
            dim=shape.dim,
            weights=weights,
            preprocess={"image": seen, "text": read}[modality],
            pooling="mean of the tokens, projected",
            normalised=True,
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """Return unit vectors of RGB pictures or texts, float32 (n, d).

        Raises `BadInput` for another modality, an empty text, or what is not an RGB picture.
        """
        check_modality(modality, self.fingerprint)
        parts = [np.empty((0, self.fingerprint.dim), np.float32)]
        parts += [self.model.encode(modality, x).cpu().numpy() for x in self._batches(items, batch_size)]
        return checked(np.concatenate(parts), len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Any], *, batch_size: int = 64) -> Tokens:
        """Return the tokens in the common width: values (n, t, d), zero where `mask` (n, t) says that there is none."""
        check_modality(modality, self.fingerprint)
        found = [self.model.tokens(modality, x) for x in self._batches(items, batch_size)]
        longest = max((part.mask.shape[1] for part in found), default=0)
        values = np.zeros((len(items), longest, self.fingerprint.dim), np.float32)
        mask = np.zeros(values.shape[:2], bool)
        row = 0
        for part in found:
            n, t = part.mask.shape
            mask[row : row + n, :t] = part.mask.cpu().numpy()
            values[row : row + n, :t] = part.values.float().cpu().numpy()
            row += n
        return Tokens(np.where(mask[..., None], values, 0), mask)

    def _batches(self, items: Sequence[Any], batch_size: int) -> Iterator[torch.Tensor]:
        with torch.inference_mode():
            for start in range(0, len(items), batch_size):
                yield self.model.prepare(self.modality, items[start : start + batch_size]).to(self._device)


def home(name: str) -> Path:
    """Return the folder of a named model in the cache."""
    return cache_dir() / "encoders" / name


def load(name: str, modality: str, *, device: str = "cpu") -> Dual:
    """Return one side of a model by name, or of the one in the folder ``dual/FOLDER``.

    Raises `NotFound` for one that has not been trained yet, `BadInput` for a checkpoint that cannot be read or is of
    another architecture.
    """
    folder = home(name) if name in NAMES else Path(name.removeprefix(PREFIX))
    if name == TINY and not (folder / HEAD).exists():
        _build_tiny(folder)
    if not (folder / HEAD).exists():
        hint = (
            f"train it with `isthmus train {name}`" if name in NAMES else "train one with `isthmus train dual --out …`"
        )
        raise NotFound(f"the encoder {name} has not been built yet ({folder} has no {HEAD}): {hint}")
    model, weights = _loaded(folder, (folder / HEAD).stat().st_mtime_ns, device)
    return Dual(name, modality, model, weights, device=device)


@functools.lru_cache(maxsize=2)
def _loaded(folder: Path, changed: int, device: str) -> tuple[DualEncoder, str]:
    model, head = load_model(folder)
    return model.requires_grad_(False).to(device), head["sha256"]


def _build_tiny(folder: Path) -> None:
    from isthmus import data

    preset = PRESETS[TINY]
    sets = [data.load(name, **preset.options.get(name, {})) for name in preset.data]
    fit(sets, settings=preset.settings, out=folder, method=TINY, options=preset.options)
