import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.errors import BadInput
from isthmus.metrics import retrieval, vectors
from isthmus.metrics.retrieval import (
    Ranks,
    average_precision,
    ndcg_at_k,
    per_query,
    rank_positives,
    recall_at_k,
    reciprocal_rank,
    retrieval_ranks,
    share_at_k,
)
from tests.metrics.samplers import SHAPES
from tests.metrics.samplers import vectors as sample
from tests.oracles import retrieval as oracle


def relevance(query_keys, gallery_keys):
    return [[int(g == q) for g in gallery_keys] for q in query_keys]


def on_grid(x):
    step = 2.0 ** np.floor(np.log2(np.abs(x).max() / 8))
    return (np.round(x / step) * step).astype(x.dtype)


def check_against_loops(ranks, scores, relevant):
    assert [ranks[i].tolist() for i in range(len(ranks))] == [
        oracle.positive_ranks(s, r) for s, r in zip(scores, relevant, strict=True)
    ]
    pairs = list(zip(scores, relevant, strict=True))
    for k in (1, 2, 5, 10, 1000):
        np.testing.assert_array_equal(recall_at_k(ranks, k), [oracle.recall_at_k(s, r, k) for s, r in pairs])
        np.testing.assert_allclose(share_at_k(ranks, k), [oracle.share_at_k(s, r, k) for s, r in pairs])
        np.testing.assert_allclose(ndcg_at_k(ranks, k), [oracle.ndcg_at_k(s, r, k) for s, r in pairs])
    np.testing.assert_allclose(reciprocal_rank(ranks), [oracle.reciprocal_rank(s, r) for s, r in pairs])
    np.testing.assert_allclose(average_precision(ranks), [oracle.average_precision(s, r) for s, r in pairs])


# ------------------------------------------------------------------ oracle


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**31))
def test_oracle_loops_with_many_ties(q, n, kinds, levels, seed):
    """Scores on a few levels, so that most rankings hold ties; up to 60 positives a query, so both counters run."""
    rng = np.random.default_rng(seed)
    gallery = rng.integers(kinds, size=n)
    asked = rng.choice(gallery, size=q)
    scores = rng.integers(levels, size=(q, n)).astype(np.float64)
    check_against_loops(rank_positives(scores, asked, gallery), scores.tolist(), relevance(asked, gallery))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_oracle_of_vectors(shape, dtype):
    """On a grid of powers of two every product is exact, in float32 too, and many are equal."""
    rng = np.random.default_rng(1)
    gallery, queries = on_grid(sample(shape, 80, 12, 2, dtype)), on_grid(sample(shape, 30, 12, 3, dtype))
    keys = rng.integers(7, size=80).astype(str)
    asked = rng.choice(keys, size=30)
    exact = (queries.astype(np.float64) @ gallery.astype(np.float64).T).tolist()
    check_against_loops(retrieval_ranks(queries, gallery, asked, keys), exact, relevance(asked, keys))


@pytest.mark.parametrize("kinds", [2, 10, 200])
def test_oracle_trec_eval(kinds):
    """Without ties every figure is trec_eval's."""
    rng = np.random.default_rng(kinds)
    gallery = np.concatenate([np.arange(kinds), rng.integers(kinds, size=200)])
    asked = rng.integers(kinds, size=40)
    scores = rng.permuted(np.tile(np.arange(len(gallery), dtype=np.float64), (40, 1)), axis=1)
    run = {f"q{i}": {f"d{j}": s for j, s in enumerate(row)} for i, row in enumerate(scores.tolist())}
    qrels = {f"q{i}": {f"d{j}": 1 for j in np.flatnonzero(gallery == key)} for i, key in enumerate(asked)}
    names = ("recip_rank", "map", "success.1,5,10", "recall.5,10", "ndcg_cut.5,10")
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names)).evaluate(run)

    def trec(name):
        return [theirs[f"q{i}"][name] for i in range(40)]

    ranks = rank_positives(scores, asked, gallery)
    np.testing.assert_allclose(reciprocal_rank(ranks), trec("recip_rank"))
    np.testing.assert_allclose(average_precision(ranks), trec("map"))
    for k in (1, 5, 10):
        np.testing.assert_array_equal(recall_at_k(ranks, k), trec(f"success_{k}"))
    for k in (5, 10):
        np.testing.assert_allclose(share_at_k(ranks, k), trec(f"recall_{k}"))
        np.testing.assert_allclose(ndcg_at_k(ranks, k), trec(f"ndcg_cut_{k}"))


# ------------------------------------------------------------------ relations


def test_relations_one_positive():
    rng = np.random.default_rng(0)
    ranks = rank_positives(rng.standard_normal((50, 50)), np.arange(50), np.arange(50))
    np.testing.assert_array_equal(average_precision(ranks), reciprocal_rank(ranks))
    expected = np.where(ranks.first <= 10, 1 / np.log2(1.0 + ranks.first), 0)
    np.testing.assert_allclose(ndcg_at_k(ranks, 10), expected)
    np.testing.assert_array_equal(share_at_k(ranks, 5), recall_at_k(ranks, 5))


def test_relations_perfect_and_worst():
    keys = np.repeat(np.arange(6), 3)
    equal = (keys[:, None] == keys).astype(np.float64)
    best, worst = rank_positives(equal, keys, keys), rank_positives(-equal, keys, keys)
    assert all(values.min() == 1 for values in per_query(best).values())
    assert best[4].tolist() == [1, 2, 3]
    assert worst[4].tolist() == [16, 17, 18]
    assert worst.size == 18
    assert worst.positives.tolist() == [3] * 18


# ------------------------------------------------------------------ ties


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (301, 7), (1203, 384), (515, 1280)])
def test_ties_collapsed_encoder_ranks_every_positive_last(n, d, dtype):
    """Equal vectors, whose products a BLAS may round differently by position, still tie."""
    one = sample("gaussian", 1, d, n, dtype)
    ranks = retrieval_ranks(np.repeat(one, n, axis=0), np.repeat(one, n, axis=0), np.arange(n), np.arange(n))
    assert (ranks.first == n).all()
    assert recall_at_k(ranks, min(10, n - 1)).sum() == 0


def test_ties_collapsed_encoder_with_many_positives():
    keys = np.repeat(np.arange(4), 25)
    ranks = retrieval_ranks(np.ones((100, 8)), np.ones((100, 8)), keys, keys)
    assert all(ranks[i].tolist() == list(range(76, 101)) for i in range(100))


def test_ties_a_shared_vector_gives_no_advantage():
    """Duplicates of the positive under another key push it back, wherever they stand."""
    gallery = np.eye(5)[[0, 1, 2, 0, 0]]
    for order in ([0, 1, 2, 3, 4], [3, 4, 0, 1, 2], [4, 3, 2, 1, 0]):
        keys = np.array(list("abcde"))[order]
        assert retrieval_ranks(np.eye(5)[:1], gallery[order], ["a"], keys).first.tolist() == [3]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_ties_do_not_depend_on_order(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(3, size=(9, 40)).astype(np.float32)
    keys = np.concatenate([np.arange(5), rng.integers(5, size=35)])
    asked = rng.integers(5, size=9)
    columns, rows = rng.permutation(40), rng.permutation(9)
    before = rank_positives(scores, asked, keys)
    after = rank_positives(scores[rows][:, columns], asked[rows], keys[columns])
    for new, old in enumerate(rows):
        assert after[new].tolist() == before[int(old)].tolist()


def test_ties_width_of_given_scores():
    scores = np.array([[1.0, 1.05, 0.5]])
    assert rank_positives(scores, ["a"], ["a", "b", "c"]).first.tolist() == [2]
    assert rank_positives(scores[:, ::-1], ["a"], ["c", "a", "b"]).first.tolist() == [1]
    assert rank_positives(scores[:, ::-1], ["a"], ["c", "a", "b"], tie=0.1).first.tolist() == [2]


# ------------------------------------------------------------------ properties


def test_properties_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(5)
    queries, gallery = rng.standard_normal((37, 8)), rng.standard_normal((64, 8))
    asked, keys = rng.integers(6, size=37), np.concatenate([np.arange(6), rng.integers(6, size=58)])
    whole = retrieval_ranks(queries, gallery, asked, keys)
    for cells in (1, 64, 200, 640):
        monkeypatch.setattr(vectors, "CELLS", cells)
        part = retrieval_ranks(queries, gallery, asked, keys)
        np.testing.assert_array_equal(part.values, whole.values)
        np.testing.assert_array_equal(part.offsets, whole.offsets)


def test_properties_never_holds_all_scores(monkeypatch):
    """Only a block of the (q, n) scores is asked for at a time, and in order."""
    monkeypatch.setattr(vectors, "CELLS", 500)
    seen = []

    def scores(rows):
        seen.append((rows.start, rows.stop))
        return np.random.default_rng(rows.start).standard_normal((rows.stop - rows.start, 100))

    rank_positives(scores, np.arange(23) % 7, np.arange(100) % 7)
    assert seen == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]


def test_properties_counting_and_sorting_agree(monkeypatch):
    rng = np.random.default_rng(8)
    scores = rng.integers(20, size=(30, 90)).astype(np.float32)
    keys, asked = np.arange(90) % 9, rng.integers(9, size=30)
    counted = rank_positives(scores, asked, keys)
    monkeypatch.setattr(retrieval, "FEW", 0)
    np.testing.assert_array_equal(rank_positives(scores, asked, keys).values, counted.values)


def test_properties_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((6, 6))
    before = scores.copy()
    rank_positives(scores, np.arange(6), np.arange(6))
    rank_positives(lambda rows: scores, np.arange(6), np.arange(6), exclude_self=False)
    np.testing.assert_array_equal(scores, before)


def test_properties_scores_of_any_number_type():
    scores = np.array([[3, 1, 2], [0, 5, 5]])
    for dtype in (int, bool, np.float16, np.float32, np.float64):
        plain = scores.astype(dtype).astype(float)
        expected = [oracle.positive_ranks(row, r) for row, r in zip(plain, np.eye(3)[:2], strict=True)]
        ranks = rank_positives(scores.astype(dtype), [0, 1], [0, 1, 2])
        assert [ranks[i].tolist() for i in range(2)] == expected


def test_properties_scale_of_queries_changes_nothing():
    rng = np.random.default_rng(3)
    queries, gallery = rng.standard_normal((20, 6)).astype(np.float32), rng.standard_normal((30, 6)).astype(np.float32)
    scaled = queries * np.logspace(-6, 6, 20, dtype=np.float32)[:, None]
    asked, keys = np.arange(20) % 5, np.arange(30) % 5
    np.testing.assert_array_equal(
        retrieval_ranks(scaled, gallery, asked, keys).values, retrieval_ranks(queries, gallery, asked, keys).values
    )


def test_properties_keys_of_any_kind():
    scores = np.random.default_rng(0).standard_normal((4, 8))
    numbers = np.arange(8) % 4
    expected = rank_positives(scores, np.arange(4), numbers).values
    for names in (numbers.astype(str), numbers.astype(str).astype(object), [f"{n}" for n in numbers]):
        asked = np.asarray(names)[:4]
        np.testing.assert_array_equal(rank_positives(scores, asked, names).values, expected)


def test_properties_infinity_puts_last():
    ranks = rank_positives(np.array([[-np.inf, 0.0, -np.inf, np.inf]]), ["a"], ["a", "b", "c", "d"])
    assert ranks.first.tolist() == [4]


def test_exclude_self():
    """An item is neither candidate nor positive for itself: the loops run over the others."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((25, 6))
    keys = np.arange(25) % 5
    ranks = retrieval_ranks(x, x, keys, keys, exclude_self=True)
    assert ranks.size == 24
    for i in range(25):
        others = [j for j in range(25) if j != i]
        scores, relevant = [float(x[i] @ x[j]) for j in others], [int(keys[j] == keys[i]) for j in others]
        assert ranks[i].tolist() == oracle.positive_ranks(scores, relevant)


def test_a_sequence_of_queries():
    ranks = rank_positives(np.eye(3), np.arange(3), np.arange(3))
    assert isinstance(ranks, Ranks)
    assert len(ranks) == 3
    assert [r.tolist() for r in ranks] == [[1], [1], [1]]
    assert set(per_query(ranks, (1, 3))) == {"r@1", "r@3", "mrr", "map", "ndcg@10"}


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((2, 4)), [0, 1], [0, 1]), r"\(2, 3\).*\(2, 4\)"),
        (lambda: retrieval_ranks(np.ones(3), np.ones((2, 3)), [0], [0, 1]), r"queries has shape \(3,\)"),
        (lambda: retrieval_ranks(np.array([[np.nan]]), np.ones((1, 1)), [0], [0]), "queries is not finite in row 0"),
        (lambda: retrieval_ranks(np.ones((1, 1)), np.array([[1], [np.inf]]), [0], [0, 1]), "gallery.*row 1"),
        (lambda: retrieval_ranks(np.ones((1, 1)), np.array([["x"]]), [0], [0]), "gallery holds"),
        (lambda: retrieval_ranks(np.ones((2, 1)), np.ones((2, 1)), [0], [0, 1]), r"query_keys.*\(1,\).*\(2,\)"),
        (lambda: retrieval_ranks(np.ones((2, 1)), np.ones((1, 1)), ["a", "b"], ["a"]), "1 of 2 queries.*'b'"),
        (lambda: retrieval_ranks(np.ones((1, 1)), np.ones((1, 1)), ["1"], [1]), "of one kind"),
        (lambda: retrieval_ranks(np.ones((1, 1)), np.ones((1, 1)), [0.5], [0.5]), "float64.*strings or integers"),
        (lambda: retrieval_ranks(np.ones((2, 1)), np.ones((1, 1)), [0, 0], [0], exclude_self=True), "same items"),
        (
            lambda: retrieval_ranks(np.ones((2, 1)), np.ones((2, 1)), [0, 1], [0, 1], exclude_self=True),
            "2 of 2 queries have no positive",
        ),
        (lambda: rank_positives(np.ones((2, 2)), [0], [0]), r"scores have shape \(2, 2\)"),
        (lambda: rank_positives(np.array([[np.nan]]), [0], [0]), "NaN"),
        (lambda: rank_positives(np.ones((1, 1)), [0], [0], tie=-1.0), "tie -1"),
        (lambda: rank_positives(lambda rows: np.ones((1, 3)), [0], [0]), r"shape \(1, 3\)"),
        (lambda: rank_positives(np.ones((0, 1)), [], [0]), "query_keys"),
        (lambda: recall_at_k(rank_positives(np.ones((1, 1)), [0], [0]), 0), "k = 0"),
        (lambda: ndcg_at_k(rank_positives(np.ones((1, 1)), [0], [0]), 0), "k = 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def test_errors_of_a_query_that_is_not_there():
    with pytest.raises(IndexError, match="query 3 of 1"):
        rank_positives(np.ones((1, 1)), [0], [0])[3]
