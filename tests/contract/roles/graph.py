"""A graph model: thing(*inputs) gives finite numbers that differ from node to node."""

import numpy as np

from isthmus.core.run import seeded
from isthmus.workbench.facts import call

from . import array


def check_nodes_differ(make):
    with seeded(0):
        found = [array(x) for x in call(make())]
    assert found
    assert all(np.isfinite(x).all() for x in found)
    assert any(x.ndim and x.std(0).max() > 0 for x in found)
