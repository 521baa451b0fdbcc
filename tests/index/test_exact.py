import subprocess
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.errors import BadInput
from isthmus.index import exact
from isthmus.index.exact import exact_search
from tests.metrics.samplers import SHAPES, vectors
from tests.oracles import search as oracle


def by_sorting(queries, gallery, k):
    """The whole score matrix in float64, sorted by score and id."""
    scores = (queries.astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 40),
    q=st.integers(1, 5),
    d=st.integers(1, 6),
    k=st.integers(1, 45),
    seed=st.integers(0, 10_000),
    blocks=st.sampled_from([(1024, 4096), (2, 8), (1, 1), (3, 64)]),
)
def test_oracle(n, q, d, k, seed, blocks):
    """Small whole numbers: products are exact and ties abound, within blocks and across them."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (q, d)).astype(np.float32)
    gallery = rng.integers(-2, 3, (n, d)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "QUERY_BLOCK", blocks[0])
        patch.setattr(exact, "GALLERY_BLOCK", blocks[1])
        scores, ids = exact_search(queries, gallery, k=k)
    expected = oracle.search(queries.tolist(), gallery.tolist(), k)
    assert [list(zip(s, i, strict=True)) for s, i in zip(scores.tolist(), ids.tolist(), strict=True)] == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 10, 300])
def test_oracle_of_real_numbers(shape, k):
    x = vectors(shape, 10_000, 48, dtype="float32")
    queries, gallery = x[:70], x[70:]
    scores, ids = exact_search(queries, gallery, k=k)
    expected, order = by_sorting(queries, gallery, k)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(ids, order)
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64


def test_oracle_faiss():
    x = vectors("gaussian", 9_000, 64, dtype="float32")
    scores, ids = exact_search(x[:50], x, k=12)
    theirs, their_ids = faiss.knn(x[:50], x, 12, metric=faiss.METRIC_INNER_PRODUCT)
    np.testing.assert_array_equal(ids, their_ids)
    np.testing.assert_allclose(scores, theirs, rtol=1e-5, atol=1e-4)


def test_relations_any_part_of_the_queries_gives_the_same_rows():
    """To the last digit: not so for a matrix product, whose rounding depends on the shape of the block."""
    x = vectors("clustered", 6_000, 100, dtype="float32")
    scores, ids = exact_search(x[:1500], x, k=10)
    for part in (slice(0, 1), slice(700, 703), slice(1499, 1500), np.random.default_rng(0).permutation(1500)[:40]):
        s, i = exact_search(x[:1500][part], x, k=10)
        np.testing.assert_array_equal(s, scores[part])
        np.testing.assert_array_equal(i, ids[part])


def test_relations_a_prefix_of_k():
    x = vectors("gaussian", 3_000, 32, dtype="float32")
    scores, ids = exact_search(x[:20], x, k=100)
    for k in (1, 7, 99):
        s, i = exact_search(x[:20], x, k=k)
        np.testing.assert_array_equal(i, ids[:, :k])
        np.testing.assert_array_equal(s, scores[:, :k])


@pytest.mark.parametrize("n", [1, 7, 63, 64, 100, 4096, 4097, 10_007])
@pytest.mark.parametrize("q", [1, 2, 33])
@pytest.mark.parametrize("d", [3, 100, 515])
def test_equal_vectors_come_in_the_order_of_their_ids(n, q, d):
    rng = np.random.default_rng(n + q)
    gallery = np.repeat(rng.standard_normal((1, d)).astype(np.float32), n, axis=0)
    scores, ids = exact_search(rng.standard_normal((q, d)), gallery, k=20)
    assert (ids == np.arange(min(n, 20))).all()
    assert (scores == scores[:, :1]).all()


def test_zeros_of_either_sign_are_equal():
    gallery = np.array([[-1.0], [0.0], [-0.0], [0.0]], np.float32)
    for sign in (1, -1):
        _, ids = exact_search(np.array([[0.0 * sign]]), gallery, k=4)
        assert ids.tolist() == [[0, 1, 2, 3]]


def test_properties_permutations():
    x = vectors("gaussian", 5_000, 24, dtype="float32")
    queries = x[:30]
    scores, ids = exact_search(queries, x, k=9)
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(exact_search(queries[order], x, k=9)[1], ids[order])
    order = np.random.default_rng(2).permutation(5_000)
    s, i = exact_search(queries, x[order], k=9)
    np.testing.assert_array_equal(order[i], ids)
    np.testing.assert_array_equal(s, scores)


def test_inputs_stay_as_they_are():
    x = vectors("gaussian", 500, 8, dtype="float32")
    kept = x.copy()
    exact_search(x, x, k=3)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("kind", ["map", "float64", "float16", "fortran", "strided", "list"])
def test_galleries_of_other_kinds(tmp_path, kind):
    x = vectors("gaussian", 5_000, 16, dtype="float16").astype("float32")
    queries = x[:4]
    np.save(tmp_path / "x.npy", x)
    gallery = {
        "map": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "float64": x.astype("float64"),
        "float16": x.astype("float16"),
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=0)[::2],
        "list": x.tolist(),
    }[kind]
    scores, ids = exact_search(queries, gallery, k=5)
    expected, order = exact_search(queries, x, k=5)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(("q", "n", "k", "shape"), [(0, 5, 3, (0, 3)), (4, 0, 3, (4, 0)), (2, 1, 10, (2, 1))])
def test_few_or_none(q, n, k, shape):
    scores, ids = exact_search(np.ones((q, 3), np.float32), np.ones((n, 3), np.float32), k=k)
    assert scores.shape == ids.shape == shape
    assert (ids == 0).all()


@pytest.mark.parametrize("block", [64, 4096])
def test_errors(monkeypatch, block):
    monkeypatch.setattr(exact, "GALLERY_BLOCK", block)
    x = vectors("gaussian", 300, 4, dtype="float32")
    for queries, gallery in ((x[:, :3], x), (x[0], x), (x, x[0]), (x[:, :0], x[:, :0])):
        with pytest.raises(BadInput, match=r"queries \(q, d\) and a gallery \(n, d\) are expected, got \("):
            exact_search(queries, gallery, k=1)
    for k in (0, -1):
        with pytest.raises(BadInput, match=f"at least 1, got {k}"):
            exact_search(x, x, k=k)
    with pytest.raises(BadInput, match="int64"):
        exact_search(x, np.ones((3, 4), int), k=1)
    for value in (np.nan, np.inf, -np.inf):
        spoiled = x.copy()
        spoiled[270, 1] = value
        with pytest.raises(BadInput, match=r"1 of 300 queries hold NaN or infinity, the first is row 270"):
            exact_search(spoiled, x, k=1)
        with pytest.raises(BadInput, match=r"gallery row 270 holds NaN or infinity"):
            exact_search(x, spoiled, k=1)
        with pytest.raises(BadInput, match=r"gallery row 270 holds NaN or infinity"):
            exact_search(np.zeros((1, 4)), spoiled, k=1)
    with pytest.raises(BadInput, match="overflow"):
        exact_search(x * np.float32(1e30), x * np.float32(1e30), k=1)
    with pytest.raises(BadInput, match="with query 1 overflow"):
        exact_search(np.array([[0, 0, 0, 0], [1e38] * 4]), x, k=300)


def test_memory_is_a_few_blocks(tmp_path):
    """A gallery on disk of 240 MB is searched with far less than that above the bare import."""
    code = """
import resource, sys, numpy as np
from isthmus.index.exact import exact_search
path = sys.argv[1]
x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(240_000, 256))
for i in range(0, len(x), 10_000):
    x[i : i + 10_000] = np.random.default_rng(i).standard_normal((10_000, 256), dtype=np.float32)
del x
gallery = np.load(path, mmap_mode="r")
exact_search(np.ones((1000, 256)), gallery[:5000], k=10)
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
import threading, time
peak, done = [anonymous()], threading.Event()
def watch():
    while not done.is_set():
        peak.append(anonymous()); time.sleep(0.01)
thread = threading.Thread(target=watch); thread.start()
exact_search(np.ones((1000, 256)), gallery, k=10)
done.set(); thread.join()
print((max(peak) - peak[0]) // 1024)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc of Linux to tell memory from mapped files")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
