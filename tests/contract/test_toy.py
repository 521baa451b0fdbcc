"""Every toy works, gives the same each time, and leaves no trace."""

import copy
import math
import random

import numpy as np
import pytest

from isthmus.core.roles import Toy
from isthmus.core.run import seeded
from isthmus.workbench.facts import call, gradients, leaves


def fresh(entry):
    toy = entry.load().toy()
    assert isinstance(toy, Toy)
    return toy


def arrays(values):
    # copied, so that a later change of the thing itself shows
    return [np.asarray(v.detach().cpu() if hasattr(v, "detach") else v).copy() for v in values]


def outputs(entry):
    toy = fresh(entry)
    with seeded(0):
        return arrays(call(toy))


def same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def random_states():
    torch = pytest.importorskip("torch")
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), (kind, keys.tolist(), *rest), torch.get_rng_state().tolist()


def test_demo_gives_finite_numbers(entry):
    demo = fresh(entry).demo()
    assert demo
    assert all(math.isfinite(float(value)) for value in demo.values())
    assert demo == fresh(entry).demo()


def test_deterministic(entry):
    same(outputs(entry), outputs(entry))


def test_outputs_are_finite_and_float32(entry):
    toy = fresh(entry)
    given = {str(leaf.dtype).removeprefix("torch.") for leaf in leaves(toy.inputs)}
    with seeded(0):
        found = arrays(call(toy))
    assert all(np.isfinite(x).all() for x in found)
    if toy.role not in ("procedure", "study"):
        assert "float64" not in given, "a toy's inputs are float32"
        assert not [x.dtype for x in found if x.dtype in (np.float64, np.float16)]


def test_inputs_are_left_alone(entry):
    toy = fresh(entry)
    before = arrays(leaves(toy.inputs))
    with seeded(0):
        call(toy)
    toy.demo()
    same(before, arrays(leaves(toy.inputs)))


def test_global_random_state_is_left_alone(entry):
    entry.load()  # what a package does on import is not the toy's doing
    before = random_states()
    toy = fresh(entry)
    made = random_states() == before
    toy.demo()
    shown = random_states() == before
    assert made, "toy() draws from the global generators: use core.run.seeded"
    assert shown, "demo() draws from the global generators: use core.run.seeded"


def test_every_parameter_gets_a_gradient(entry):
    torch = pytest.importorskip("torch")
    toy = fresh(entry)
    if not isinstance(toy.thing, torch.nn.Module):
        assert not toy.frozen
        return
    names = dict(toy.thing.named_parameters())
    assert set(toy.frozen) <= set(names), "Toy.frozen names a parameter that is not there"
    assert all(toy.frozen.values()), "each frozen parameter needs a reason"
    with seeded(0):
        found = gradients(toy)
    dead = [n for n in names if n not in toy.frozen and (found.get(n) is None or not bool(found[n].any()))]
    assert not dead


def test_state_dict_round_trip(entry):
    torch = pytest.importorskip("torch")
    toy = fresh(entry)
    if not isinstance(toy.thing, torch.nn.Module):
        return
    with seeded(0):
        expected = arrays(call(toy))
    toy = fresh(entry)
    saved = copy.deepcopy(toy.thing.state_dict())
    with torch.no_grad():
        for value in toy.thing.parameters():
            value.add_(1.0)
    toy.thing.load_state_dict(saved)
    with seeded(0):
        same(expected, arrays(call(toy)))
