import numpy as np
import pytest
import torch

from isthmus.core.errors import BadInput
from isthmus.core.run import seeded
from isthmus.parts.contrast import info_nce
from isthmus.parts.projection import Projection, checked_settings, fit_projections
from isthmus.space import Map
from tests.store.rows import fingerprint

SETTINGS = {"width": 6, "dropout": 0.0, "steps": 150, "batch": 32, "lr": 2e-2, "weight_decay": 0.0}


def points(n=60, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 4))
    return {m: hidden @ rng.standard_normal((4, d)) for m, d in {"image": 9, "text": 7, "sound": 5}.items()}


def loss(a, b):
    return {"loss": info_nce(a, b, scale=10.0), "cosine": (a * b).sum(1).mean()}


def placed(heads, m, x):
    with torch.no_grad():
        return heads[m](torch.from_numpy(x[m]).float()).numpy()


def recall(heads, x, first="image", second="text"):
    a, b = (placed(heads, m, x) for m in (first, second))
    return float(((a @ b.T).argmax(1) == np.arange(len(a))).mean())


def test_oracle():
    """The map is the module's function: standardised, linear, of length 1; dropout ends with training."""
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    with seeded(0):
        head = Projection(x, 3, dropout=0.5)
    z = (x - x.mean(0)) / (x.std(0, correction=0) + 1e-6)
    wanted = torch.nn.functional.normalize(z @ head.linear.weight.T + head.linear.bias, dim=1).detach()
    torch.testing.assert_close(head.eval()(x).detach(), wanted)
    side = Map(*head.steps(), fingerprint(5))
    np.testing.assert_allclose(side(x.numpy()), wanted, atol=1e-6)


def test_pairs_meet():
    x = points()
    sides, history = fit_projections({m: x[m] for m in ("image", "text")}, loss, **SETTINGS)
    assert len(history) == 150 and set(history[0]) == {"loss", "cosine"}
    assert history[-1]["loss"] < history[0]["loss"] / 3
    assert recall(sides, x) > 0.9


def test_relations():
    x = points()
    two = {m: x[m] for m in ("image", "text")}
    plain, _ = fit_projections(two, loss, **SETTINGS)
    names = np.array([f"k{i:02d}" for i in range(60)])
    keyed, _ = fit_projections(two, loss, keys=dict.fromkeys(two, names), **SETTINGS)
    np.testing.assert_array_equal(placed(plain, "image", x), placed(keyed, "image", x))
    three, history = fit_projections(x, loss, **SETTINGS)
    assert recall(three, x) > 0.9 and recall(three, x, "sound", "text") > 0.6
    assert len(history) == 150


def test_several_records_of_an_item_and_missing_ones():
    x = points()
    twice = np.r_[np.arange(60), np.arange(60)]
    pairs = {"image": x["image"], "text": x["text"][twice], "sound": x["sound"][:20]}
    keys = {"image": np.arange(60), "text": twice, "sound": np.arange(20)}
    sides, _ = fit_projections(pairs, loss, keys=keys, **SETTINGS)
    assert recall(sides, x) > 0.9
    # at most one item of a batch has a sound: the step does without
    few, history = fit_projections(pairs | {"sound": x["sound"][:1]}, loss, keys=keys | {"sound": [0]}, **SETTINGS)
    assert set(few) == {"image", "text", "sound"} and np.isfinite([h["loss"] for h in history]).all()


def test_errors():
    x = points()
    with pytest.raises(BadInput, match="batch = 1 must lie"):
        fit_projections(x, loss, **SETTINGS | {"batch": 1})
    with pytest.raises(BadInput, match="not finite in row 2"):
        bad = x["image"].copy()
        bad[2] = np.nan
        fit_projections({"image": bad, "text": x["text"]}, loss, **SETTINGS)
    with pytest.raises(BadInput, match="dropout"):
        checked_settings(dropout=1.0)
