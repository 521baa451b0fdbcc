"""Maps and vectors that tests of spaces share."""

import numpy as np

from isthmus.space import Map
from tests.store.rows import fingerprint


class Draw:
    """Steps over random tensors, collected as they are drawn."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors = {}

    def tensor(self, *shape):
        name = f"t{len(self.tensors)}"
        self.tensors[name] = self.rng.standard_normal(shape).astype(np.float32)
        return name

    def step(self, op, d, out=None):
        made = {
            "centre": lambda: {"mean": self.tensor(d)},
            "scale": lambda: {"factor": self.tensor(d)},
            "shrink": lambda: {"op": "scale", "factor": 0.25},
            "linear": lambda: {"weight": self.tensor(out or d, d), "bias": self.tensor(out or d)},
            "product": lambda: {"op": "linear", "weight": self.tensor(out or d, d)},
            "layernorm": lambda: {"weight": self.tensor(d), "bias": self.tensor(d), "eps": 1e-3},
            "standardise": lambda: {"op": "layernorm"},
            "residual": lambda: {"steps": [self.step("linear", d, 7), {"op": "gelu"}, self.step("product", 7, d)]},
        }
        return {"op": op, **made[op]()} if op in made else {"op": op}


OPS = [
    "centre",
    "scale",
    "shrink",
    "linear",
    "product",
    "layernorm",
    "standardise",
    "gelu",
    "relu",
    "residual",
    "normalise",
]


def head(seed=0, d=6, out=3):
    """A map like those that methods make."""
    draw = Draw(seed)
    steps = [
        draw.step("centre", d),
        draw.step("linear", d, 5),
        {"op": "gelu"},
        draw.step("residual", 5),
        draw.step("linear", 5, out),
        {"op": "normalise"},
    ]
    return Map(steps, draw.tensors, fingerprint(d))


def token_map(seed=0, d=6):
    draw = Draw(seed)
    steps = [draw.step("linear", d), {"op": "relu"}, {"op": "masked_mean"}, draw.step("linear", d, 3)]
    return Map(steps, draw.tensors, fingerprint(d, encoder="tokens"))


def tokens(n=9, t=5, d=6, seed=1):
    rng = np.random.default_rng(seed)
    mask = rng.random((n, t)) < 0.6
    mask[:, 2] = True
    return rng.standard_normal((n, t, d)).astype(np.float32), mask


def vectors(n=9, d=6, seed=1, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
