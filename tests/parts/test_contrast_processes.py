"""Several processes with the rows of all are one process with the whole batch."""

import pytest
import torch

from isthmus.core.errors import BadInput
from isthmus.parts.contrast import alike, distinct, gather_rows, gathered_info_nce, info_nce, same
from tests.parts.test_contrast import table

KEYS = torch.tensor([0, 1, 2, 3, 0, 4, 5, 5])


def objectives(a, b, keys, loss):
    """The forms that every process computes, from its own rows and the keys and references of all."""
    ref = table(8, 3, seed=9)
    return [
        loss(a, b, scale=3.0),
        loss(a, b, scale=3.0, mask=distinct(keys), tile=2),
        loss(a, b, scale=3.0, targets=same(keys), tile=3),
        loss(a, b, scale=3.0, targets=alike(ref), mask=None),
    ]


def work(rank, world, store, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    rows = slice(8 // world * rank, 8 // world * (rank + 1))
    found = []
    for i in range(4):
        weight = table(4, 3, seed=7).requires_grad_()
        a, b = table(8, 4)[rows] @ weight, table(8, 4, seed=1)[rows] @ weight
        loss = objectives(a, b, gather_rows(KEYS[rows]), gathered_info_nce)[i]
        loss.backward()
        total = torch.stack([loss.detach()])
        torch.distributed.all_reduce(total)
        torch.distributed.all_reduce(weight.grad)
        found += [total[0] / world, weight.grad / world]
    says = ""
    try:
        gather_rows(torch.zeros(2 + (rank == 0), 3))
    except BadInput as error:
        says = str(error)
    torch.save({"found": found, "says": says}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_are_one(world, tmp_path):
    torch.multiprocessing.spawn(work, (world, tmp_path / "store", tmp_path), nprocs=world)
    expected = []
    for loss in (info_nce, gathered_info_nce):
        whole = []
        for i in range(4):
            weight = table(4, 3, seed=7).requires_grad_()
            value = objectives(table(8, 4) @ weight, table(8, 4, seed=1) @ weight, KEYS, loss)[i]
            value.backward()
            whole += [value.detach(), weight.grad]
        expected.append(whole)
    torch.testing.assert_close(*expected)  # one process needs no group
    for rank in range(world):
        kept = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(kept["found"], expected[0])
        assert "processes bring [3, 2" in kept["says"]
