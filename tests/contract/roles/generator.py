"""A generator: sample(condition, n, generator) draws n samples; the generator alone decides the draw."""

import numpy as np
import torch

from isthmus.core.run import seeded

from . import array, still


def draw(toy, seed, world=0):
    condition, n, _ = toy.inputs
    with seeded(world):
        return array(still(toy.thing).sample(condition, n, torch.Generator().manual_seed(seed)))


def check_n_samples(make):
    toy = make()
    found = draw(toy, 0)
    assert len(found) == toy.inputs[1]
    assert np.isfinite(found).all()


def check_the_generator_decides(make):
    toy = make()
    np.testing.assert_array_equal(draw(toy, 1, world=1), draw(toy, 1, world=2))
    assert not np.array_equal(draw(toy, 1), draw(toy, 2))


def check_the_condition_matters(make):
    toy = make()
    condition, n, _ = toy.inputs
    if not isinstance(condition, torch.Tensor) or not condition.is_floating_point():
        return
    other = array(still(toy.thing).sample(condition + 1, n, torch.Generator().manual_seed(1)))
    assert not np.array_equal(draw(toy, 1), other)
