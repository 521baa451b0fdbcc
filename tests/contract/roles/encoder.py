"""An encoder: encode(modality, x) gives one finite vector an item."""

import numpy as np

from . import array, close, order, rows, still


def check_one_vector_an_item(make):
    toy = make()
    modality, x = toy.inputs
    found = array(still(toy.thing).encode(modality, x))
    assert found.ndim == 2
    assert len(found) == len(x)
    assert np.isfinite(found).all()
    assert found.std(0).max() > 0, "every item has the same vector"


def check_each_item_is_encoded_alone(make):
    toy = make()
    modality, x = toy.inputs
    thing = still(toy.thing)
    whole = array(thing.encode(modality, x))
    index = order(len(x))
    close(thing.encode(modality, rows(x, index)), whole[index])
    close(thing.encode(modality, rows(x, [0])), whole[:1])
