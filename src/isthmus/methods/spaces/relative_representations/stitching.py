"""A head that was trained with one encoder on the vectors of another: the anchors must be the same, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from isthmus.core.errors import BadInput
from isthmus.core.run import seeded
from isthmus.methods.spaces.relative_representations.anchors import Anchors
from isthmus.metrics.vectors import matrix
from isthmus.parts.linear import RelativeProjection
from isthmus.parts.params import Params
from isthmus.parts.train import Minibatches, train

__all__ = ["Coordinates", "Head", "Stitched", "stitch"]


class Coordinates(Params):
    """The relative coordinates of one encoder: similarities to its vectors of the anchors, one block a similarity.

    Several `similarities` give a product space, their coordinates side by side. `bin` above 0 rounds them, `norm`
    brings each block to mean 0 and variance 1 ("layer"), to unit length ("l2"), or leaves it.

    Relations: one similarity, no bin, no norm → `isthmus.parts.linear.RelativeProjection`.
    """

    def __init__(
        self,
        *,
        similarities: Sequence[Literal["cosine", "angular", "euclidean", "basis"]] = ("cosine",),
        centring: bool = True,
        bin: float = 0.0,
        norm: Literal["layer", "l2", "none"] = "layer",
    ) -> None:
        self.similarities = similarities
        self.centring = centring
        self.bin = bin
        self.norm = norm

    def fit(self, vectors: Any, anchors: Anchors) -> Self:
        """Take this encoder's vectors (k, d) of the anchors, in their order."""
        if len(vectors) != len(anchors.ids):
            raise BadInput(f"{len(vectors)} vectors for {len(anchors.ids)} anchors: one each is needed, in their order")
        if not self.similarities or self.bin < 0 or self.norm not in ("layer", "l2", "none"):
            raise BadInput(f"{self!r} needs a similarity, bins of at least 0, and the norm layer, l2 or none")
        self.projections_ = [
            RelativeProjection(similarity=name, centring=self.centring).fit(vectors) for name in self.similarities
        ]
        self.anchors_ = anchors
        return self

    def transform(self, x: Any) -> Float[np.ndarray, "n k"]:
        """Return the coordinates of rows (n, d) as float64; `BadInput` before `fit` or for another width."""
        if not hasattr(self, "projections_"):
            raise BadInput("Coordinates is not fitted yet; call fit first")
        rows = matrix(x, "x").astype(np.float64)
        return np.concatenate([self._block(p.transform(rows)) for p in self.projections_], 1)

    def _block(self, r: np.ndarray) -> np.ndarray:
        r = np.round(r / self.bin) * self.bin if self.bin else r
        if self.norm == "layer":
            r = r - r.mean(1, keepdims=True)
            return np.asarray(r / np.sqrt((r**2).mean(1, keepdims=True) + 1e-12))
        return np.asarray(r / np.linalg.norm(r, axis=1, keepdims=True).clip(1e-12)) if self.norm == "l2" else r


class Head(Params):
    """A classifier on coordinates: one hidden layer of `hidden` units, or none at 0, soft-max, AdamW."""

    def __init__(
        self,
        *,
        hidden: int = 0,
        dropout: float = 0.0,
        steps: int = 200,
        batch: int = 256,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay

    def fit(self, r: Any, labels: Any, *, anchors: Anchors | None = None, seed: int = 0) -> Self:
        """Learn labels (n,) from coordinates (n, k), and remember which anchors they are coordinates of."""
        rows, named = matrix(r, "coordinates", rows=2).astype(np.float32), np.asarray(labels)
        if named.shape != (len(rows),):
            raise BadInput(f"{len(rows)} rows need as many labels, got shape {named.shape}")
        self.classes_, number = np.unique(named, return_inverse=True)
        if len(self.classes_) < 2:
            raise BadInput(f"the {len(rows)} labels are all {self.classes_[0]!r}: at least 2 classes are needed")
        x, y, (k, c) = torch.from_numpy(rows), torch.from_numpy(number), (rows.shape[1], len(self.classes_))
        draw = torch.Generator().manual_seed(seed)
        size = min(self.batch, len(rows))
        with seeded(seed):
            inner = [nn.Linear(k, self.hidden), nn.GELU()] if self.hidden else []
            net = nn.Sequential(nn.Dropout(self.dropout), *inner, nn.Linear(self.hidden or k, c))
            self.history_ = train(
                lambda chosen: {"loss": nn.functional.cross_entropy(net(x[chosen]), y[chosen])},
                net.parameters(),
                Minibatches(len(rows), size, -(-self.steps // max(1, len(rows) // size)), draw),
                lr=self.lr,
                weight_decay=self.weight_decay,
                warmup=0.05,
                total=self.steps,
                stop=lambda done: done >= self.steps,
            )
        self.net_ = net.eval().requires_grad_(False)
        self.anchors_ = anchors
        self.width_ = k
        return self

    def scores(self, r: Any) -> Float[np.ndarray, "n c"]:
        """Return the log-odds of the classes; `BadInput` before `fit` or for another number of coordinates."""
        if not hasattr(self, "net_"):
            raise BadInput("Head is not fitted yet; call fit first")
        rows = matrix(r, "coordinates").astype(np.float32)
        if rows.shape[1] != self.width_:
            raise BadInput(f"{rows.shape[1]} coordinates for a head of {self.width_}: were other anchors used?")
        with torch.inference_mode():
            return np.asarray(self.net_(torch.from_numpy(rows)).numpy())


@dataclass(frozen=True)
class Stitched:
    """A head on an encoder that it was not trained with."""

    coordinates: Coordinates
    head: Head

    def scores(self, x: Any) -> Float[np.ndarray, "n c"]:
        """Return the scores of the classes for an encoder's vectors (n, d)."""
        return self.head.scores(self.coordinates.transform(x))

    def predict(self, x: Any) -> np.ndarray:
        """Return the class of each vector."""
        return np.asarray(self.head.classes_[self.scores(x).argmax(1)])


def stitch(coordinates: Coordinates, head: Head) -> Stitched:
    """Join an encoder's coordinates and a head; `BadInput` unless both know the same anchors in the same order."""
    if not hasattr(coordinates, "anchors_") or getattr(head, "anchors_", None) is None:
        raise BadInput("both sides must be fitted with their anchors: Coordinates.fit and Head.fit(…, anchors=)")
    ours, theirs = coordinates.anchors_.ids, head.anchors_.ids if head.anchors_ else ()
    if ours != theirs:
        shared = len(set(ours) & set(theirs))
        raise BadInput(
            f"the encoder has {len(ours)} anchors and the head was trained on {len(theirs)}, {shared} of them the same"
            f"{', in another order' if shared == len(ours) == len(theirs) else ''}: fit both on the same anchors"
        )
    return Stitched(coordinates, head)
