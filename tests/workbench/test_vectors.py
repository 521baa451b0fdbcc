"""Ready-made vectors into a store, and everything after it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.store.store import Store
from isthmus.workbench.search import build_index
from isthmus.workbench.vectors import take_vectors


def unit(n=50, d=6, seed=0, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


@pytest.fixture
def clip(tmp_path):
    """What clip-retrieval writes: half precision in numbered files, and metadata."""
    for kind, seed in (("img_emb", 0), ("text_emb", 1)):
        (tmp_path / "emb" / kind).mkdir(parents=True)
        x = unit(seed=seed, dtype=np.float16)
        for i, part in enumerate(np.array_split(x, 11)):
            np.save(tmp_path / "emb" / kind / f"{kind}_{i}.npy", part)
    (tmp_path / "emb" / "metadata").mkdir()
    rows = [{"image_path": f"pics/{i}.jpg", "caption": f"number {i}", "year": 1990 + i} for i in range(50)]
    for i, start in enumerate(range(0, 50, 25)):
        table = pa.Table.from_pylist(rows[start : start + 25])
        pq.write_table(table, tmp_path / "emb" / "metadata" / f"metadata_{i}.parquet")
    return tmp_path / "emb"


def take(clip, out, **more):
    given = {"image": clip / "img_emb", "text": clip / "text_emb"}
    return take_vectors(given, out=out, encoder="my_clip", **more)


def test_the_layout_of_clip_retrieval(clip, tmp_path):
    store = take(clip, tmp_path / "store")
    for modality, seed in (("image", 0), ("text", 1)):
        vectors = store.vectors(modality)
        np.testing.assert_array_equal(vectors.x, unit(seed=seed, dtype=np.float16).astype(np.float32))
        assert vectors.keys.tolist() == [f"pics/{i}.jpg" for i in range(50)], "file 10 comes after file 9"
        assert vectors.texts[3] == "number 3" and vectors.meta[3] == {"year": "1993"}
    assert store.vectors("image").uris[0] == "file:pics/0.jpg"
    index = build_index(store, space="my_clip", out=tmp_path / "index")
    hits = index.search(unit(seed=1)[:4], k=2, modality="image", where="year < 2010")
    assert all(int(h.meta["year"]) < 2010 for of in hits for h in of)
    before = store.status()
    assert take(clip, tmp_path / "store").status() == before, "again, nothing is written"


def test_parquet_and_one_file(tmp_path):
    x = unit(20, 4)
    pq.write_table(pa.table({"id": range(20), "vector": list(x.tolist())}), tmp_path / "v.parquet")
    store = take_vectors({"image": tmp_path / "v.parquet"}, out=tmp_path / "a", encoder="mine")
    np.testing.assert_allclose(store.vectors("image").x, x, rtol=1e-6)
    assert store.vectors("image").keys[:2].tolist() == ["row 0", "row 1"]
    np.save(tmp_path / "v.npy", x)
    print_ = store.fingerprint("image").to_json()
    (tmp_path / "print.json").write_text(json.dumps(print_))
    again = take_vectors({"image": tmp_path / "v.npy"}, out=tmp_path / "b", encoder=str(tmp_path / "print.json"))
    assert again.fingerprint("image") == store.fingerprint("image")
    assert store.fingerprint("image").normalised


def test_rows_that_are_no_vectors(tmp_path):
    x = unit(9, 4)
    x[2, 1], x[5] = np.nan, 0
    np.save(tmp_path / "v.npy", x)
    store = take_vectors({"image": tmp_path / "v.npy"}, out=tmp_path / "s")
    assert len(store.vectors("image")) == 7
    assert [r["reason"][:5] for r in store.rejected().to_pylist()] == ["row 2", "row 5"]


def test_errors(tmp_path, clip):
    np.save(tmp_path / "v.npy", unit())
    out = tmp_path / "store"
    cases = {
        "widths": ({"image": tmp_path / "mixed"}, {}, "widths"),
        "no file": ({"image": tmp_path / "none"}, {}, "no such file or folder"),
        "integers": ({"image": tmp_path / "i.npy"}, {}, "int64 of shape"),
        "cut": ({"image": tmp_path / "cut.npy"}, {}, "holds no vectors"),
        "pickle": ({"image": tmp_path / "o.npy"}, {}, "holds no vectors"),
        "empty folder": ({"image": tmp_path / "empty"}, {}, "found 0"),
        "metadata": ({"image": tmp_path / "short.npy"}, {"metadata": clip / "metadata"}, "3 vectors of image, and 50"),
        "no metadata": ({"image": tmp_path / "v.npy"}, {"metadata": tmp_path / "no"}, "no such metadata"),
        "fingerprint": ({"image": tmp_path / "v.npy"}, {"encoder": str(tmp_path / "p.json")}, "no such file of a"),
        "nothing": ({}, {}, "at least one modality"),
        "who": ({"image": tmp_path / "v.npy"}, {"encoder": {"text": "x"}}, "what made the vectors of image"),
        "ragged": ({"image": tmp_path / "ragged.parquet"}, {}, "differ in length"),
        "no lists": ({"image": tmp_path / "flat.parquet"}, {}, "one column of lists"),
    }
    (tmp_path / "mixed").mkdir()
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "mixed" / "a.npy", unit(3, 4))
    np.save(tmp_path / "mixed" / "b.npy", unit(3, 5))
    np.save(tmp_path / "i.npy", np.ones((3, 4), int))
    np.save(tmp_path / "short.npy", unit(3))
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:200])
    pq.write_table(pa.table({"v": [[1.0, 2.0], [1.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"v": [1.0]}), tmp_path / "flat.parquet")
    for name, (given, more, says) in cases.items():
        with pytest.raises((BadInput, NotFound), match=says):
            take_vectors(given, out=out, **more)
            pytest.fail(name)
    assert not out.exists(), "nothing is written"
    take(clip, out)
    before = Store.open(out).status()
    np.save(clip / "img_emb" / "img_emb_0.npy", unit(5, 7))
    with pytest.raises(BadInput, match="widths"):
        take(clip, out)
    assert Store.open(out).status() == before
