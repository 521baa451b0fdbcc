import doctest
import math

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput
from isthmus.core.roles import Tokens
from isthmus.core.run import seeded
from isthmus.methods.objectives import cwcl
from isthmus.methods.objectives.cwcl import (
    CWCL,
    SequenceTower,
    Training,
    affine,
    bytes_of,
    centred,
    cwcl_loss,
    effective_positives,
    fit_locked,
    geometry_kept,
    heat_maps,
    nearest,
    paired,
    rows_of,
    same_label,
    sharpened,
    template_report,
    windows,
)
from isthmus.parts.contrast import info_nce, row_contrast
from isthmus.tasks.zero_shot import Classes
from tests.oracles import cwcl as oracle

N = 7


def table(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unit(*shape, seed=0):
    return nn.functional.normalize(table(*shape, seed=seed), dim=-1)


def everyone(n=N):
    return torch.arange(n)


P, Q, R = unit(N, 5), unit(N, 5, seed=1), table(N, 4, seed=2)
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2])


def test_example():
    assert doctest.testmod(cwcl).failed == 0


# --- the loss


@pytest.mark.parametrize("tau", [0.07, 1.3])
def test_oracle(tau):
    weights = oracle.affine(R.tolist())
    np.testing.assert_allclose(affine(R, everyone()), weights, rtol=1e-12)
    assert cwcl_loss(P, Q, R, tau).item() == pytest.approx(oracle.cwcl(P.tolist(), Q.tolist(), weights, tau), rel=1e-9)
    swapped = cwcl_loss(P, Q, R, tau, weighted="v2u").item()
    assert swapped == pytest.approx(oracle.cwcl(Q.tolist(), P.tolist(), weights, tau), rel=1e-9)
    expected = oracle.supcon(P.tolist(), Q.tolist(), LABELS.tolist(), tau)
    expected += oracle.one_way(Q.tolist(), P.tolist(), np.eye(N).tolist(), tau)
    assert cwcl_loss(P, Q, LABELS, tau, weight_fn=same_label).item() == pytest.approx(expected, rel=1e-9)
    for row, found in zip(weights, effective_positives(affine(R, everyone())), strict=True):
        assert found.item() == pytest.approx(oracle.effective(row))


def test_relations_plain_contrast():
    loss = cwcl_loss(P, Q, R, 0.1, weight_fn=paired)
    torch.testing.assert_close(loss, 2 * info_nce(P, Q, scale=10.0))
    crossed = [nn.functional.cross_entropy(x / 0.1, everyone()) for x in (P @ Q.T, Q @ P.T)]
    torch.testing.assert_close(loss, sum(crossed))
    both = cwcl_loss(P, Q, R, 0.1, weighted="both")
    torch.testing.assert_close(both, 2 * info_nce(P, Q, scale=10.0, targets=affine(R, everyone())))


def test_relations_labels():
    alone = cwcl_loss(P, Q, everyone(), 0.1, weight_fn=same_label)
    torch.testing.assert_close(alone, cwcl_loss(P, Q, R, 0.1, weight_fn=paired))
    torch.testing.assert_close(same_label(LABELS, everyone()), (LABELS[:, None] == LABELS).float())


def ones(ref, rows):
    return torch.ones(len(rows), len(ref))


def test_relations_equal_weights():
    one_way = row_contrast(P, Q, scale=10.0, targets=lambda rows: ones(R, rows).double())
    expected = -nn.functional.log_softmax(10 * P @ Q.T, 1).mean()
    torch.testing.assert_close(one_way, expected)
    same = torch.ones(N, 3, dtype=torch.float64) / math.sqrt(3)
    least = cwcl_loss(same, same, R, 0.1, weight_fn=ones)
    assert least.item() == pytest.approx(2 * math.log(N))
    assert expected.item() > math.log(N)


def test_relations_gibbs():
    w = sharpened(0.5)(R, everyone())
    share = w / w.sum(1, keepdim=True)
    entropy = torch.special.entr(share).sum(1).mean()
    assert row_contrast(P, Q, scale=4.0, targets=w) > entropy
    # logits that are the logarithms of the weights: the soft-max is the weights
    eye = torch.eye(N, dtype=torch.float64)
    torch.testing.assert_close(row_contrast(share.log(), eye, scale=1.0, targets=w), entropy)


def test_properties_of_weights():
    for weights in (affine, centred, sharpened(0.3)):
        w = weights(R, everyone())
        assert float(w.min()) >= 0 and float(w.max()) <= 1
        torch.testing.assert_close(w, w.T)
        torch.testing.assert_close(w.diagonal(), torch.ones(N, dtype=torch.float64))
        torch.testing.assert_close(weights(3 * R, everyone()), w)
        torch.testing.assert_close(weights(R, torch.tensor([4, 1])), w[[4, 1]])
    top = nearest(3)(R, everyone())
    assert (top > 0).sum(1).tolist() == [3] * N
    torch.testing.assert_close(top, affine(R, everyone()).where(top > 0, 0))
    torch.testing.assert_close(nearest(1)(R, everyone()), paired(R, everyone()))
    torch.testing.assert_close(nearest(99)(R, everyone()), affine(R, everyone()))
    equal = nearest(2)(torch.ones(4, 3), everyone(4))
    assert equal.diagonal().tolist() == [1, 1, 1, 1], "among equals the item itself is kept"
    torch.testing.assert_close(sharpened(1e-3)(R, everyone()), paired(R, everyone()))
    torch.testing.assert_close(sharpened(1e9)(R, everyone()), torch.ones(N, N, dtype=torch.float64))
    # a common part, as of a sentence encoder, hides what the others tell apart
    narrow = nn.functional.normalize(R, dim=1) + 10
    assert effective_positives(affine(narrow, everyone())).mean() > 0.99 * N
    torch.testing.assert_close(
        centred(R + 0.0, everyone()),
        affine(nn.functional.normalize(R, dim=1) - nn.functional.normalize(R, dim=1).mean(0), everyone()),
    )


def test_properties():
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    for weights in (affine, centred, sharpened(0.2), nearest(3), paired):
        torch.testing.assert_close(
            cwcl_loss(P[order], Q[order], R[order], weight_fn=weights), cwcl_loss(P, Q, R, weight_fn=weights)
        )
    torch.testing.assert_close(cwcl_loss(P, Q, 7 * R), cwcl_loss(P, Q, R))
    p, q, ref = P.clone().requires_grad_(), Q.clone().requires_grad_(), R.clone().requires_grad_()
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: cwcl_loss(x[0], x[1], R, x[2]), (p, q, tau))
    cwcl_loss(p, q, ref, tau).backward()
    assert ref.grad is None, "the weights have no gradient"


@pytest.mark.parametrize("tile", [1, 3, 50])
@pytest.mark.parametrize("weights", [affine, sharpened(0.2), nearest(3), paired])
def test_tiles_are_dense(tile, weights):
    found = []
    for size in (None, tile):
        p, q = P.clone().requires_grad_(), Q.clone().requires_grad_()
        loss = cwcl_loss(p, q, R, weight_fn=weights, tile=size, keys=LABELS)
        found.append([loss, *torch.autograd.grad(loss, (p, q))])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_duplicates_are_no_negatives():
    """With an item of V twice, the plain direction is as if its twin were not there."""
    q = torch.cat([Q, Q[:1]])
    p = torch.cat([P, unit(1, 5, seed=9)])
    ref = torch.cat([R, R[:1]])
    keys = torch.tensor([*range(N), 0])
    with_twin, without = cwcl_loss(p, q, ref, keys=keys), cwcl_loss(p, q, ref)
    logits = (q @ p.T / 0.07).masked_fill((keys[:, None] == keys) & ~torch.eye(N + 1).bool(), -torch.inf)
    plain = nn.functional.cross_entropy(logits, everyone(N + 1))
    soft = row_contrast(p, q, scale=1 / 0.07, targets=affine(ref, everyone(N + 1)))
    torch.testing.assert_close(with_twin, soft + plain)
    assert with_twin < without


def work(rank, store, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    weight, rows = table(4, 5, seed=7).requires_grad_(), slice(4 * rank, 4 * rank + 4)
    p = nn.functional.normalize(table(8, 4)[rows] @ weight, dim=1)
    q, keys = unit(8, 5, seed=1)[rows], torch.tensor([0, 1, 2, 3, 0, 4, 5, 6])[rows]
    for tile in (None, 3):
        weight.grad = None
        loss = cwcl_loss(p, q, q, 0.3, weight_fn=centred, keys=keys, gather=True, tile=tile)
        loss.backward(retain_graph=True)
        value = loss.detach().clone()
        torch.distributed.all_reduce(weight.grad)
        torch.distributed.all_reduce(value)
        torch.save({"loss": value / 2, "grad": weight.grad / 2}, f"{out}/{rank}-{tile}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one_with_the_batch(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "store", tmp_path), nprocs=2)
    weight, q = table(4, 5, seed=7).requires_grad_(), unit(8, 5, seed=1)
    p = nn.functional.normalize(table(8, 4) @ weight, dim=1)
    whole = cwcl_loss(p, q, q, 0.3, weight_fn=centred, keys=torch.tensor([0, 1, 2, 3, 0, 4, 5, 6]))
    whole.backward()
    for rank in range(2):
        for tile in (None, 3):
            found = torch.load(tmp_path / f"{rank}-{tile}.pt", weights_only=True)
            torch.testing.assert_close(found["loss"], whole.detach())
            torch.testing.assert_close(found["grad"], weight.grad)


def test_module():
    batch = Batch({"speech": table(N, 5), "text": table(N, 5, seed=1), "raw": R}, {"text": LABELS > 0}, LABELS)
    rows = LABELS > 0
    p, q = (nn.functional.normalize(batch.x[m][rows], dim=1) for m in ("speech", "text"))
    found = CWCL("speech", "text", ref="raw", weight_fn=centred, tau=0.2).double().loss(batch)
    torch.testing.assert_close(found["loss"], cwcl_loss(p, q, R[rows], 0.2, weight_fn=centred))
    labelled = CWCL("speech", "text", weight_fn=same_label, tau=0.2).double().loss(batch, ref=batch.y)
    torch.testing.assert_close(labelled["loss"], cwcl_loss(p, q, LABELS[rows], 0.2, weight_fn=same_label))
    with pytest.raises(BadInput, match="not smell"):
        CWCL("smell", "text").loss(batch)
    keyed = CWCL("speech", "text", tau=0.2).double().loss(batch, keys=LABELS)
    torch.testing.assert_close(keyed["loss"], cwcl_loss(p, q, batch.x["text"][rows], 0.2, keys=LABELS[rows]))
    with pytest.raises(BadInput, match="each of the 7 items"):
        CWCL("speech", "text", weight_fn=same_label).loss(batch, ref=LABELS[:3])
    with pytest.raises(BadInput, match=r"labels \(m,\)"):
        CWCL("speech", "text", weight_fn=same_label).loss(batch)
    with pytest.raises(BadInput, match="no item"):
        CWCL("speech", "text").loss(Batch(batch.x, {"text": torch.zeros(N).bool()}))


# --- towers and training


def test_tower_ignores_padding():
    with seeded(0):
        tower = SequenceTower(6, 4, width=8, heads=2, longest=9).eval()
    x, mask = table(3, 5, 6, dtype=torch.float32), torch.arange(5) < torch.tensor([[5], [2], [1]])
    padded = torch.cat([x.masked_fill(~mask.unsqueeze(-1), torch.nan), torch.full((3, 2, 6), torch.nan)], 1)
    longer = torch.cat([mask, torch.zeros(3, 2).bool()], 1)
    with torch.no_grad():
        vectors = tower(x, mask)
        torch.testing.assert_close(tower(padded, longer), vectors)
        assert not torch.allclose(tower(x[:1].flip(1), mask[:1]), vectors[:1]), "the order matters"
    for values, held, says in (
        (x[..., :5], mask, r"\(n, t, 6\)"),
        (x, mask[:, :4], "with a mask"),
        (x, torch.zeros(3, 5).bool(), "1 to 9 tokens"),
        (table(3, 10, 6), torch.ones(3, 10).bool(), "1 to 9 tokens"),
        (x[..., 0], mask, r"\(n, t, 6\)"),
    ):
        with pytest.raises(BadInput, match=says):
            tower(values, held)
    with seeded(0):
        reader = SequenceTower(None, 4, width=8, heads=2).eval()
    with torch.no_grad():
        one, two = reader(*map(torch.from_numpy, bytes_of(["owl", "a longer text"])))
        torch.testing.assert_close(one, reader(*map(torch.from_numpy, bytes_of(["owl"])))[0])
    assert not torch.allclose(one, two)


def test_windows_and_bytes():
    values, mask = np.random.default_rng(0).standard_normal((2, 5, 3)), np.array([[1] * 5, [1, 1, 1, 0, 0]], bool)
    found = windows(Tokens(np.where(mask[..., None], values, np.nan), mask), size=2)
    assert found.mask.tolist() == [[True] * 3, [True, True, False]]
    np.testing.assert_allclose(
        found.values[0], [values[0, :2].mean(0), values[0, 2:4].mean(0), values[0, 4]], rtol=1e-6
    )
    np.testing.assert_allclose(found.values[1, 1], values[1, 2], rtol=1e-6)
    np.testing.assert_allclose(windows(Tokens(values, mask), size=1).values[0], values[0], rtol=1e-6)
    assert windows(Tokens(values, mask), size=1, longest=2).values.shape == (2, 2, 3)
    read = bytes_of(["é", "abc"], longest=2)
    assert read.values.tolist() == [[195, 169], [97, 98]] and read.mask.all()
    with pytest.raises(BadInput, match="item 1"):
        bytes_of(["a", ""])
    with pytest.raises(BadInput, match="windows of 0"):
        windows(Tokens(values, mask), size=0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cwcl_loss(P, Q[:5], R), r"\(5, 5\)"),
        (lambda: cwcl_loss(P, Q, R[:5]), r"\(5, 4\)"),
        (lambda: cwcl_loss(P, Q, R, keys=LABELS[:5]), r"\(5,\)"),
        (lambda: cwcl_loss(P, Q, R, weighted="sideways"), "'sideways'"),
        (lambda: cwcl_loss(P, Q, R, 0.0), "must be positive"),
        (lambda: cwcl_loss(P, Q, R, weight_fn=same_label), r"labels \(m,\)"),
        (lambda: cwcl_loss(P, Q, R, weight_fn=lambda r, rows: torch.ones(2, 2)), "targets of shape"),
        (lambda: sharpened(0), "must be positive"),
        (lambda: nearest(0), "at least 1"),
        (lambda: effective_positives(torch.zeros(2, 2)), "one above 0 a row"),
        (lambda: fit_locked(nn.Linear(3, 2), rows_of(R), R, ref=LABELS[:3]), "3 entries for 7 frozen vectors"),
        (lambda: fit_locked(nn.Linear(3, 2), rows_of(R), R, keys=LABELS[:3]), "keys have 3 entries"),
        (lambda: fit_locked(nn.Linear(3, 2), rows_of(R[:4]), R), "no item 6 for the last"),
        (lambda: fit_locked(nn.Linear(3, 2), rows_of(R), R[:1]), "at least two"),
        (lambda: fit_locked(nn.Linear(3, 2), lambda rows: (R,), R), "expected two of each"),
        (lambda: Training(steps=0), "at least 1 step"),
        (lambda: Training(batch=0), "2 items a batch"),
        (lambda: Training(lr=0.0), "must lie in"),
        (lambda: Training(weighted="x"), "got 'x'"),
        (lambda: Training(tau=-1), "above 0"),
        (lambda: Training(tile=0), "at least 1 row"),
        (lambda: fit_locked(nn.Linear(4, 2).double(), rows_of(R), R), "2 numbers and the frozen side 4"),
        (lambda: geometry_kept(P[:2], R[:2]), "n ≥ 3"),
        (lambda: template_report(Classes(("a", "b"), np.zeros(2, int), np.arange(2), np.arange(0)), P, P), "prompts"),
        (lambda: heat_maps({}, LABELS), "needs a space"),
        (lambda: heat_maps({"CL": (P, Q)}, LABELS[:3]), "7 and 7 vectors for 3 labels"),
    ],
)
def test_errors(call, says):
    with pytest.raises(BadInput, match=says):
        call()
