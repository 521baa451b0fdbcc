import pytest
import torch

from isthmus.core.errors import BadInput
from isthmus.parts.late_interaction import late_interaction
from tests.oracles import contrast as oracle
from tests.parts.test_contrast import unit

V, T = unit(5, 4, 3), unit(6, 7, 3, seed=1)
MASK_V = torch.arange(4) < torch.tensor([[4], [3], [1], [2], [4]])
MASK_T = torch.arange(7) < torch.tensor([[7], [1], [3], [5], [2], [6]])


@pytest.mark.parametrize("items", [None, 1, 2])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_oracle(reduce, items):
    expected = oracle.late_interaction(V.tolist(), T.tolist(), MASK_V.tolist(), MASK_T.tolist(), reduce == "sum")
    found = late_interaction(V, T, MASK_V, MASK_T, reduce=reduce, items=items)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, torch.tensor(y, dtype=torch.float64))


def test_relations():
    forth, back = late_interaction(V[:, :1], T[:, :1])
    torch.testing.assert_close(forth, V[:, 0] @ T[:, 0].T)
    torch.testing.assert_close(back, forth)
    forth, back = late_interaction(V, T, MASK_V, MASK_T)
    turned = late_interaction(T, V, MASK_T, MASK_V)
    torch.testing.assert_close((turned[1].T, turned[0].T), (forth, back))
    doubled = late_interaction(torch.cat([V, V[:, :1]], 1), T, torch.cat([MASK_V, MASK_V[:, :1]], 1), MASK_T)
    torch.testing.assert_close(doubled[1], back)
    padded = torch.cat([T, torch.full((6, 1, 3), torch.nan, dtype=torch.float64)], 1)
    more = torch.cat([MASK_T, torch.zeros(6, 1).bool()], 1)
    torch.testing.assert_close(late_interaction(V, padded, MASK_V, more), (forth, back))
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(late_interaction(V[:, order], T, MASK_V[:, order], MASK_T), (forth, back))
    total = late_interaction(V, T, MASK_V, MASK_T, reduce="sum")
    torch.testing.assert_close(total[0], forth * MASK_V.sum(1, keepdim=True))
    torch.testing.assert_close(total[1], back * MASK_T.sum(1))


@pytest.mark.parametrize("items", [None, 2])
def test_properties(items):
    v, t = V.clone().requires_grad_(), T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: late_interaction(a, b, MASK_V, MASK_T, items=items), (v, t))
    forth, back = late_interaction(v, t, MASK_V, MASK_T, items=items)
    assert max(forth.max(), back.max()) <= 1 + 1e-9
    sims = torch.einsum("isd,jrd->ijsr", V, T)
    shared = (sims * MASK_V[:, None, :, None]).sum(2) / MASK_V.sum(1)[:, None, None]
    assert (forth >= shared.masked_fill(~MASK_T[None], -2).amax(2) - 1e-9).all(), "no single token serves all better"
    # only the best tokens learn
    (grad,) = torch.autograd.grad(forth[0, 1], t)
    assert grad[1, 0].abs().sum() > 0
    grad[1, 0] = 0
    assert not grad.any()
    single = late_interaction(V.bfloat16(), T.bfloat16(), MASK_V, MASK_T, items=items)
    assert single[0].dtype == torch.float32
    torch.testing.assert_close(single[0].double(), forth.detach(), atol=0.02, rtol=0)


def test_errors():
    for call, says in (
        (lambda: late_interaction(V, T[:, :, :2]), r"\(6, 7, 2\)"),
        (lambda: late_interaction(V, T[0]), r"\(n, s, d\)"),
        (lambda: late_interaction(V, T, MASK_T), "the mask of v"),
        (lambda: late_interaction(V, T, None, torch.zeros(6, 7).bool()), "item 0 of t has no token"),
        (lambda: late_interaction(V * torch.nan, T), "tokens of v have NaN"),
        (lambda: late_interaction(V, T, reduce="max"), "'max'"),
        (lambda: late_interaction(V, T, items=0), "at least 1"),
    ):
        with pytest.raises(BadInput, match=says):
            call()
