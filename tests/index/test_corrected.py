"""An index that takes a bias off its items' scores."""

import json

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.index.index import Index

from .test_index import entries, queries, space

BIAS = {"image": np.linspace(-2, 3, 30) ** 2, "text": np.sin(np.arange(30))}


def built(path, bias=BIAS, **settings):
    return Index.build(path, space=space(), entries=entries(), bias=bias, **settings)


def test_oracle(tmp_path):
    made = built(tmp_path / "i", correction={"image": {"name": "is"}})
    asked = queries()
    expected = []
    for modality, vectors in entries().items():
        z = space().transform(modality, vectors.x)
        corrected = asked @ z.T - (BIAS[modality] - BIAS[modality].mean())
        expected += [(modality, f"k{i}", s) for i, s in enumerate(corrected.T)]
    for number, hits in enumerate(Index.open(made.path).search(asked, k=60)):
        assert len(hits) == 60
        right = {(m, k): s[number] for m, k, s in expected}
        np.testing.assert_allclose([h.score for h in hits], [right[h.modality, h.key] for h in hits], atol=1e-5)
        assert (np.diff([h.score for h in hits]) <= 0).all()


def test_relations(tmp_path):
    plain = Index.build(tmp_path / "plain", space=space(), entries=entries())
    corrected = built(tmp_path / "corrected")
    level = built(tmp_path / "level", bias={"image": np.full(30, 7.0)})
    for asked in (queries(), queries(seed=1)):
        hits = plain.search(asked, k=9)
        assert [[h.id for h in of] for of in corrected.search(asked, k=9, corrected=False)] == [
            [h.id for h in of] for of in hits
        ]
        # the same bias for all changes nothing, and is no offset between modalities
        assert [[h.id for h in of] for of in level.search(asked, k=9)] == [[h.id for h in of] for of in hits]
    for modality in ("image", "text"):
        np.testing.assert_array_equal(corrected.vectors(modality), plain.vectors(modality))
        np.testing.assert_allclose(corrected.bias(modality), BIAS[modality] - BIAS[modality].mean(), atol=1e-6)
    assert plain.bias("image") is None and level.bias("text") is None


def test_the_head_says_what_is_corrected(tmp_path):
    plain = Index.build(tmp_path / "plain", space=space(), entries=entries())
    corrected = built(tmp_path / "corrected", correction={"image": {"name": "is"}})
    heads = [json.loads((i.path / "index.json").read_text()) for i in (plain, corrected)]
    assert [head["modalities"]["text"]["corrected"] for head in heads] == [False, True]
    assert "correction" not in heads[0]
    assert plain.correction is None and "correction" not in plain.status()
    assert Index.open(corrected.path).correction == {"image": {"name": "is"}}
    assert Index.open(corrected.path).status()["correction"] == {"image": {"name": "is"}}
    assert Index.open(corrected.path).verify() == {}


def test_only_some_modalities(tmp_path):
    made = built(tmp_path / "i", bias={"image": BIAS["image"]})
    assert np.load(next(made.path.glob("image-*.npy"))).shape == (30, 5)
    assert np.load(next(made.path.glob("text-*.npy"))).shape == (30, 4)
    assert made.search(queries(), k=5)


def test_any_backend_serves_it(tmp_path):
    """The file is what another vector index takes: items as they lie, queries with a 1 at the end."""
    faiss = pytest.importorskip("faiss")
    made = built(tmp_path / "i")
    asked = queries()
    other = faiss.IndexFlatIP(5)
    other.add(np.load(next(made.path.glob("image-*.npy"))))
    _, ids = other.search(np.column_stack([asked, np.ones(len(asked), np.float32)]), 7)
    assert [[h.key for h in of] for of in made.search(asked, k=7, modality="image")] == [
        [f"k{i}" for i in of] for of in ids
    ]
    graph = faiss.IndexHNSWFlat(5, 32, faiss.METRIC_INNER_PRODUCT)
    graph.add(np.load(next(made.path.glob("image-*.npy"))))
    _, near = graph.search(np.column_stack([asked, np.ones(len(asked), np.float32)]), 7)
    assert np.mean([len(set(a) & set(b)) / 7 for a, b in zip(ids, near, strict=True)]) > 0.9


def test_errors(tmp_path):
    with pytest.raises(BadInput, match=r"\(30,\) finite numbers"):
        built(tmp_path / "a", bias={"image": np.zeros(29)})
    with pytest.raises(BadInput, match="finite"):
        built(tmp_path / "b", bias={"image": np.where(np.arange(30) == 3, np.nan, 0)})
    with pytest.raises(BadInput, match="biases are given for"):
        built(tmp_path / "c", bias={"sound": np.zeros(30)})
    assert not (tmp_path / "a").exists()
