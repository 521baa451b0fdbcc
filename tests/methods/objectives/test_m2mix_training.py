"""Fine-tuning with mixed losses, weights in between, the hardness of mixed negatives, and the maps."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.methods.objectives.m2mix import (
    M2,
    M3,
    MixMaps,
    Training,
    fine_tune,
    hard_negative_loss,
    hardness,
    hardness_plot,
    interpolated,
    linear_mix,
)
from isthmus.tasks import gap, spread


def cones(n=160, d=12, apart=1.5, seed=0):
    """Pairs seen through noise by two encoders whose vectors lie in two cones."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(n, d, generator=draw)
    shift = torch.zeros(d)
    shift[0] = apart
    return tuple(points + sign * shift + 0.3 * torch.randn(n, d, generator=draw) for sign in (1, -1))


def towers(seed=0, d=12, width=8):
    with seeded(seed):
        return torch.nn.Linear(d, width), torch.nn.Linear(d, width)


def seen(heads, a, b):
    with torch.no_grad():
        return {"image": heads[0](a).numpy(), "text": heads[1](b).numpy()}


def test_mixed_negatives_spread_the_space():
    """From one start, with the same steps: the space is spread more evenly and pairs are found more often."""
    a, b = cones()
    keys = [str(i) for i in range(160)]
    data = gap.make(0, 159, keys={"image": keys, "text": keys})
    rows = data.rows["image"]
    figures = {}
    for name, weights in (("plain", {}), ("m2", {"m2": 0.3}), ("m3", {**M3, "m2": 0.3})):
        heads = towers(1)
        training = Training(weights=weights, tau=0.03, steps=120, batch=80, lr=3e-3, scheduled=False)
        fine_tune(*heads, a, b, training=training)
        vectors = {m: x[rows] for m, x in seen(heads, a, b).items()}
        figures[name] = {**spread.score(data, vectors), **gap.score(data, vectors)}
    for name in ("m2", "m3"):
        for figure in ("joint uniformity", "relative alignment", "r@1"):
            assert figures[name][figure] > figures["plain"][figure], (name, figure)
        assert figures[name]["centroid distance"] < 0.7 * figures["plain"]["centroid distance"]


def test_training():
    a, b = cones()
    heads = towers()
    history = fine_tune(*heads, a, b, training=Training(weights=M3, tau=0.1, steps=30, batch=80, lr=0.02))
    assert len(history) == 30 and set(history[0]) == {"loss", "contrast", *M3}
    assert not heads[0].training
    # scheduled: in the second epoch (after two batches) the mixtures count half
    for at, share in ((0, 1.0), (2, 0.5)):
        step = history[at]
        assert step["loss"] == pytest.approx(
            step["contrast"] + share * sum(w * step[m] for m, w in M3.items()), rel=1e-4
        )
    again = towers()
    assert fine_tune(*again, a, b, training=Training(weights=M3, tau=0.1, steps=30, batch=80, lr=0.02)) == history
    flat = towers()
    unscheduled = Training(weights=M2, tau=0.1, steps=3, batch=80, lr=0.02, scheduled=False, mix=linear_mix)
    last = fine_tune(*flat, a, b, training=unscheduled, keys=torch.arange(160) // 2)[-1]
    assert last["loss"] == pytest.approx(last["contrast"] + 0.05 * last["m2"], rel=1e-4)
    other = fine_tune(*towers(), a, b, training=Training(steps=20, batch=80, lr=0.02), loss=hard_negative_loss)
    assert other[-1]["loss"] < other[0]["loss"] and set(other[0]) == {"loss"}


def test_weights_in_between():
    before, after = (towers(seed)[0].state_dict() for seed in (0, 1))
    for share, wanted in ((0.0, before), (1.0, after)):
        for name, x in interpolated(before, after, share).items():
            torch.testing.assert_close(x, wanted[name])
    half = interpolated(before, after)
    torch.testing.assert_close(half["weight"], (before["weight"] + after["weight"]) / 2)
    assert interpolated({"n": torch.tensor(1)}, {"n": torch.tensor(3)})["n"] == 3  # counters are not mixed
    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        interpolated(before, after, 2)
    with pytest.raises(BadInput, match="not of one model"):
        interpolated(before, {"weight": before["weight"]})


def test_hardness():
    """Where the modalities lie apart, what is mixed of both is nearer to every anchor."""
    a, b = cones(40, apart=8.0)
    found = hardness(a, b)
    assert found["harder"] == 1
    assert float(np.mean(found["mixed"])) > float(np.mean(found["original"])) + 0.5
    x, y = (torch.nn.functional.normalize(z, dim=1) for z in (a, b))
    others = ~torch.eye(40, dtype=torch.bool)
    np.testing.assert_allclose(found["original"], torch.cat([(x @ y.T)[others], (y @ x.T)[others]]), atol=1e-6)
    assert hardness(a, a, 0.3)["harder"] == 0  # nothing to mix
    svg = hardness_plot(a, b, 0.4)
    assert ElementTree.fromstring(svg) is not None and "100% of the anchors" in svg
    with pytest.raises(BadInput, match="at least 2"):
        hardness(a[:1], b[:1])


def test_maps():
    pairs = {m: x.numpy() for m, x in zip(("image", "text"), cones(), strict=True)}
    settings = {"width": 12, "steps": 150, "batch": 80, "dropout": 0.0}
    plain = MixMaps(loss="none", **settings).fit(pairs)
    assert set(plain.history_[0]) == {"loss", "contrast"}
    for loss, names in (("m2", M2), ("m3", M3)):
        model, again = (MixMaps(loss=loss, weight=0.2, **settings).fit(pairs) for _ in range(2))
        assert set(model.history_[0]) == {"loss", "contrast", *names}
        x, y = (model.transform(m, pairs[m]) for m in pairs)
        np.testing.assert_array_equal(x, again.transform("image", pairs["image"]))
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
        assert float(((x @ y.T).argmax(1) == np.arange(160)).mean()) > 0.5
        assert not np.array_equal(x, plain.transform("image", pairs["image"]))
    assert model.transform("image", torch.from_numpy(pairs["image"])).shape == (160, 12)


def test_errors():
    a, b = cones(20)
    with pytest.raises(BadInput, match="at least 1 step"):
        Training(steps=0)
    with pytest.raises(BadInput, match="out of range"):
        Training(warmup=1.0)
    with pytest.raises(BadInput, match="betas"):
        Training(beta=0)
    with pytest.raises(NotFound, match="m5"):
        Training(weights={"m5": 1.0})
    with pytest.raises(BadInput, match="20 and 19"):
        fine_tune(*towers(), a, b[:19])
    pairs = {"image": a.numpy(), "text": b.numpy()}
    with pytest.raises(NotFound, match="m1"):
        MixMaps(loss="m1").fit(pairs)
    with pytest.raises(BadInput, match="at least 0"):
        MixMaps(weight=-1.0, steps=1).fit(pairs)
    with pytest.raises(BadInput, match="positive"):
        MixMaps(tau=0.0, steps=1).fit(pairs)
    with pytest.raises(BadInput, match="not fitted"):
        MixMaps().maps()
    model = MixMaps(width=2, steps=1).fit(pairs)
    with pytest.raises(NotFound, match="smell"):
        model.transform("smell", pairs["image"])
    with pytest.raises(BadInput, match="without NaN"):
        model.transform("image", pairs["image"] * math.nan)
