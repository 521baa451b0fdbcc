"""A scorer: fit(queries, gallery) on banks, score(queries, gallery) gives (queries, gallery) scores."""

import numpy as np
import pytest

from isthmus.core.errors import IsthmusError

from . import array, close, order, still


def fitted(make):
    toy = make()
    thing = toy.thing.fit(*toy.inputs)
    assert thing is toy.thing, "fit returns the scorer itself"
    return still(thing), *toy.inputs


def check_scores_are_a_finite_table(make):
    thing, queries, gallery = fitted(make)
    scores = array(thing.score(queries, gallery))
    assert scores.shape == (len(queries), len(gallery))
    assert np.isfinite(scores).all()
    assert scores.std() > 0


def check_order_of_queries_only_reorders_rows(make):
    thing, queries, gallery = fitted(make)
    index = order(len(queries))
    close(thing.score(queries[index], gallery), array(thing.score(queries, gallery))[index])


def check_order_of_the_gallery_only_reorders_columns(make):
    thing, queries, gallery = fitted(make)
    scores = array(thing.score(queries, gallery))
    index = order(len(gallery))
    again = still(make().thing.fit(queries, gallery[index]))
    close(again.score(queries, gallery[index]), scores[:, index])


def check_bad_input_is_refused(make):
    thing, queries, gallery = fitted(make)
    if array(queries).ndim == 2:
        with pytest.raises(IsthmusError):
            thing.score(queries[:, :-1], gallery)
