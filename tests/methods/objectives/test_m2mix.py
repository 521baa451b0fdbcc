import doctest
import json
import math
from pathlib import Path

import pytest
import torch

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.methods.objectives import m2mix
from isthmus.methods.objectives.m2mix import (
    M2,
    M3,
    M2Mix,
    draw_share,
    embedding_shift,
    geodesic_mix,
    hard_negative_loss,
    input_mix_loss,
    linear_mix,
    m2_loss,
    m3_loss,
    unimodal_loss,
)
from isthmus.parts.contrast import info_nce, row_contrast
from tests.oracles import m2mix as oracle

N, D, LAM, TAU = 7, 5, 0.3, 0.2
OFFICIAL = json.loads((Path(oracle.__file__).parent / "official_m2mix.json").read_text())
KEYS = torch.tensor([0, 1, 2, 2, 3, 4, 1])


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def test_example():
    assert doctest.testmod(m2mix).attempted and not doctest.testmod(m2mix).failed


@pytest.mark.parametrize("keys", [None, KEYS], ids=["different", "twice"])
def test_oracle(keys):
    a, b = unit(N, D), unit(N, D, seed=1)
    x, y, names = a.tolist(), b.tolist(), (torch.arange(N) if keys is None else keys).tolist()
    for i, row in enumerate(geodesic_mix(a, b, LAM)):
        assert row.tolist() == pytest.approx(oracle.mix(x[i], y[i], LAM))
    assert float(m2_loss(a, b, LAM, TAU, keys=keys)) == pytest.approx(oracle.m2(x, y, LAM, TAU, names))
    for sides in ("v", "l", "vl"):
        for original in (False, True):
            found = unimodal_loss(a, b, LAM, TAU, sides=sides, original_negatives=original)
            assert float(found) == pytest.approx(oracle.unimodal(x, y, LAM, TAU, sides, original)), (sides, original)


def test_oracle_of_the_released_code():
    a, b = (torch.tensor(OFFICIAL[side], dtype=torch.float64) for side in "ab")
    wanted, lam, tau = OFFICIAL["found"], OFFICIAL["lam"], OFFICIAL["tau"]
    torch.testing.assert_close(geodesic_mix(a, b, lam), torch.tensor(wanted["mix"], dtype=torch.float64))
    assert float(m2_loss(a, b, lam, OFFICIAL["tau_mixed"])) == pytest.approx(wanted["m2"])
    for sides, times in (("v", 1), ("l", 1), ("vl", 2)):  # both positives count 1 there
        assert times * float(unimodal_loss(a, b, lam, tau, sides=sides)) == pytest.approx(wanted[sides])
        found = unimodal_loss(a, b, lam, tau, sides=sides, original_negatives=True)
        assert times * float(found) == pytest.approx(wanted[f"{sides} original"])
    assert float(hard_negative_loss(a, b, beta=0.7)) == pytest.approx(wanted["hcl"])
    assert float(m3_loss(a, b, {}, tau=tau)["loss"]) == pytest.approx(wanted["contrast"])


def test_relations_of_the_mix():
    a, b = unit(N, D), unit(N, D, seed=1)
    theta = (a * b).sum(1).arccos()
    for lam in (0.0, 0.2, 0.5, 1.0):
        mixed = geodesic_mix(a, b, lam)
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(N, dtype=torch.float64))
        torch.testing.assert_close((mixed * b).sum(1).clamp(-1, 1).arccos(), lam * theta, atol=1e-7, rtol=1e-7)
        torch.testing.assert_close(mixed, geodesic_mix(b, a, 1 - lam))
        # in the plane of both
        three = torch.stack([a, b, mixed], 1)
        assert float(torch.linalg.svdvals(three)[:, 2].max()) < 1e-12
    torch.testing.assert_close(geodesic_mix(a, b, 1.0), a)
    torch.testing.assert_close(geodesic_mix(a, a, 0.4), a)
    torch.testing.assert_close(geodesic_mix(a, b, 0.5), linear_mix(a, b, 0.5))
    each = torch.rand(N, 1, dtype=torch.float64)
    torch.testing.assert_close(geodesic_mix(a, b, each)[2:3], geodesic_mix(a[2:3], b[2:3], float(each[2])))


def test_relations():
    a, b = unit(N, D), unit(N, D, seed=1)
    plain = info_nce(a, b, scale=1 / TAU)
    torch.testing.assert_close(m3_loss(a, b, dict.fromkeys(M3, 0.0), tau=TAU)["loss"], plain)
    # λ = 0: what is mixed is the text
    to_text = row_contrast(a, b, scale=1 / TAU)
    among_texts = -torch.stack(
        [
            torch.cat([(b[i] @ a[i])[None], (b[i] @ b.T)[torch.arange(N) != i]]).div(TAU).log_softmax(0)[0]
            for i in range(N)
        ]
    ).mean()
    torch.testing.assert_close(m2_loss(a, b, 0.0, TAU), to_text + among_texts)
    torch.testing.assert_close(m2_loss(a, b, 1.0, TAU), m2_loss(b, a, 0.0, TAU))
    assert float(m2_loss(a[:1], b[:1], LAM, TAU)) == 0
    for sides in ("v", "l"):
        torch.testing.assert_close(unimodal_loss(a, b, 1.0, TAU, sides=sides), plain)
    torch.testing.assert_close(unimodal_loss(a, b, LAM, TAU, sides="v"), unimodal_loss(b, a, LAM, TAU, sides="l"))
    torch.testing.assert_close(
        hard_negative_loss(a, b, tau_plus=0, beta=0, scale=1 / TAU), row_contrast(a, b, scale=1 / TAU)
    )
    torch.testing.assert_close(input_mix_loss(lambda x: x, a, b, 1.0, TAU), plain)
    mixed = linear_mix(a, a.flip(0), LAM)
    soft = LAM * torch.eye(N, dtype=torch.float64) + (1 - LAM) * torch.eye(N, dtype=torch.float64).flip(0)
    torch.testing.assert_close(
        input_mix_loss(lambda x: x, a, b, LAM, TAU), info_nce(mixed, b, scale=1 / TAU, targets=soft)
    )
    x, y = embedding_shift(a, b, 0.0)
    torch.testing.assert_close((x, y), (a, b))
    gaps = [float((p.mean(0) - q.mean(0)).norm()) for p, q in (embedding_shift(a + 3, b, s) for s in (0.0, 0.5, 1.0))]
    assert gaps[0] > gaps[1] > gaps[2]


def test_properties():
    a, b = unit(N, D), unit(N, D, seed=1)
    order = torch.randperm(N)
    torch.testing.assert_close(m2_loss(a[order], b[order], LAM, TAU), m2_loss(a, b, LAM, TAU))
    # an item does not see what its own pair, or another of its key, is mixed to
    same = torch.zeros(N, dtype=torch.int64)
    assert float(m2_loss(a, b, LAM, TAU, keys=same, mix=lambda p, q, lam: unit(N, D, seed=8))) == 0
    for tile in (1, 3):
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        whole, tiled = m2_loss(x, y, LAM, TAU), m2_loss(x, y, LAM, TAU, tile=tile)
        torch.testing.assert_close(whole, tiled)
        for p, q in zip(torch.autograd.grad(whole, (x, y)), torch.autograd.grad(tiled, (x, y)), strict=True):
            torch.testing.assert_close(p, q)
    shares = {"m2": 0.4, "v": 0.2, "l": 0.7, "vl": 0.3}
    assert torch.autograd.gradcheck(
        lambda p, q: m3_loss(p, q, M3, tau=TAU, tau_mixed=0.3, shares=shares, keys=KEYS)["loss"],
        (a.requires_grad_(), b.requires_grad_()),
    )
    found = m3_loss(a, b, M3, tau=TAU, shares=shares)
    total = found["contrast"] + sum(w * found[name] for name, w in M3.items())
    torch.testing.assert_close(found["loss"], total)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_and_opposite_vectors_have_gradients(dtype):
    """The middle item of an odd batch is mixed with itself; a pair may already be one."""
    a = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    b = a.clone()
    b[1] = -a[1]
    x, y = a.to(dtype).requires_grad_(), b.to(dtype).requires_grad_()
    found = m3_loss(x, y, M3, tau=0.1, tau_mixed=0.1, shares={"m2": 0.3})
    assert bool(found["loss"].isfinite())
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in torch.autograd.grad(found["loss"], (x, y)))


def test_the_share_is_of_the_beta_distribution():
    generator = torch.Generator().manual_seed(0)
    for beta in (0.2, 0.5, 2.0):
        drawn = torch.tensor([draw_share(beta, generator) for _ in range(2000)])
        assert float(drawn.min()) >= 0 and float(drawn.max()) <= 1
        assert float(drawn.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(drawn.var()) == pytest.approx(1 / (4 * (2 * beta + 1)), rel=0.1)
    with pytest.raises(BadInput, match="beta"):
        draw_share(0.0)


def test_module():
    x = {"image": 3 * unit(N, D), "text": unit(N, D, seed=1)}
    has = torch.arange(N) != 2
    objective = M2Mix("image", "text", weights=M3, tau=TAU, beta=0.4)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        found = objective.loss(Batch(x, {"text": has}, KEYS))
        torch.manual_seed(4)
        shares = objective.draw()
    assert shares["v"] == shares["l"] == shares["vl"] != shares["m2"]
    wanted = m3_loss(unit(N, D)[has], x["text"][has], M3, tau=TAU, shares=shares, keys=KEYS[has])
    assert found.keys() == wanted.keys() == {"loss", "contrast", *M3}
    torch.testing.assert_close(found["loss"], wanted["loss"])


def test_errors():
    a, b = unit(N, D), unit(N, D, seed=1)
    with pytest.raises(NotFound, match="m4"):
        m3_loss(a, b, {"m4": 1.0})
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(BadInput, match="at least 0"):
            m3_loss(a, b, {"m2": weight})
    with pytest.raises(BadInput, match="both sides"):
        m3_loss(a, b[:-1])
    with pytest.raises(BadInput, match="positive"):
        m3_loss(a, b, M2, tau_mixed=0.0)
    with pytest.raises(BadInput, match="shares"):
        m3_loss(a, b, M2, shares={"m2": 1.5})
    with pytest.raises(BadInput, match="'v', 'l' or 'vl'"):
        unimodal_loss(a, b, 0.5, sides="lv")
    with pytest.raises(BadInput, match="not finite"):
        m2_loss(a * math.nan, b, 0.5)
    for bad in ({"tau_plus": 1.0}, {"beta": -1.0}):
        with pytest.raises(BadInput, match="hard_negative_loss"):
            hard_negative_loss(a, b, **bad)
    with pytest.raises(BadInput, match="as many partners"):
        input_mix_loss(lambda x: x, a, b, 0.5, partner=torch.arange(3))
    with pytest.raises(BadInput, match="must be positive"):
        M2Mix("image", "text", tau=0)
    objective = M2Mix("image", "text")
    with pytest.raises(BadInput, match="but not text"):
        objective.loss(Batch({"image": a, "sound": b}))
    with pytest.raises(BadInput, match="no item"):
        objective.loss(Batch({"image": a, "text": b}, {"text": torch.zeros(N, dtype=torch.bool)}))
    with pytest.raises(BadInput, match="zeros in row 3"):
        objective.loss(Batch({"image": a.where(torch.arange(N)[:, None] != 3, 0), "text": b}))
