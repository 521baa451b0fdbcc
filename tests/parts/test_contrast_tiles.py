"""The tiled engine beside the dense form, the oracle, and double precision."""

import pytest
import torch
from torch.nn.functional import normalize

from isthmus.core.errors import BadInput
from isthmus.parts.contrast import Tiled, alike, distinct, info_nce, one_to_k, row_contrast, same, smoothed
from tests.oracles import contrast as oracle
from tests.parts.test_contrast import table, unit

N, D = 23, 6
LABELS = torch.arange(N) % 9
WEIGHTS = table(N, N, seed=5).abs()
FACTORS = table(N, N, seed=6).abs() + 0.5
KEEP = (table(N, N, seed=7) > -0.5) | torch.eye(N).bool()
REF = table(N, 4, seed=8)
CASES = {
    "pairs": {},
    "masked": {"mask": KEEP},
    "duplicates": {"mask": distinct(LABELS)},
    "supervised": {"targets": same(LABELS)},
    "smoothed": {"targets": smoothed(0.1, N)},
    "smoothed among the rest": {"targets": smoothed(0.1, N, mask=distinct(LABELS)), "mask": distinct(LABELS)},
    "weights": {"targets": WEIGHTS},
    "weights, masked": {"targets": WEIGHTS * KEEP, "mask": KEEP},
    "references": {"targets": alike(REF)},
    "temperatures": {"pair_scale": FACTORS},
    "temperatures and weights": {"pair_scale": FACTORS, "targets": WEIGHTS, "mask": KEEP | (WEIGHTS > 0)},
}


def measured(arguments, *, scale, tile=None, dtype=torch.float64, learned=()):
    a, b = (unit(N, D, seed=s).to(dtype).requires_grad_() for s in (1, 2))
    s = torch.tensor(scale, dtype=dtype, requires_grad=True)
    loss = info_nce(a, b, scale=s, tile=tile, **arguments)
    return [loss.detach(), *torch.autograd.grad(loss, (a, b, s, *learned))]


@pytest.mark.parametrize("name", CASES)
def test_oracle(name):
    given = {"mask": torch.ones(N, N).bool(), "targets": torch.eye(N), "pair_scale": torch.ones(N, N)}
    given |= {k: x.whole(N, N) if isinstance(x, Tiled) else x for k, x in CASES[name].items()}
    a, b = unit(N, D, seed=1), unit(N, D, seed=2)
    expected = oracle.info_nce(
        a.tolist(), b.tolist(), 7.0, given["targets"].tolist(), given["mask"].tolist(), given["pair_scale"].tolist()
    )
    # smoothing weights are made in single precision
    for tile in (None, 5):
        assert info_nce(a, b, scale=7.0, tile=tile, **CASES[name]).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 9.0, 100.0, 600.0])
@pytest.mark.parametrize("name", CASES)
def test_tiles_and_the_dense_form_agree(name, scale):
    dense = measured(CASES[name], scale=scale)
    for tile in (5, 16, 100):
        torch.testing.assert_close(measured(CASES[name], scale=scale, tile=tile), dense)
    single = [x.double() for x in measured(CASES[name], scale=scale, tile=7, dtype=torch.float32)]
    torch.testing.assert_close(single, dense, atol=1e-5 * max(1, scale / 10), rtol=1e-4)


def test_what_targets_and_temperatures_are_made_of_learns_too():
    for key, make, x in (
        ("targets", alike, REF),
        ("targets", lambda w: w, WEIGHTS),
        ("pair_scale", lambda w: w, FACTORS),
        ("pair_scale", lambda t: Tiled(lambda r, c, t: t[r, None] * t[c], (t,)), WEIGHTS[0] + 0.5),
    ):
        x = x.clone().requires_grad_()
        for scale in (4.0, 300.0):
            found = [measured({key: make(x)}, scale=scale, tile=tile, learned=(x,)) for tile in (None, 5)]
            torch.testing.assert_close(*found)
            assert found[1][-1].abs().max() > 0
    hidden = WEIGHTS.clone().requires_grad_()
    with pytest.raises(BadInput, match="closure"):
        measured({"targets": Tiled(lambda r, c: hidden[r, c])}, scale=1.0, tile=5)


def test_gradient_is_exact():
    a, b = (unit(5, 3, seed=s).requires_grad_() for s in (1, 2))
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    weights = table(5, 5).abs().requires_grad_()
    keep = distinct(torch.tensor([0, 1, 0, 2, 2]))
    assert torch.autograd.gradcheck(lambda x, y, s: info_nce(x, y, scale=s, tile=2, mask=keep), (a, b, scale))
    assert torch.autograd.gradcheck(
        lambda x, y, s, w: info_nce(x, y, scale=s, tile=2, targets=w), (a, b, scale, weights)
    )
    assert torch.autograd.gradcheck(
        lambda x, y, s, w: info_nce(x, y, scale=s, tile=3, pair_scale=w), (a, b, scale, weights)
    )


def test_relations():
    a, b = unit(N, D, seed=1), unit(N, D, seed=2)
    plain = info_nce(a, b, scale=9.0)
    for tile in (None, 4):
        torch.testing.assert_close(info_nce(a, b, scale=9.0, tile=tile, targets=torch.eye(N).double()), plain)
        torch.testing.assert_close(info_nce(a, b, scale=9.0, tile=tile, targets=smoothed(0.0, N)), plain)
        torch.testing.assert_close(info_nce(a, b, scale=9.0, tile=tile, targets=one_to_k(1)), plain)
        doubled = info_nce(a, b, scale=4.5, tile=tile, pair_scale=torch.full((N, N), 2.0))
        torch.testing.assert_close(doubled, plain)
        torch.testing.assert_close(
            info_nce(a, b, scale=9.0, tile=tile, mask=torch.eye(N).bool()).item(), 0.0, atol=1e-12, rtol=0
        )
        # k equal copies of a partner share the mass: log k more for rows, nothing new for columns
        copies = info_nce(a, b.repeat_interleave(3, 0), scale=9.0, tile=tile, targets=one_to_k(3))
        one = [row_contrast(x, y, scale=9.0) for x, y in ((a, b), (b, a))]
        torch.testing.assert_close(copies, (one[0] + torch.tensor(3.0).double().log() + one[1]) / 2)


def test_small_losses_keep_their_digits():
    for scale, noise in ((14.3, 0.1), (100.0, 0.0), (100.0, 0.2), (1000.0, 0.1)):
        a = unit(300, 64)
        b = normalize(a + noise * table(300, 64, seed=1) / 8, dim=1)
        exact = info_nce(a, b, scale=scale).item()
        for tile in (None, 64):
            found = info_nce(a.float(), b.float(), scale=scale, tile=tile).item()
            assert found == pytest.approx(exact, abs=1e-6 if exact < 1e-2 else 1e-5)


def test_half_precision_is_summed_in_single():
    a, b = unit(64, 32).bfloat16().requires_grad_(), unit(64, 32, seed=1).bfloat16()
    exact = info_nce(a.detach().double(), b.double(), scale=14.3)
    for tile in (None, 16):
        loss = info_nce(a, b, scale=14.3, tile=tile)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), abs=1e-5)
        (grad,) = torch.autograd.grad(loss, a)
        assert grad.dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert info_nce(a, b, scale=14.3, tile=tile).item() == loss.item()


def test_nothing_turns_into_nan():
    dead = {"targets": torch.eye(6) * (torch.arange(6) > 1)}
    extremes = {
        "zero vectors": (torch.zeros(6, 3), unit(6, 3).float(), {}),
        "one row": (unit(1, 3).float(), unit(1, 3, seed=1).float(), {}),
        "all negatives masked": (unit(6, 3).float(), unit(6, 3, seed=1).float(), {"mask": torch.eye(6).bool()}),
        "far apart": (1e3 * unit(6, 3).float(), 1e3 * unit(6, 3, seed=1).float(), {}),
        "a dead row": (unit(6, 3).float(), unit(6, 3, seed=1).float(), dead),
    }
    for name, (a, b, more) in extremes.items():
        for tile in (None, 2):
            x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
            loss = info_nce(x, y, scale=10.0, tile=tile, **more)
            loss.backward()
            assert torch.isfinite(loss), name
            assert torch.isfinite(x.grad).all(), name
            assert torch.isfinite(y.grad).all(), name
            if name in ("one row", "all negatives masked"):
                assert loss.item() == 0
                assert not x.grad.any()
    for bad in (torch.nan, torch.inf, 1e30):
        a = unit(6, 3).float().clone()
        a[2, 1] = bad
        with pytest.raises(BadInput, match="not finite"):
            info_nce(a, a, scale=1.0)
    for tile in (None, 2):
        with pytest.raises(BadInput, match=r"takes away \d"):
            info_nce(unit(6, 3), unit(6, 3), scale=1.0, mask=torch.zeros(6, 6).bool(), tile=tile)
        with pytest.raises(BadInput, match="one positive"):
            info_nce(unit(6, 3), unit(6, 3), scale=1.0, targets=torch.zeros(6, 6), tile=tile)
        with pytest.raises(BadInput, match="finite and at least 0"):
            info_nce(unit(6, 3), unit(6, 3), scale=1.0, targets=torch.full((6, 6), torch.nan), tile=tile)
    with pytest.raises(BadInput, match="at least 1 row"):
        info_nce(unit(6, 3), unit(6, 3), scale=1.0, tile=0)
    with pytest.raises(BadInput, match="a tile has shape"):
        info_nce(unit(6, 3), unit(6, 3), scale=1.0, tile=4, targets=Tiled(lambda r, c: torch.ones(2, 2)))


def test_a_large_batch_keeps_no_score_matrix():
    """The largest tensor that autograd keeps, and the default tile, are far below n × n."""
    kept = []
    a, b = (unit(1500, 4, seed=s).float().requires_grad_() for s in (0, 1))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        loss = info_nce(a, b, scale=10.0)
    loss.backward()
    assert max(kept) <= 1500 * 4
    torch.testing.assert_close(loss, info_nce(a, b, scale=10.0, tile=1500))
