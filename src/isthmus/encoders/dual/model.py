"""The dual encoder as a module: two towers, a projection each, one temperature; and its checkpoint on disk."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.files import write_json
from isthmus.core.roles import Tokens
from isthmus.encoders.checks import check_texts
from isthmus.encoders.dual.towers import ResNet, TextTransformer, ViT
from isthmus.encoders.dual.words import ids_of, read
from isthmus.parts.contrast import LogScale, gather_rows, info_nce
from isthmus.parts.kept import fits
from isthmus.store.disk import claim, clean, filed, plain_name, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["HEAD", "DualEncoder", "Shape", "load_model", "save_model", "square"]

HEAD = "dual.json"
KIND = "isthmus dual encoder"
FORMAT = 1
LEFTOVERS = (
    "model-*.safetensors",
    "tokenizer-*.json",
    "run.json",
    "log.jsonl",
    "checkpoint.safetensors",
    "tensorboard",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides the shapes of all weights. Raises `BadInput` for numbers that no tower can be built of."""

    picture: Literal["resnet", "vit"] = "resnet"
    side: int = 64
    patch: int = 8
    picture_width: int = 64
    picture_depth: int = 1
    text_width: int = 128
    text_depth: int = 2
    heads: int = 4
    longest: int = 48
    vocabulary: int = 4000
    dim: int = 128

    def __post_init__(self) -> None:
        if self.picture not in ("resnet", "vit"):
            raise NotFound.named("picture tower", str(self.picture), ("resnet", "vit"))
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "picture"}
        if wrong := {n: v for n, v in numbers.items() if type(v) is not int or v < 1}:
            raise BadInput(f"a dual encoder is made of whole numbers from 1, got {wrong}")
        steps = self.patch if self.picture == "vit" else 16
        if self.side % steps:
            raise BadInput(f"side = {self.side} pixels cannot be cut into patches of {steps}")
        split = self.heads if self.picture == "vit" else 8
        if self.picture_width % split or self.text_width % self.heads:
            raise BadInput(
                f"picture_width = {self.picture_width} must be a multiple of {split}, text_width = {self.text_width} "
                f"of {self.heads}"
            )


class DualEncoder(nn.Module):
    """Pictures and texts as unit vectors of one space, with everything inside within reach.

    `towers` {modality: tower} have ``embed`` (patch features, token embeddings) and ``tokens``, `heads` {modality:
    projection} bring a tower's mean to the common width, `scale` is the learned 1/τ. `prepare` makes tensors of
    items, which everything else takes: (n, 3, side, side) from −1 to 1, or (n, t) token numbers with 0 for none.
    """

    def __init__(self, shape: Shape, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self.shape, self.tokenizer = shape, tokenizer
        picture: ViT | ResNet
        if shape.picture == "vit":
            picture = ViT(
                side=shape.side,
                patch=shape.patch,
                width=shape.picture_width,
                depth=shape.picture_depth,
                heads=shape.heads,
            )
        else:
            picture = ResNet(base=shape.picture_width, depth=shape.picture_depth)
        text = TextTransformer(
            vocabulary=shape.vocabulary,
            longest=shape.longest,
            width=shape.text_width,
            depth=shape.text_depth,
            heads=shape.heads,
        )
        self.towers = nn.ModuleDict({"image": picture, "text": text})
        self.heads = nn.ModuleDict(
            {"image": nn.Linear(picture.width, shape.dim), "text": nn.Linear(text.width, shape.dim)}
        )
        self.scale = LogScale()
        self._readers = {"image": self._pixels, "text": self._ids}

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads."""
        return tuple(self._readers)

    @property
    def temperature(self) -> float:
        """The learned τ."""
        return 1 / float(self.scale().detach())

    def prepare(self, modality: str, items: Sequence[Any]) -> Tensor:
        """Return RGB pictures or texts as the tensor that the tower takes; `BadInput` for what is neither."""
        return self._readers[self._known(modality)](items)

    def encode(self, modality: str, x: Tensor) -> Float[Tensor, "n d"]:
        """Return unit vectors of prepared items."""
        mean = self.towers[self._known(modality)](x)
        return nn.functional.normalize(self.heads[modality](mean).float(), dim=-1)

    def tokens(self, modality: str, x: Tensor) -> Tokens:
        """Return the tokens of prepared items in the common width: values (n, t, d) and their mask (n, t).

        The mean over the tokens that are there, brought to length 1, is what `encode` gives.
        """
        tower: Any = self.towers[self._known(modality)]
        values, mask = tower.tokens(x)
        return Tokens(self.heads[modality](values), mask)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the symmetric InfoNCE "loss" of a batch of both modalities, and the temperature "tau".

        Items whose ``y`` is equal (near-duplicates) are no negatives of each other. In several processes every one
        brings its own rows, as many as the others, and compares them with those of all.
        """
        image, text = (gather_rows(self.encode(m, batch.x[m])) for m in ("image", "text"))
        mask = None if batch.y is None else _strangers(gather_rows(batch.y))
        scale = self.scale()
        with torch.autocast(image.device.type, enabled=False):  # cosines close to 1 differ by less than bfloat16 tells
            return {"loss": info_nce(image, text, scale=scale, mask=mask), "tau": 1 / scale}

    def _known(self, modality: str) -> str:
        if modality not in self._readers:
            raise NotFound.named("modality of the dual encoder", modality, self._readers)
        return modality

    def _pixels(self, items: Sequence[Any]) -> Tensor:
        return normalised(torch.from_numpy(np.stack([square(item, self.shape.side) for item in items])))

    def _ids(self, items: Sequence[Any]) -> Tensor:
        check_texts(items)
        return torch.from_numpy(ids_of(self.tokenizer, items, longest=self.shape.longest))


def square(picture: Any, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """Return an RGB picture as side × side pixels: the longer side is scaled, the rest is white."""
    if not isinstance(picture, Image.Image) or picture.mode != "RGB":
        found = f"mode {picture.mode}" if isinstance(picture, Image.Image) else type(picture).__name__
        raise BadInput(f"expected an RGB PIL image, got {found}; isthmus.data.picture.read_picture gives one")
    if picture.size != (side, side):
        shrink = side / max(picture.size)
        width, height = (max(1, round(one * shrink)) for one in picture.size)
        inner = picture.resize((width, height), Image.Resampling.BICUBIC)
        picture = Image.new("RGB", (side, side), "white")
        picture.paste(inner, ((side - width) // 2, (side - height) // 2))
    return np.asarray(picture)


def normalised(pixels: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Return pixels as numbers from −1 to 1, channels first."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def save_model(model: DualEncoder, folder: Path, *, about: Mapping[str, Any] | None = None) -> None:
    """Write a model: weights as safetensors, its tokenizer, and at last the head ``dual.json`` that names both.

    `about` are JSON values to be kept beside them, such as how it was trained and what was measured.
    """
    claim(folder, head=HEAD, leftovers=LEFTOVERS, kind="a dual encoder")
    state = {name: x.detach().cpu().contiguous().clone() for name, x in model.state_dict().items()}
    weights, digest = filed(folder, "model", ".safetensors", lambda path: save_file(state, path))
    words, _ = filed(folder, "tokenizer", ".json", lambda path: model.tokenizer.save(str(path)))
    head = {"kind": KIND, "format_version": FORMAT, "weights": weights, "sha256": digest, "tokenizer": words}
    write_json(folder / HEAD, {**head, "shape": dataclasses.asdict(model.shape), **(about or {})})
    clean(folder, ("model-*.safetensors", "tokenizer-*.json"), {weights, words})


def load_model(folder: str | Path) -> tuple[DualEncoder, dict[str, Any]]:
    """Return the model in a folder, in evaluation mode, and its head.

    Raises `NotFound` when there is none, `BadInput` for one that cannot be read or is of another architecture.
    """
    folder = Path(folder)
    path = folder / HEAD
    head = read_json(path, kind="a dual encoder", format_version=FORMAT)
    if head.get("kind") != KIND:
        raise BadInput(f"{path} is a checkpoint of another architecture: {head.get('kind')!r}, not {KIND!r}")
    known = {field.name for field in dataclasses.fields(Shape)}
    if not isinstance(head.get("shape"), dict) or set(head["shape"]) != known:
        raise BadInput(f"{path} is damaged: its shape must have {', '.join(sorted(known))}")
    weights = folder / plain_name(head.get("weights"), ending=".safetensors", source=path)
    words = folder / plain_name(head.get("tokenizer"), ending=".json", source=path)
    model = DualEncoder(Shape(**head["shape"]), read(words))
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{weights} cannot be read ({error}): train again, or copy the folder anew") from error
    fits(model, state, weights)
    if any(not bool(torch.isfinite(x).all()) for x in state.values()):
        raise BadInput(f"{weights} holds NaN or infinity: train again with a lower rate")
    model.load_state_dict(state)
    return model.eval(), head


def _strangers(groups: Tensor) -> Bool[Tensor, "n n"]:
    """Return (n, n): True on the diagonal and where two items are no near-duplicates."""
    return (groups.unsqueeze(1) != groups) | torch.eye(len(groups), dtype=torch.bool, device=groups.device)


def parameters_of(model: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(math.prod(p.shape) for p in model.parameters() if p.requires_grad)
