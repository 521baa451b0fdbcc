"""A coder: encode(modality, x) gives one code an item, and not the same one to all."""

import numpy as np

from . import array, close, order, rows, still


def check_one_code_an_item(make):
    toy = make()
    modality, x = toy.inputs
    codes = array(still(toy.thing).encode(modality, x))
    assert len(codes) == len(x)
    assert len(np.unique(codes.reshape(len(codes), -1), axis=0)) > 1


def check_each_item_is_coded_alone(make):
    toy = make()
    modality, x = toy.inputs
    thing = still(toy.thing)
    codes = array(thing.encode(modality, x))
    index = order(len(x))
    close(thing.encode(modality, rows(x, index)), codes[index])
