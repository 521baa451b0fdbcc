import numpy as np
import pytest
import torch

from isthmus.core.errors import BadInput
from isthmus.parts.contrast import LogScale, gather_rows, info_nce, row_contrast
from tests.oracles import projectors as oracle


def table(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(table(*shape, seed=seed), dim=-1)


@pytest.mark.parametrize("scale", [0.5, 14.3])
def test_oracle(scale):
    a, b = unit(6, 4), unit(6, 4, seed=1)
    assert info_nce(a, b, scale=scale).item() == pytest.approx(oracle.info_nce(a.numpy(), b.numpy(), scale), rel=1e-9)
    wide = unit(8, 4, seed=2)
    mask = table(6, 8, seed=3) > -1
    targets = (table(6, 8, seed=4) > 0.5).double() * mask * table(6, 8, seed=5).abs()
    targets[2] = 0
    expected = oracle.info_nce(a.numpy(), wide.numpy(), scale, mask.numpy(), targets.numpy())
    assert info_nce(a, wide, scale=scale, mask=mask, targets=targets).item() == pytest.approx(expected, rel=1e-9)


def test_relations():
    n = 7
    a, b = unit(n, 4), unit(n, 4, seed=1)
    plain = info_nce(a, b, scale=9.0)
    same = torch.ones(n, 4, dtype=torch.float64) / 2
    assert info_nce(same, same, scale=50.0).item() == pytest.approx(np.log(n))
    assert info_nce(a, b, scale=0.0).item() == pytest.approx(np.log(n))
    eye = torch.eye(n, dtype=torch.float64)
    for factor in (1, 3.5):
        torch.testing.assert_close(info_nce(a, b, scale=9.0, targets=factor * eye), plain)
    torch.testing.assert_close(info_nce(b, a, scale=9.0), plain)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(info_nce(a[order], b[order], scale=9.0), plain)
    assert info_nce(a, b, scale=9.0, mask=eye.bool()).item() == pytest.approx(0)


def test_properties():
    a, b = unit(6, 4).requires_grad_(), unit(6, 4, seed=1).requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y, s: info_nce(x, y, scale=s), (a, b, scale))
    rows = info_nce(a, b, scale=5.0, reduction="none")
    torch.testing.assert_close(rows.mean(), info_nce(a, b, scale=5.0))
    torch.testing.assert_close(rows.sum(), info_nce(a, b, scale=5.0, reduction="sum"))
    # matched pairs want a sharper, mismatched ones a softer temperature
    for partner, sign in ((a, -1), (a.roll(1, 0), 1)):
        (slope,) = torch.autograd.grad(info_nce(a, partner, scale=scale), scale)
        assert slope.sign().item() == sign
    with torch.no_grad():
        far = torch.eye(4)
        assert torch.isfinite(info_nce(far, far.roll(1, 0), scale=1e4))


def test_a_row_without_target_and_without_mask_is_left_out():
    a, b = unit(4, 3).requires_grad_(), unit(4, 3, seed=1)
    targets = torch.eye(4, dtype=torch.float64)
    targets[3, 3] = 0
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[3], mask[:, 3] = False, False
    loss = info_nce(a, b, scale=3.0, mask=mask, targets=targets)
    torch.testing.assert_close(loss, info_nce(a[:3], b[:3], scale=3.0))
    loss.backward()
    assert torch.isfinite(a.grad).all()
    assert not a.grad[3].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"a": table(5)}, r"\(n, d\)"),
        ({"b": table(5, 3)}, r"\(5, 3\)"),
        ({"b": table(6, 4)}, "targets"),
        ({"b": table(6, 4), "targets": torch.ones(5, 6), "reduction": "none"}, "reduction"),
        ({"mask": torch.ones(4, 5).bool()}, "mask of shape"),
        ({"mask": torch.zeros(5, 5).bool()}, "takes away 5"),
        ({"targets": torch.ones(5, 4)}, "targets of shape"),
        ({"targets": -torch.eye(5)}, "at least 0"),
        ({"targets": torch.zeros(5, 5)}, "one positive"),
        ({"reduction": "max"}, "'max'"),
        ({"a": table(0, 4), "b": table(0, 4)}, "at least one row"),
    ],
)
def test_errors(change, says):
    arguments = {"a": table(5, 4), "b": table(5, 4), **change}
    with pytest.raises(BadInput, match=says):
        info_nce(arguments.pop("a"), arguments.pop("b"), scale=1.0, **arguments)


def test_one_direction():
    a, b = unit(6, 4), unit(8, 4, seed=1)
    targets = table(6, 8, seed=4).abs()
    targets[2] = 0
    mask = (table(6, 8, seed=3) > -1) | (targets > 0.5)
    targets = targets * mask
    whole = info_nce(a, b, scale=3.0, mask=mask, targets=targets)
    one = row_contrast(a, b, scale=3.0, mask=mask, targets=targets)
    other = row_contrast(b, a, scale=3.0, mask=mask.T, targets=targets.T)
    torch.testing.assert_close((one + other) / 2, whole)
    torch.testing.assert_close(
        row_contrast(a, a.roll(1, 0), scale=3.0, rows=torch.arange(6).roll(-1)), row_contrast(a, a, scale=3.0)
    )
    # some of the rows, as a process has them
    halves = [row_contrast(a[part], b, scale=3.0, rows=torch.arange(6)[part]) for part in (slice(3), slice(3, 6))]
    torch.testing.assert_close(sum(halves) / 2, row_contrast(a, b, scale=3.0))
    for form in (targets, lambda rows: targets[rows]):
        torch.testing.assert_close(row_contrast(a, b, scale=3.0, mask=lambda rows: mask[rows], targets=form), one)


@pytest.mark.parametrize("tile", [1, 3, 6, 50])
def test_tiles_change_neither_value_nor_gradient(tile):
    inputs = [unit(6, 4), unit(8, 4, seed=1), torch.tensor(3.0, dtype=torch.float64)]
    targets = table(6, 8, seed=4).abs()
    found = []
    for size in (None, tile):
        a, b, scale = (x.clone().requires_grad_() for x in inputs)
        loss = row_contrast(a, b, scale=scale, targets=lambda rows: targets[rows] * 2, tile=size)
        found.append([loss, *torch.autograd.grad(loss, (a, b, scale))])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"b": table(6, 3)}, r"\(6, 3\)"),
        ({"b": table(4, 4)}, "among 4"),
        ({"rows": torch.arange(4)}, r"\(4,\)"),
        ({"tile": 0}, "at least 1 row"),
        ({"targets": torch.ones(5, 4)}, "targets of shape"),
        ({"targets": lambda rows: torch.ones(5, 4)}, "targets of shape"),
        ({"mask": torch.ones(5, 4).bool()}, "mask of shape"),
        ({"targets": -torch.eye(5)}, "at least 0"),
        ({"targets": torch.zeros(5, 5)}, "one positive"),
        ({"mask": torch.zeros(5, 5).bool()}, "takes away 5"),
    ],
)
def test_errors_of_one_direction(change, says):
    arguments = {"a": table(5, 4), "b": table(5, 4), **change}
    with pytest.raises(BadInput, match=says):
        row_contrast(arguments.pop("a"), arguments.pop("b"), scale=1.0, **arguments)


def test_learned_temperature():
    scale = LogScale(0.07)
    assert scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        scale.log_scale.fill_(9.0)
    value = scale()
    assert value.item() == pytest.approx(100)
    value.backward()
    assert scale.log_scale.grad.item() == pytest.approx(100), "the bound does not stop the gradient"
    with pytest.raises(BadInput, match=r"above 1 / most = 0\.01"):
        LogScale(0.001)


def test_gathering_in_one_process_changes_nothing():
    x = table(3, 2)
    assert gather_rows(x) is x


def work(rank, store, out):
    """One of two processes: half of the rows, gradients averaged."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    weight = table(4, 3, seed=7).requires_grad_()
    rows = slice(4 * rank, 4 * rank + 4)
    a, b = table(8, 4)[rows] @ weight, table(8, 4, seed=1)[rows] @ weight
    loss = info_nce(gather_rows(a), gather_rows(b), scale=0.7)
    loss.backward()
    torch.distributed.all_reduce(weight.grad)
    torch.save({"loss": loss.detach(), "grad": weight.grad / 2}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_with_gathered_rows_are_one_with_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "store", tmp_path), nprocs=2)
    weight = table(4, 3, seed=7).requires_grad_()
    whole = info_nce(table(8, 4) @ weight, table(8, 4, seed=1) @ weight, scale=0.7)
    whole.backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], whole.detach())
        torch.testing.assert_close(found["grad"], weight.grad)
