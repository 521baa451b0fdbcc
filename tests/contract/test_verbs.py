"""One test a workbench verb: everything that serves it fits, saves, loads and applies through the workbench."""

import importlib

import numpy as np
import pytest

from isthmus.core import catalog
from isthmus.core.errors import BadInput

from .conftest import ENTRIES, EXTRA


def align(name, module, attribute, tmp_path):
    from isthmus.space import Map, Space
    from isthmus.store.fingerprint import Fingerprint

    rng = np.random.default_rng(0)
    points = rng.standard_normal((96, 6))
    pairs = {
        m: (points @ rng.standard_normal((6, d)) + 0.05 * rng.standard_normal((96, d))).astype(np.float32)
        for m, d in {"image": 12, "text": 8}.items()
    }
    # a picture has many names: records belong together by key, not by row
    twice = np.r_[np.arange(96), np.arange(96)]
    pairs["text"] = pairs["text"][twice]
    keys = {"image": np.array([f"k{i}" for i in range(96)]), "text": np.array([f"k{i}" for i in twice])}
    prints = {
        m: Fingerprint(
            encoder="made", modality=m, dim=x.shape[1], weights="0" * 64, preprocess="", pooling="", normalised=False
        )
        for m, x in pairs.items()
    }
    estimator = getattr(module, attribute)
    model = estimator()
    assert type(model)(**model.get_params()).get_params() == model.get_params()
    assert model.fit(pairs, keys=keys, seed=0) is model

    maps = {m: Map(steps=s, tensors=t, fingerprint=prints[m]) for m, (s, t) in model.maps().items()}
    Space(maps=maps, card={"name": name, "method": name}).save(tmp_path / "space")
    space = Space.load(tmp_path / "space")
    assert set(space.maps) == set(pairs)
    applied = {}
    for modality, x in pairs.items():
        expected = model.transform(modality, x)
        applied[modality] = space.transform(modality, x, fingerprint=prints[modality])
        np.testing.assert_allclose(applied[modality], expected, atol=1e-5)
    cosines = applied["image"] @ applied["text"][:96].T
    assert np.diag(cosines).mean() > cosines.mean() + 0.1


def correct(name, module, attribute, tmp_path):
    """It fits on banks; its bias, baked into an index, survives saving and ranks as its scores do."""
    from isthmus.index.index import Index
    from isthmus.space import Map, Space
    from isthmus.store.fingerprint import Fingerprint
    from isthmus.store.rows import Vectors

    rng = np.random.default_rng(0)
    queries, gallery, words, items = (rng.standard_normal((n, 6)).astype(np.float32) + 1 for n in (5, 30, 40, 35))
    corrector = getattr(module, attribute)()
    assert type(corrector)(**corrector.get_params()).get_params() == corrector.get_params()
    assert corrector.fit(words, items) is corrector
    scores = corrector.score(queries, gallery)
    assert scores.shape == (5, 30) and np.isfinite(scores).all()
    np.testing.assert_allclose(corrector.correct(queries @ gallery.T, words @ gallery.T, items @ gallery.T), scores,
                               rtol=1e-5, atol=1e-5)  # fmt: skip
    if not corrector.per_item:
        assert corrector.why
        with pytest.raises(BadInput):
            corrector.bias(gallery)
        return
    of = Fingerprint(
        encoder="made", modality="image", dim=6, weights="0" * 64, preprocess="", pooling="", normalised=False
    )
    entries = {"image": Vectors.of(gallery, of, keys=[f"k{i}" for i in range(30)])}
    bias = {"image": corrector.bias(gallery)}
    Index.build(tmp_path / "index", space=Space({"image": Map([], {}, of)}), entries=entries, bias=bias)
    hits = Index.open(tmp_path / "index").search(queries, k=30)
    found = [[int(hit.key[1:]) for hit in of_query] for of_query in hits]
    for row, order in zip(scores, found, strict=True):
        assert (np.diff(row[order]) <= 1e-4).all()


VERBS = {"align": align, "correct": correct}


def serving():
    verbs = {use.partition(" ")[0] for entry in ENTRIES for use in entry.card.uses} | set(VERBS)
    return [(verb, name) for verb in sorted(verbs) for name in sorted(catalog.serving(verb, EXTRA))]


@pytest.mark.parametrize(("verb", "name"), serving())
def test_verb(verb, name, tmp_path):
    assert verb in VERBS, f"{name} serves {verb!r}, for which there is no test here"
    found = {e.name: e for e in ENTRIES}
    module, attribute = catalog.serving(verb, EXTRA)[name]
    VERBS[verb](name, found[name].load() if name in found else importlib.import_module(module), attribute, tmp_path)
