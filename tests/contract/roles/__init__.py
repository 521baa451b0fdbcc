"""One file a role. A check takes `make() -> Toy` and asserts."""

import numpy as np

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def array(x):
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def close(a, b):
    np.testing.assert_allclose(array(a), array(b), **TOLERANCE)


def still(thing):
    """The thing as it answers in use: dropout and batch statistics switched off."""
    return thing.eval() if hasattr(thing, "eval") else thing


def order(n, seed=0):
    """A permutation that moves every row."""
    return np.roll(np.random.default_rng(seed).permutation(n), 1) if n > 2 else np.arange(n)[::-1].copy()


def rows(x, index):
    """The rows of an array, a tensor or a list."""
    return [x[i] for i in index] if isinstance(x, list | tuple) else x[index]
