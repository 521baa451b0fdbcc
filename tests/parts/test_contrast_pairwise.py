"""The sigmoid and the hinge loss, and encoding in chunks."""

import math

import pytest
import torch

from isthmus.core.errors import BadInput
from isthmus.parts.contrast import (
    distinct,
    encode_in_chunks,
    hardest_negatives,
    hinge_contrast,
    info_nce,
    same,
    sigmoid_contrast,
)
from tests.oracles import contrast as oracle
from tests.parts.test_contrast import unit

N = 11
LABELS = torch.tensor([0, 1, 2, 0, 3, 4, 5, 6, 1, 7, 0])
A, B = unit(N, 4), unit(N, 4, seed=1)


@pytest.mark.parametrize("tile", [None, 3])
def test_oracle(tile):
    ones, eye = torch.ones(N, N).bool(), torch.eye(N)
    keep = distinct(LABELS)
    for given, targets, mask in (
        ({}, eye, ones),
        ({"mask": keep}, eye, keep.whole(N, N)),
        ({"targets": same(LABELS)}, same(LABELS).whole(N, N), ones),
    ):
        expected = oracle.sigmoid(A.tolist(), B.tolist(), 5.0, -2.0, targets.tolist(), mask.tolist())
        assert sigmoid_contrast(A, B, scale=5.0, bias=-2.0, tile=tile, **given).item() == pytest.approx(expected)
    for mask in (None, keep):
        kept = (ones if mask is None else mask.whole(N, N)).tolist()
        expected = oracle.hinge(A.tolist(), B.tolist(), 0.2, kept)
        assert hinge_contrast(A, B, margin=0.2, mask=mask, tile=tile).item() == pytest.approx(expected)


def test_relations():
    assert sigmoid_contrast(A, B, scale=0.0, bias=0.0).item() == pytest.approx(N * math.log(2))
    eye = torch.eye(N).bool()
    assert sigmoid_contrast(A, A, scale=80.0, bias=0.0, mask=eye).item() == pytest.approx(0, abs=1e-12)
    equal = torch.ones(N, 4, dtype=torch.float64) / 2
    assert hinge_contrast(equal, equal, margin=0.3).item() == pytest.approx(0.6)
    assert hinge_contrast(A, A, margin=0.0).item() == 0
    for x in (A[:1], A):
        mask = torch.eye(len(x)).bool()
        assert hinge_contrast(x, x, margin=5.0, mask=mask).item() == 0, "there is no negative"
    wide = hinge_contrast(A, B, margin=0.2, soft=True)
    assert wide > hinge_contrast(A, B, margin=0.2)


def test_properties():
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    s, bias, margin = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (5.0, -2.0, 0.4))
    keep = distinct(LABELS)
    assert torch.autograd.gradcheck(
        lambda x, y, s, c: sigmoid_contrast(x, y, scale=s, bias=c, mask=keep, tile=4), (a, b, s, bias)
    )
    assert torch.autograd.gradcheck(lambda x, y, m: hinge_contrast(x, y, margin=m, tile=4), (a, b, margin))
    rows, columns = hardest_negatives(A, B, tile=4)
    scores = (A @ B.T).fill_diagonal_(-2)
    assert rows.tolist() == scores.argmax(1).tolist()
    assert columns.tolist() == scores.argmax(0).tolist()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for loss in (lambda x, y: sigmoid_contrast(x, y, scale=5.0, bias=-2.0), hinge_contrast):
        torch.testing.assert_close(loss(A[order], B[order]), loss(A, B))
        torch.testing.assert_close(loss(B, A), loss(A, B))
        z = torch.zeros(N, 4, dtype=torch.float64, requires_grad=True)
        loss(z, b).backward()
        assert torch.isfinite(z.grad).all()


def test_errors():
    for call, says in (
        (lambda: sigmoid_contrast(A, B[:, :2], scale=1.0, bias=0.0), r"\(11, 2\)"),
        (lambda: sigmoid_contrast(A, B[:5], scale=1.0, bias=0.0), "need targets"),
        (lambda: sigmoid_contrast(A, B, scale=1.0, bias=0.0, targets=2 * torch.ones(N, N)), r"in \[0, 1\]"),
        (lambda: sigmoid_contrast(A, B, scale=1.0, bias=0.0, mask=torch.zeros(N, N).bool()), "takes away"),
        (lambda: sigmoid_contrast(A * torch.nan, B, scale=1.0, bias=0.0), "not finite"),
        (lambda: hinge_contrast(A, B[:5]), "two tables"),
        (lambda: hinge_contrast(A, B, mask=torch.ones(2, 2).bool()), "mask of shape"),
        (lambda: hinge_contrast(A, B / 0), "not finite"),
        (lambda: encode_in_chunks(lambda x: x, A, chunk=0), "chunks of 0"),
        (lambda: encode_in_chunks(lambda x: x, A, B[:3], chunk=2), "one length"),
    ):
        with pytest.raises(BadInput, match=says):
            call()


@pytest.mark.parametrize("objective", [lambda a, b: info_nce(a, b, scale=5.0, tile=3), hinge_contrast])
def test_chunks_give_the_gradient_of_one_pass(objective):
    tower = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).double()
    found = []
    for chunk in (N, 2):
        seen = []
        hook = tower.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(len(given[0])))
        z = encode_in_chunks(tower, A, chunk=chunk)
        tower.zero_grad()
        objective(z, B).backward()
        hook.remove()
        assert max(seen) == chunk
        assert len(seen) == 2 * -(-N // chunk), "once forward, once more for the backward pass"
        found.append([p.grad.clone() for p in tower.parameters()])
    torch.testing.assert_close(*found)
    torch.testing.assert_close(encode_in_chunks(tower, A, chunk=3), tower(A))


def test_chunks_drop_the_same_numbers_twice():
    torch.manual_seed(0)
    drop = torch.nn.Dropout(0.5)
    x = torch.ones(9, 50, requires_grad=True)
    z = encode_in_chunks(drop, x, chunk=4)
    z.sum().backward()
    assert torch.equal(x.grad, z.detach()), "the gradient passes where the value did"
    assert 0 < (z == 0).sum() < z.numel()
