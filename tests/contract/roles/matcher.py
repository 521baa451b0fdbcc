"""A matcher: match(a, b) gives finite numbers about which part of a belongs to which part of b."""

import numpy as np

from isthmus.core.run import seeded
from isthmus.workbench.facts import call

from . import array


def check_something_is_matched(make):
    toy = make()
    assert len(toy.inputs) == 2
    with seeded(0):
        found = [array(x) for x in call(toy)]
    assert any(x.size for x in found)
    assert all(np.isfinite(x).all() for x in found)
