"""A space map: fit(pairs) learns from paired rows, transform(modality, x) brings each modality into one space."""

import numpy as np
import pytest

from isthmus.core.errors import IsthmusError

from . import array, close, order, still


def fitted(make):
    toy = make()
    thing = toy.thing.fit(*toy.inputs)
    assert thing is toy.thing, "fit returns the estimator itself"
    return still(thing), toy.inputs[0]


def check_input_is_paired_vectors(make):
    pairs = make().inputs[0]
    assert len(make().inputs) == 1
    assert {array(x).ndim for x in pairs.values()} == {2}
    assert len({len(x) for x in pairs.values()}) == 1


def check_all_modalities_land_in_one_space(make):
    thing, pairs = fitted(make)
    mapped = {m: array(thing.transform(m, x)) for m, x in pairs.items()}
    assert len({x.shape for x in mapped.values()}) == 1
    assert all(np.isfinite(x).all() and x.ndim == 2 for x in mapped.values())


def check_same_kind_of_array_comes_back(make):
    thing, pairs = fitted(make)
    for modality, x in pairs.items():
        assert type(thing.transform(modality, x)) is type(x)


def check_each_row_is_mapped_alone(make):
    thing, pairs = fitted(make)
    for modality, x in pairs.items():
        whole = array(thing.transform(modality, x))
        index = order(len(x))
        close(thing.transform(modality, x[index]), whole[index])
        close(thing.transform(modality, x[:1]), whole[:1])


def check_pairs_are_closer_than_strangers(make):
    thing, pairs = fitted(make)
    a, b, *_ = (array(thing.transform(m, x)).astype(float) for m, x in pairs.items())
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    cosines = a @ b.T
    assert np.diag(cosines).mean() > (cosines.sum() - np.trace(cosines)) / (cosines.size - len(a))


def check_fitting_again_gives_the_same(make):
    thing, pairs = fitted(make)
    first = {m: array(thing.transform(m, x)).copy() for m, x in pairs.items()}
    again = still(thing.fit(pairs))
    for modality, x in pairs.items():
        close(again.transform(modality, x), first[modality])


def check_parameters_rebuild_it(make):
    toy = make()
    before = toy.thing.get_params()
    assert type(toy.thing)(**before).get_params() == before
    toy.thing.fit(*toy.inputs)
    assert toy.thing.get_params() == before, "fit leaves the constructor's arguments as they are"


def check_bad_input_is_refused(make):
    toy = make()
    modality, x = next(iter(toy.inputs[0].items()))
    with pytest.raises(IsthmusError):
        toy.thing.transform(modality, x)  # not fitted
    thing, pairs = fitted(make)
    with pytest.raises(IsthmusError):
        thing.transform("no such modality", x)
    with pytest.raises(IsthmusError):
        thing.transform(modality, x[:, :-1])
    broken = array(x).copy()
    broken[1, 0] = np.nan
    with pytest.raises(IsthmusError):
        make().thing.fit({**pairs, modality: broken if isinstance(x, np.ndarray) else x.new_tensor(broken)})
    with pytest.raises(IsthmusError):
        make().thing.fit({**pairs, modality: x[:-1]})  # rows no longer belong to each other
