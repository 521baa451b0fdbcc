"""Models with a relative layer between encoder and head, trained end to end: any encoder, and an autoencoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isthmus.core.run import seeded
from isthmus.methods.spaces.relative_representations.layer import RelativeLayer
from isthmus.parts.train import Minibatches, train

__all__ = ["RelativeModel", "autoencoder", "fit_model"]


class RelativeModel(nn.Module):
    """`head(relative(encoder(x), encoder(anchors)))`, or `head(encoder(x))` where `relative` is None.

    `anchors` are inputs of the encoder, k of them, encoded anew at every call with dropout off and with the stored
    statistics of batch norms, so that they do not depend on the batch and are never stale. `encoder` is any module
    that gives (n, d): convolutions, a transformer, a graph network.
    """

    anchors: Tensor

    def __init__(self, encoder: nn.Module, head: nn.Module, anchors: Tensor, relative: RelativeLayer | None) -> None:
        super().__init__()
        self.encoder, self.head, self.relative = encoder, head, relative
        self.register_buffer("anchors", anchors)

    def encode(self, x: Tensor) -> Tensor:
        """Return what the head gets: coordinates (n, k), or latents (n, d) where nothing is relative."""
        latents: Tensor = self.encoder(x)
        if self.relative is None:
            return latents
        training = self.encoder.training
        self.encoder.eval()
        anchors = self.encoder(self.anchors)
        self.encoder.train(training)
        coordinates: Tensor = self.relative(latents, anchors)
        return coordinates

    def forward(self, x: Tensor) -> Tensor:
        """Return the head's output."""
        output: Tensor = self.head(self.encode(x))
        return output


def autoencoder(
    anchors: Tensor, latent: int = 64, *, hidden: int = 128, relative: bool = True, seed: int = 0
) -> RelativeModel:
    """Return an autoencoder of vectors as wide as the anchors (k, d), from a random start by `seed`."""
    k, d = anchors.shape
    with seeded(seed):
        encoder = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, latent))
        decoder = nn.Sequential(nn.Linear(k if relative else latent, hidden), nn.GELU(), nn.Linear(hidden, d))
    return RelativeModel(encoder, decoder, anchors, RelativeLayer() if relative else None)


def fit_model(
    model: RelativeModel,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int = 300,
    batch: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Train encoder and head to bring loss(model(x), y) down, and return the history; y is x for an autoencoder."""
    draw = torch.Generator().manual_seed(seed)
    with seeded(seed):
        return train(
            lambda rows: {"loss": loss(model(x[rows]), y[rows])},
            model.parameters(),
            Minibatches(len(x), batch, -(-steps // max(1, len(x) // batch)), draw),
            lr=lr,
            total=steps,
            stop=lambda done: done >= steps,
        )
