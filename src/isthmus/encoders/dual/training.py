"""Training the dual encoder on data sets, from nothing or from where it was stopped, in one process or several."""

import contextlib
import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.progress import Progress, silent
from isthmus.core.run import seeded
from isthmus.data.records import DataSet
from isthmus.encoders.dual.model import HEAD, DualEncoder, Shape, load_model, save_model
from isthmus.encoders.dual.pairs import Drawn, Order, Pairs, gather, split
from isthmus.encoders.dual.words import train_tokenizer
from isthmus.parts.kept import CHECKPOINT, Kept
from isthmus.parts.train import Precision, synchronise, train
from isthmus.store.disk import locked

__all__ = ["PRESETS", "Preset", "Settings", "Trained", "fit"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides the weights, beside the data. Raises `BadInput` for numbers out of range.

    The first lines are the `Shape` of the model. `languages` are tags with commas between them, `english` is the
    chance that an item gives an English text, `augment` from 0 to 1 how much pictures are changed (`pairs.augment`).
    A batch is of one domain (data sets that share keys are one), which is drawn in proportion to its items to the power
    of `balance`: 0 gives each as many steps, 1 goes by size. `hold_out` items of the first data set
    (number `split` of the splits) and their near-duplicates in all of them are never trained on.
    """

    picture: Literal["resnet", "vit"] = "resnet"
    side: int = 64
    patch: int = 8
    picture_width: int = 64
    picture_depth: int = 1
    text_width: int = 128
    text_depth: int = 2
    heads: int = 4
    longest: int = 40
    vocabulary: int = 4000
    dim: int = 128

    languages: str = "en,fr,de"
    english: float = 0.6
    balance: float = 0.0
    augment: float = 1.0
    hold_out: int = 300
    split: int = 0

    steps: int = 1500
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.hold_out < 0:
            raise BadInput(
                f"steps = {self.steps}, batch = {self.batch}, hold_out = {self.hold_out}; at least 1 step, 2 items a "
                "batch and 0 items held out are needed"
            )
        for name in ("english", "balance", "augment"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} = {getattr(self, name)}; expected a number from 0 to 1")
        if not (0 < self.lr < 1 and self.weight_decay >= 0 and 0 <= self.warmup < 1 and self.clip > 0):
            raise BadInput(
                f"lr = {self.lr} must lie in (0, 1), warmup = {self.warmup} in [0, 1), weight_decay = "
                f"{self.weight_decay} at least at 0, clip = {self.clip} above 0"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise NotFound.named("precision", str(self.precision), ("float32", "bfloat16"))
        self.shape()

    def shape(self, vocabulary: int | None = None) -> Shape:
        """Return the shape of the model, with as many tokens as there came to be."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Shape)}
        return Shape(**{**fields, **({} if vocabulary is None else {"vocabulary": vocabulary})})


@dataclass(frozen=True)
class Preset:
    """Settings with a name, the data sets that they are meant for, and the options that these are loaded with."""

    settings: Settings
    data: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]


DATA = ("openmoji", "emoji_styles", "world")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "emoji_styles": {"keywords": True},
    "world": {"n": 6000, "size": 64, "max_objects": 3},
}
PRESETS: Mapping[str, Preset] = {
    "dual": Preset(Settings(precision="bfloat16"), DATA, OPTIONS),
    "dual_vit": Preset(
        Settings(picture="vit", picture_width=128, picture_depth=4, precision="bfloat16"), DATA, OPTIONS
    ),
    "dual_tiny": Preset(
        Settings(
            side=32,
            picture_width=16,
            text_width=32,
            text_depth=1,
            heads=2,
            vocabulary=400,
            dim=32,
            languages="en",
            hold_out=0,
            steps=30,
            batch=32,
        ),
        ("world",),
        {"world": {"n": 96, "size": 32, "max_objects": 2, "person": 0.0, "languages": ("en",)}},
    ),
}
"""What the names of the encoders stand for."""


@dataclass(frozen=True)
class Trained:
    """A model with what `fit` knows about it: its folder and its head (`model.load_model`)."""

    model: DualEncoder
    head: Mapping[str, Any]
    folder: Path


def fit(
    sets: Sequence[DataSet],
    *,
    settings: Settings,
    out: str | Path,
    method: str = "dual",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    fresh: bool = False,
    every: int = 100,
    tensorboard: bool = False,
    device: str = "cpu",
    progress: Progress = silent,
) -> Trained:
    """Train a dual encoder on data sets and keep it in a folder; again, it goes on where it stopped.

    The folder holds what `parts.kept.Kept` says, and at the end the model (`model.save_model`). When the same training
    is there already it is returned. `method` and `options` are noted in ``run.json``. In several processes (an
    initialised group) each takes a part of every batch, and the first one writes.

    Raises:
        BadInput: for data sets without pairs, a batch that cannot be shared evenly among processes, or a folder that
            holds another training; `fresh` begins anew.
    """
    folder = Path(out)
    if not sets:
        raise BadInput("training needs at least one data set")
    rank, processes = _place()
    languages = [tag.strip() for tag in settings.languages.split(",") if tag.strip()]
    held, without = split(sets, hold_out=settings.hold_out, number=settings.split)
    pairs = gather(sets, side=settings.side, languages=languages, without=without, progress=progress)
    sizes = np.minimum(settings.batch, np.bincount(pairs.domain))
    if (sizes % processes).any() or (sizes < 2).any():
        raise BadInput(
            f"batches of {', '.join(map(str, sizes))} items: at least 2 are needed, and as many for each of "
            f"{processes} processes"
        )
    identity = {
        "method": method,
        "data": [one.name for one in sets],
        "options": dict(options or {}),
        "settings": dataclasses.asdict(settings),
        "content": pairs.digest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, kind="a training") if rank == 0 else contextlib.nullcontext():
        if fresh and rank == 0:
            for name in (HEAD, CHECKPOINT):
                (folder / name).unlink(missing_ok=True)
        if processes > 1:
            torch.distributed.barrier()  # nobody reads before the first one has cleaned
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        if (folder / HEAD).exists():
            model, head = load_model(folder)
            if head.get("training", {}).get("digest") == digest:
                return Trained(model, head, folder)
        with seeded(settings.seed):
            tokenizer = train_tokenizer(pairs.texts, vocabulary=settings.vocabulary)
            model = DualEncoder(settings.shape(tokenizer.get_vocab_size()), tokenizer).to(device)
            keep = Kept(folder, model, identity=identity, about=_versions(), every=every, tensorboard=tensorboard)
            _train(model, pairs, settings, keep, device, progress)
        about = {
            **identity,
            **_versions(),
            "digest": digest,
            "items": pairs.n,
            "pictures": len(pairs.pictures),
            "texts": len(pairs.texts),
            "held_out": sorted(held),
            "seconds": round(keep.spent[0], 1),
            "processor_seconds": round(keep.spent[1], 1),
            "processes": processes,
        }
        if rank == 0:
            save_model(model, folder, about={"training": about})
            return Trained(*load_model(folder), folder)
        return Trained(model, {"training": about}, folder)


def _train(model: DualEncoder, pairs: Pairs, settings: Settings, keep: Kept, device: str, progress: Progress) -> None:
    rank, processes = _place()
    drawn = Drawn(pairs, settings.seed, settings.english, settings.augment)
    group = torch.from_numpy(pairs.group)

    def step(batch: tuple[int, np.ndarray]) -> dict[str, Tensor]:
        number, items = batch
        each = len(items) // processes
        part = slice(rank * each, (rank + 1) * each)
        pictures, texts = drawn(number, items, part)
        x = {"image": pictures.to(device), "text": model.prepare("text", texts).to(device)}
        return model.loss(Batch(x, y=group[items[part]].to(device)))

    model.train()
    params = [p for p in model.parameters() if p.requires_grad]
    order = Order(pairs.domain, settings.batch, settings.steps, settings.seed, settings.balance)
    with synchronise(params):
        train(
            step,
            params,
            order,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
            clip=settings.clip,
            precision=settings.precision,
            keep=keep,
            progress=progress if rank == 0 else silent,
            stage="train",
        )
    model.eval()


def _place() -> tuple[int, int]:
    """Return the number of this process and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _versions() -> dict[str, Any]:
    packages = {name: version(name) for name in ("isthmus", "torch", "numpy", "tokenizers")}
    return {"versions": {"python": platform.python_version(), **packages, "threads": str(torch.get_num_threads())}}
