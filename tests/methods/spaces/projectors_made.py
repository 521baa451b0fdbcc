"""Tables, towers and features that tests of projectors share."""

import numpy as np
import torch
from torch import nn

from isthmus.core.run import seeded
from isthmus.methods.spaces.projectors import (
    Features,
    Tower,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def table(*shape, seed=0):
    return torch.from_numpy(rng(seed).standard_normal(shape).astype(np.float32))


def made(build, *arguments, **settings):
    """Build a module with random gains too, in evaluation mode."""
    with seeded(3):
        module = build(*arguments, **settings)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return module.eval()


def state(module):
    return {k: v.numpy() for k, v in module.state_dict().items()}


def views(n=60, hidden=5, image=12, text=8, seed=0):
    draw = rng(seed)
    points = draw.standard_normal((n, hidden))
    return {m: (points @ draw.standard_normal((hidden, d))).astype(np.float32) for m, d in (("i", image), ("t", text))}


def items(n=32, t=5, seed=0):
    draw = rng(seed)
    points = draw.standard_normal((n, 4)).astype(np.float32)
    tokens = (points[:, None] * (draw.random((n, t, 4)) < 0.9)) @ draw.standard_normal((4, 10))
    words = (points[:, None] + 0.1 * draw.standard_normal((n, 3, 4))) @ draw.standard_normal((4, 6))
    mask = torch.ones(n, 3).bool()
    mask[::2, 2] = False
    image = Features(tokens=torch.from_numpy(tokens).half(), summary=torch.from_numpy(tokens.mean(1)))
    return {"image": image, "text": Features(tokens=torch.from_numpy(words).float(), mask=mask)}


def towers():
    with seeded(0):
        return {
            "image": Tower(10, 16, local="token", summary="token"),
            "text": Tower(6, 16, local="token", head="mlp"),
        }
