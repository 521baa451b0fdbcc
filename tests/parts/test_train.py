import doctest
import itertools

import numpy as np
import pytest
import torch

from isthmus.core.errors import BadInput, NotFound
from isthmus.parts import params, train
from isthmus.parts.params import Params
from isthmus.parts.train import ByDomain


def problem():
    w = torch.nn.Parameter(torch.zeros(3))
    return w, lambda _: {"loss": ((w - 1) ** 2).sum(), "first": w[0]}


def test_examples():
    assert doctest.testmod(train).failed == 0
    assert doctest.testmod(params).failed == 0


def test_properties():
    w, step = problem()
    seen = []
    history = train.train(
        step, [w], range(50), lr=0.2, warmup=0.1, clip=1.0, progress=lambda *a: seen.append(a), stage="fit"
    )
    assert len(history) == 50 and history[-1]["loss"] < 0.1 < history[0]["loss"]
    assert seen[-1] == ("fit", 50, 50)
    assert w.grad is None
    # only matrices decay
    bias, matrix = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2, 2))
    train.train(lambda _: {"loss": 0 * (bias.sum() + matrix.sum())}, [bias, matrix], [0], lr=0.1, weight_decay=0.5)
    assert bias.tolist() == [1, 1] and matrix.max().item() < 1


def test_stop_and_total():
    w, step = problem()
    assert len(train.train(step, [w], iter(range(50)), total=50, stop=lambda done: done == 7)) == 7


def test_learning_rate_climbs_then_falls():
    rates = [train.learning_rate(i, 100, lr=1.0, warmup=0.1, final_lr=0.01) for i in range(100)]
    assert rates.index(max(rates)) in (9, 10) and max(rates) == pytest.approx(1, abs=0.1)
    assert rates[0] < 0.2 and rates[-1] < 0.02
    assert all(a <= b for a, b in itertools.pairwise(rates[:10]))
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_minibatches_visit_each_row_once_an_epoch():
    batches = train.Minibatches(10, 5, 3, torch.Generator().manual_seed(0))
    drawn = list(batches)
    assert len(drawn) == len(batches) == 6
    assert sorted(torch.cat(drawn[:2]).tolist()) == list(range(10))
    assert len(next(iter(train.Minibatches(3, 5, 1, torch.Generator())))) == 3


def test_errors():
    w, step = problem()
    with pytest.raises(BadInput, match="no parameter"):
        train.train(step, [w.detach()], range(3))
    with pytest.raises(BadInput, match="no length"):
        train.train(step, [w], iter(range(3)))
    with pytest.raises(BadInput, match="no batch"):
        train.train(step, [w], [])
    with pytest.raises(BadInput, match="step 0 of 3"):
        train.train(lambda _: {"loss": w.sum() * torch.nan}, [w], range(3))
    with pytest.raises(BadInput, match="at least 1"):
        train.Minibatches(0, 5, 1, torch.Generator())


class Shrink(Params):
    def __init__(self, *, factor: float = 0.5, name: str = "a"):
        self.factor = factor
        self.name = name


def test_params():
    thing = Shrink(name="b")
    assert thing.get_params() == {"factor": 0.5, "name": "b"}
    assert repr(thing.set_params(factor=2.0)) == "Shrink(factor=2.0, name='b')"
    with pytest.raises(NotFound, match="did you mean 'factor'"):
        thing.set_params(facter=1)


def test_scikit_learn_can_clone():
    clone = pytest.importorskip("sklearn.base").clone
    copy = clone(Shrink(factor=3.0))
    assert copy.get_params()["factor"] == 3.0


def test_batches_of_one_domain_each():
    domain = np.repeat([0, 1, 2], [50, 8, 30])
    counts = np.where(domain == 1, 6.0, 1.0)
    batches = list(ByDomain(domain, counts, 10, 400, torch.Generator().manual_seed(0)))
    assert len(batches) == 400 and all(
        len(set(domain[b.numpy()])) == 1 and len(set(b.tolist())) == len(b) for b in batches
    )
    assert {len(b) for b in batches} == {8, 10}, "a small domain comes whole"
    share = np.mean([domain[int(b[0])] == 1 for b in batches])
    assert abs(share - 48 / 128) < 0.1, "in proportion to items times emphasis"
