"""The learned temperature."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.core.errors import BadInput

__all__ = ["LogScale"]


class LogScale(nn.Module):
    """A learned temperature τ, kept as log 1/τ; calling it returns 1/τ, the `scale` of the losses, at most `most`.

    The parameter is brought back to the bound before each use, so that its gradient never dies there.
    """

    def __init__(self, tau: float = 0.07, *, most: float = 100.0) -> None:
        super().__init__()
        if not 0 < 1 / most <= tau:
            raise BadInput(f"a temperature lies above 1 / most = {1 / most:g}, got {tau:g}")
        self.most = most
        self.log_scale = nn.Parameter(torch.tensor(-math.log(tau)))

    def forward(self) -> Float[Tensor, ""]:
        """Return 1/τ."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.most))
        return self.log_scale.exp()
