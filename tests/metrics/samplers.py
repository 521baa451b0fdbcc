"""Inputs with the rank, scale and degeneracy that real embeddings have, not one normal draw."""

import numpy as np

TOLERANCE = {"float32": 2e-5, "float64": 1e-9}

SHAPES = ("gaussian", "shifted", "low_rank", "tiny", "huge", "clustered")


def vectors(shape, n, d, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    if shape == "shifted":
        x += 5
    elif shape == "low_rank":
        x = x[:, :2] @ rng.standard_normal((2, d))
    elif shape == "tiny":
        x *= 1e-6
    elif shape == "huge":
        x *= 1e6
    elif shape == "clustered":
        x = x[rng.integers(max(2, n // 5), size=n)] + 0.01 * x
    return x.astype(dtype)


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
