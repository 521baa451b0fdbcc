"""A segmenter: segment(x) gives (n, c, h, w) scores at the resolution of its input."""

import numpy as np

from . import array, close, order, still


def check_scores_for_every_pixel(make):
    toy = make()
    x = toy.inputs[0]
    found = array(still(toy.thing).segment(*toy.inputs))
    assert found.ndim == 4
    assert (len(found), *found.shape[2:]) == (len(x), *x.shape[-2:])
    assert found.shape[1] > 1
    assert np.isfinite(found).all()


def check_each_picture_is_segmented_alone(make):
    toy = make()
    thing = still(toy.thing)
    x, *rest = toy.inputs
    if rest:
        return  # further inputs belong to the pictures in a way that only the method knows
    index = order(len(x))
    close(thing.segment(x[index]), array(thing.segment(x))[index])
