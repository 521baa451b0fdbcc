import doctest
import json
import math
from pathlib import Path

import pytest
import torch

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.methods.objectives import contrastive_gap
from isthmus.methods.objectives.contrastive_gap import (
    CLIP,
    CUA,
    CUAXU,
    TERMS,
    ClipPlus,
    alignment_loss,
    clip_plus,
    cosine_uniformity_loss,
    cross_uniformity_loss,
    cyclic_direction_loss,
    cyclic_loss,
    joint_contrast,
    pearson_loss,
    rsa_loss,
    singular_value_loss,
    uniform_cyclic_loss,
    uniformity_loss,
)
from isthmus.methods.objectives.contrastive_gap import loss as code
from isthmus.parts.contrast import info_nce
from tests.oracles import contrastive_gap as oracle

N, D, TAU = 7, 5, 0.2
OFFICIAL = json.loads((Path(oracle.__file__).parent / "official_contrastive_gap.json").read_text())
KEYS = torch.tensor([0, 1, 2, 2, 3, 4, 1])


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def turn(d, seed=5):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]


def simplex(n):
    return torch.nn.functional.normalize(torch.eye(n, dtype=torch.float64) - 1 / n, dim=1)


def test_example():
    assert doctest.testmod(contrastive_gap).attempted and not doctest.testmod(contrastive_gap).failed


@pytest.mark.parametrize("keys", [None, KEYS], ids=["different", "twice"])
def test_oracle(keys):
    a, b = unit(N, D), unit(N, D, seed=1)
    x, y, names = a.tolist(), b.tolist(), (torch.arange(N) if keys is None else keys).tolist()
    wanted = {
        "uniformity": (oracle.near(x, x, names) + oracle.near(y, y, names)) / 2,
        "cross_uniformity": oracle.near(x, y, names),
        "alignment": oracle.alignment(x, y),
        "cyclic": oracle.cyclic(x, y),
        "uniform_cyclic": oracle.uniform_cyclic(x, y, names),
        "cyclic_direction": oracle.cyclic_direction(x, y),
        "cosine_uniformity": oracle.cosine_uniformity(x, y, names),
        "joint_contrast": oracle.joint_contrast(x, y, TAU, names, False),
    }
    found = clip_plus(a, b, dict.fromkeys(wanted, 0.5), TAU, keys=keys)
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value), name
    assert float(found["loss"]) == pytest.approx(sum(wanted.values()) / 2)
    assert float(joint_contrast(a, b, 1 / TAU, keys, with_itself=True)) == pytest.approx(
        oracle.joint_contrast(x, y, TAU, names, True)
    )


def test_oracle_of_the_released_code():
    """Every term on the same vectors; where the code departs, the part of it that stands."""
    a, b = (torch.tensor(OFFICIAL[side], dtype=torch.float64) for side in "ab")
    wanted = dict(OFFICIAL["terms"])
    assert float(joint_contrast(a, b, 1 / TAU, with_itself=True)) == pytest.approx(wanted.pop("joint_contrast"))
    parts = [wanted.pop(f"{name}_uniformity") for name in ("image_text", "image", "text")]
    assert float(cosine_uniformity_loss(a, b)) == pytest.approx(parts[0] / 2 + parts[1] / 4 + parts[2] / 4)
    found = clip_plus(a, b, dict.fromkeys(wanted, 1.0), OFFICIAL["tau"])
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value), name


def test_relations():
    a, b = unit(N, D), unit(N, D, seed=1)
    assert float(clip_plus(a, b, CLIP, TAU)["loss"]) == pytest.approx(float(info_nce(a, b, scale=1 / TAU)))
    whole = clip_plus(a, b, CUAXU, TAU)
    without = clip_plus(a, b, {**CUAXU, "contrast": 0.0}, TAU)
    assert "contrast" not in without
    assert float(without["loss"]) == pytest.approx(float(whole["loss"] - whole["contrast"]))
    # uniformity
    equal = unit(1, D).expand(4, D)
    assert float(uniformity_loss(equal)) == pytest.approx(0)
    assert float(uniformity_loss(torch.stack([a[0], -a[0]]))) == pytest.approx(-8)
    for n in (3, 6):
        assert float(uniformity_loss(simplex(n))) == pytest.approx(-4 * n / (n - 1))
    # alignment
    assert float(alignment_loss(a, b)) == pytest.approx(2 - 2 * float((a * b).sum(1).mean()))
    assert float(alignment_loss(a, a)) == 0
    # cross-modal uniformity sees strangers only
    torch.testing.assert_close(cross_uniformity_loss(a, a), uniformity_loss(a))
    pairs = torch.eye(6, dtype=torch.float64)
    apart, met = pairs[[0, 1]], pairs[[2, 3]]
    torch.testing.assert_close(cross_uniformity_loss(apart, met), cross_uniformity_loss(apart, apart))
    # the others
    turned = a @ turn(D)
    for name in ("cyclic", "uniform_cyclic", "cyclic_direction"):
        assert float(TERMS[name](a, a, 1.0, None)) == pytest.approx(0, abs=1e-12)
    assert float(uniform_cyclic_loss(a, turned)) == pytest.approx(0, abs=1e-12)
    assert float(cyclic_direction_loss(a, a + 0.3)) == pytest.approx(0, abs=1e-12)
    assert float(cyclic_loss(a, b)) > 0.1
    assert float(rsa_loss(a, a)) == pytest.approx(-1) == float(pearson_loss(a, a))
    assert float(singular_value_loss(pairs, turn(6))) == pytest.approx(0, abs=1e-12)
    assert float(joint_contrast(a, a, 1 / TAU)) < float(joint_contrast(a, a, 1 / TAU, with_itself=True))


def test_uniformity_of_a_simplex_is_at_rest():
    x = simplex(5).requires_grad_()
    uniformity_loss(x).backward()
    at = x.detach()
    along = (x.grad * at).sum(1, keepdim=True) * at
    assert float((x.grad - along).abs().max()) < 1e-12  # on the sphere nothing pulls
    assert float(x.grad.sum(0).abs().max()) < 1e-12


ALL = {"contrast": 1.0, **dict.fromkeys(TERMS, 0.7)}


@pytest.mark.parametrize("keys", [None, KEYS], ids=["different", "twice"])
def test_properties(keys, monkeypatch):
    a, b = unit(N, D), unit(N, D, seed=1)
    found = clip_plus(a, b, ALL, TAU, keys=keys)
    spun = turn(D)
    turned = clip_plus(a @ spun, b @ spun, {k: v for k, v in ALL.items() if k != "cyclic_direction"}, TAU, keys=keys)
    for name in turned.keys() - {"loss"}:
        torch.testing.assert_close(turned[name], found[name], msg=name)
    order = torch.randperm(N)
    moved = clip_plus(a[order], b[order], ALL, TAU, keys=None if keys is None else keys[order])
    for name in moved.keys() - {"loss", "pearson"}:
        torch.testing.assert_close(moved[name], found[name], msg=name)
    weights = {k: v for k, v in ALL.items() if k not in ("contrast", "joint_contrast", "singular_values")}
    assert torch.autograd.gradcheck(
        lambda x, y: clip_plus(x, y, weights, TAU, keys=keys)["loss"], (a.requires_grad_(), b.requires_grad_())
    )
    dense = torch.autograd.grad(clip_plus(a, b, ALL, TAU, keys=keys)["loss"], (a, b))
    monkeypatch.setattr(code, "CELLS", 2 * N)  # two rows at a time
    in_blocks = clip_plus(a, b, ALL, TAU, keys=keys, tile=3)
    torch.testing.assert_close(in_blocks["loss"], found["loss"])
    for x, y in zip(torch.autograd.grad(in_blocks["loss"], (a, b)), dense, strict=True):
        torch.testing.assert_close(x, y)


def test_one_item_twice_is_not_driven_apart():
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]), dim=1).double()
    told, untold = uniformity_loss(x, torch.tensor([0, 0, 1])), uniformity_loss(x)
    assert float(told) < -7.9 < float(untold)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(uniformity_loss(x, torch.tensor([0, 0, 1])), x)
    assert bool(grad.isfinite().all())


def test_half_precision_and_duplicates_have_gradients():
    a = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    a[1] = a[0]  # a distance of 0, where a root has no gradient
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, y = a.to(dtype).requires_grad_(), (-a).to(dtype).requires_grad_()
        found = clip_plus(x, y, CUAXU, 0.1)
        assert found["uniformity"].dtype == torch.float32
        assert all(bool(g.isfinite().all()) and bool(g.any()) for g in torch.autograd.grad(found["loss"], (x, y)))


def work(rank, store, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    half = slice(rank * 4, rank * 4 + 4)
    a, b = (unit(8, D, seed=s)[half].clone().requires_grad_() for s in (0, 1))
    keys = torch.tensor([0, 1, 2, 3, 3, 4, 5, 0])[half]
    loss = clip_plus(a, b, CUAXU, TAU, keys=keys, gather=True)["loss"]
    loss.backward()
    torch.save({"loss": loss.detach(), "a": a.grad, "b": b.grad}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one_with_the_batch(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "store", tmp_path), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    a, b = unit(8, D).requires_grad_(), unit(8, D, seed=1).requires_grad_()
    whole = clip_plus(a, b, CUAXU, TAU, keys=torch.tensor([0, 1, 2, 3, 3, 4, 5, 0]))["loss"]
    whole.backward()
    torch.testing.assert_close((parts[0]["loss"] + parts[1]["loss"]) / 2, whole.detach())
    # each process holds the gradient of the sum of both losses, twice that of their mean
    torch.testing.assert_close(torch.cat([p["a"] for p in parts]) / 2, a.grad)
    torch.testing.assert_close(torch.cat([p["b"] for p in parts]) / 2, b.grad)


def test_module():
    x = {"image": 3 * unit(N, D), "text": unit(N, D, seed=1), "sound": unit(N, D, seed=2)}
    has = torch.arange(N) != 2
    found = ClipPlus("image", "text", weights=CUAXU, tau=TAU).loss(Batch(x, {"text": has}, KEYS))
    wanted = clip_plus(unit(N, D)[has], x["text"][has], CUAXU, TAU, keys=KEYS[has])
    assert found.keys() == wanted.keys() == {"loss", *CUAXU}
    torch.testing.assert_close(found["loss"], wanted["loss"])


def test_errors():
    a, b = unit(N, D), unit(N, D, seed=1)
    with pytest.raises(NotFound, match="uniformty"):
        clip_plus(a, b, {"uniformty": 1.0})
    for weights in ({}, {"contrast": 0.0}, {"contrast": math.nan}, {"alignment": math.inf}):
        with pytest.raises(BadInput, match="not all 0"):
            clip_plus(a, b, weights)
    for bad in ((a, b[:-1], None), (a[0], b[0], None), (a, b, torch.arange(3))):
        with pytest.raises(BadInput, match="both sides"):
            clip_plus(*bad[:2], CUA, keys=bad[2])
    with pytest.raises(BadInput, match="tau must be positive"):
        clip_plus(a, b, CUA, 0.0)
    with pytest.raises(BadInput, match="are one item"):
        clip_plus(a[:1], b[:1], CUA)
    with pytest.raises(BadInput, match="are one item"):
        clip_plus(a, b, CUA, keys=torch.zeros(N, dtype=torch.int64))
    with pytest.raises(BadInput, match="not finite"):
        clip_plus(a * math.nan, b, CUA)
    with pytest.raises(BadInput, match="at least 3"):
        pearson_loss(a[:2], b[:2])
    with pytest.raises(BadInput, match="positive"):
        ClipPlus("image", "text", tau=-1)
    objective = ClipPlus("image", "text")
    with pytest.raises(BadInput, match="but not text"):
        objective.loss(Batch({"image": a, "sound": b}))
    with pytest.raises(BadInput, match="2 are needed"):
        objective.loss(Batch({"image": a, "text": b}, {"text": torch.arange(N) < 1}))
    with pytest.raises(BadInput, match="zeros in row 3"):
        objective.loss(Batch({"image": a.where(torch.arange(N)[:, None] != 3, 0), "text": b}))
