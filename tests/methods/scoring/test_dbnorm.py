import doctest

import numpy as np
import pytest

from isthmus.core.errors import BadInput
from isthmus.core.run import Run
from isthmus.methods.scoring import dbnorm
from isthmus.methods.scoring.dbnorm import DualDIS, DualIS, dual_bias
from isthmus.metrics.hubness import hubness_skewness, k_occurrence_of
from isthmus.parts.correctors import DynamicInvertedSoftmax, InvertedSoftmax
from isthmus.parts.hubness import Bank, inverted_softmax
from tests.oracles import hubness as oracle


def rng(seed=0):
    return np.random.default_rng(seed)


def tables(q=7, n=9, m=11, p=8, middle=0.3, spread=0.2, seed=0):
    """Scores (q, n), those of a query bank (m, n) and of a gallery bank (p, n)."""
    draw = rng(seed)
    return tuple(middle + spread * draw.standard_normal((rows, n)) for rows in (q, m, p))


def cone(n, d=6, seed=0):
    x = rng(seed).standard_normal((n, d)) + 1.0
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def orders(table):
    return np.argsort(-np.asarray(table), axis=1, kind="stable")


def up_to_the_query(a, b):
    difference = a - b
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-9)


def test_example():
    assert doctest.testmod(dbnorm).failed == 0


@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("betas", [(4.0, 2.0), (0.5, 5.0)])
def test_oracle(spread, betas):
    """The log form is the product of exponentials, and ranks by S − b."""
    s, b_q, b_g = tables(spread=spread)
    eta = oracle.dual(s, b_q, b_g, *betas)
    found = DualIS(beta_query=betas[0], beta_gallery=betas[1]).correct(s, b_q, b_g)
    np.testing.assert_array_equal(orders(found), orders(eta))
    up_to_the_query(found * sum(betas), np.log(eta))
    bias = dual_bias(Bank.of(b_q), Bank.of(b_g), beta_query=betas[0], beta_gallery=betas[1])
    np.testing.assert_allclose(found, s - bias)


@pytest.mark.parametrize("k", [1, 2])
def test_oracle_of_the_dynamic_one(k):
    s, b_q, b_g = tables(n=14, m=6, p=5)
    found = DualDIS(beta_query=4.0, beta_gallery=2.0, k=k).correct(s, b_q, b_g)
    expected = oracle.dual_dynamic(s, b_q, b_g, 4.0, 2.0, k)
    np.testing.assert_array_equal(orders(found), orders(expected))
    kinds = {sum(int(np.argmax(row)) in oracle.active(b, k) for b in (b_q, b_g)) for row in s}
    assert len(kinds) > 1, "the sample shows rows with and without a factor"


def test_relations():
    s, b_q, b_g = tables()
    only_query = inverted_softmax(s, Bank.of(b_q), beta=4.0)
    only_gallery = inverted_softmax(s, Bank.of(b_g), beta=4.0)
    for tiny in (0.0, 1e-9):
        found = DualIS(beta_query=4.0, beta_gallery=tiny).correct(s, b_q, b_g)
        np.testing.assert_allclose(found, only_query, atol=1e-6)
        found = DualIS(beta_query=tiny, beta_gallery=4.0).correct(s, b_q, b_g)
        np.testing.assert_allclose(found, only_gallery, atol=1e-6)
    # one bank in both places is IS
    np.testing.assert_allclose(DualIS(beta_query=4.0, beta_gallery=4.0).correct(s, b_q, b_q), only_query)
    # a constant added to a query's row
    shifted = s + rng(2).standard_normal((len(s), 1))
    np.testing.assert_array_equal(orders(DualIS().correct(shifted, b_q, b_g)), orders(DualIS().correct(s, b_q, b_g)))
    # no hubs: what a bank says of all items alike changes no order
    level = [np.repeat(b[:, :1], b.shape[1], axis=1) for b in (b_q, b_g)]
    for corrector in (DualIS(), DualDIS()):
        np.testing.assert_array_equal(orders(corrector.correct(s, *level)), orders(s))


def test_relations_of_the_dynamic_one():
    s, b_q, b_g = tables()
    settings = {"beta_query": 4.0, "beta_gallery": 2.0}
    n = s.shape[1]
    np.testing.assert_allclose(DualDIS(k=n, **settings).correct(s, b_q, b_g), DualIS(**settings).correct(s, b_q, b_g))
    # every bank entry finds item 3, no query does
    first = np.where(np.arange(n) == 5, s + 9.0, s)
    away_q, away_g = (np.where(np.arange(n) == 3, 99.0, b) for b in (b_q, b_g))
    np.testing.assert_allclose(DualDIS(**settings).correct(first, away_q, away_g), first)
    # the gallery's set empty: DIS on the query bank
    np.testing.assert_allclose(
        DualDIS(**settings).correct(first, b_q, away_g), DynamicInvertedSoftmax(beta=4.0).correct(first, b_q)
    )


@pytest.mark.parametrize("corrector", [DualIS(), DualDIS()])
def test_properties(corrector):
    words, items, asked, gallery = cone(40), cone(30, seed=1), cone(25, seed=2), cone(20, seed=3)
    scores = corrector.fit(words, items).score(asked, gallery)
    np.testing.assert_allclose(corrector.fit(words[::-1], items[::-1]).score(asked, gallery), scores)
    twice = corrector.fit(np.tile(words, (2, 1)), np.tile(items, (2, 1)))
    np.testing.assert_allclose(twice.score(asked, gallery), scores)
    columns = rng().permutation(20)
    np.testing.assert_allclose(corrector.fit(words, items).score(asked, gallery[columns]), scores[:, columns])
    # a rotation of everything
    turn = np.linalg.qr(rng().standard_normal((6, 6)))[0]
    np.testing.assert_allclose(corrector.fit(words @ turn, items @ turn).score(asked @ turn, gallery @ turn), scores)
    assert type(corrector)(**corrector.get_params()).get_params() == corrector.get_params()


def test_no_overflow_at_any_temperature():
    words, items, asked, gallery = (100 * cone(n, seed=n).astype(np.float32) for n in (40, 30, 5, 20))
    found = DualIS(beta_query=100, beta_gallery=100).fit(words, items).score(asked, gallery)
    assert np.isfinite(found).all() and found.dtype == np.float32


def test_bias_is_one_more_dimension():
    words, items, asked, gallery = (cone(n, seed=n).astype(np.float32) for n in (40, 30, 5, 20))
    fitted = DualIS().fit(words, items)
    longer = np.column_stack([gallery, -fitted.bias(gallery)])
    np.testing.assert_allclose(np.column_stack([asked, np.ones(5)]) @ longer.T, fitted.score(asked, gallery), atol=1e-6)


def test_a_gallery_that_is_the_bank_leaves_each_item_out_of_its_own():
    words, items = cone(20), cone(20, seed=1)
    own = np.arange(20)
    fitted = DualIS(beta_query=9, beta_gallery=9).fit(words, items, groups=(own, own))
    expected = [
        dual_bias(
            Bank.of(np.delete(words, j, axis=0) @ items[j : j + 1].T),
            Bank.of(np.delete(items, j, axis=0) @ items[j : j + 1].T),
            beta_query=9,
            beta_gallery=9,
        )[0]
        for j in range(20)
    ]
    np.testing.assert_allclose(fitted.bias(items, groups=own), expected)


def test_less_hubs():
    words, items, asked, gallery = (cone(n, 20, seed=n) for n in (400, 300, 500, 200))
    before = hubness_skewness(k_occurrence_of(asked @ gallery.T, 10))
    for corrector in (DualIS(), DualDIS(), InvertedSoftmax()):
        after = hubness_skewness(k_occurrence_of(corrector.fit(words, items).score(asked, gallery), 10))
        assert after < before


def test_a_bank_that_covers_little_does_less_harm_to_the_dynamic_one():
    """Five concepts alone: few queries meet an active item, and the others' rows stay."""
    words, items, asked, gallery = (cone(n, 20, seed=n) for n in (5, 5, 500, 200))
    raw = orders(asked @ gallery.T)[:, 0]
    changed = {
        cls: float((orders(cls().fit(words, items).score(asked, gallery))[:, 0] != raw).mean())
        for cls in (DualIS, DualDIS)
    }
    assert changed[DualDIS] < 0.5 * changed[DualIS]


def test_errors():
    s, b_q, b_g = tables()
    with pytest.raises(BadInput, match="needs the scores of a gallery bank too"):
        DualIS().correct(s, b_q)
    with pytest.raises(BadInput, match="one of them above 0"):
        DualIS(beta_query=0, beta_gallery=0).correct(s, b_q, b_g)
    with pytest.raises(BadInput, match="finite"):
        DualIS(beta_query=np.inf).correct(s, b_q, b_g)
    with pytest.raises(BadInput, match="inverse temperature"):
        DualIS(beta_query=-1).correct(s, b_q, b_g)
    with pytest.raises(BadInput, match="which shows when a query has been scored"):
        DualDIS().fit(cone(5), cone(5)).bias(cone(4))
    for corrector in (DualIS(), DualDIS()):
        with pytest.raises(BadInput, match="one column a gallery item"):
            corrector.correct(s[:, 1:], b_q, b_g)
        with pytest.raises(BadInput, match="one column a gallery item"):
            corrector.correct(s, b_q, b_g[:, 1:])
        with pytest.raises(BadInput, match="call fit first"):
            corrector.score(cone(3), cone(3))
        with pytest.raises(BadInput, match="same number of columns"):
            corrector.fit(cone(5), cone(5)[:, 1:])


def test_what_the_experiment_shows_at_smoke(tmp_path):
    """Hubs fade, IS and NNN gain, and a bank of five concepts harms IS and leaves DIS where raw is."""
    found = {}
    for seed in range(4):
        context = Run(budget="smoke", seed=seed, out=tmp_path, cache=tmp_path)
        for row in dbnorm.run(context):
            found.setdefault(row["arm"], []).append((row["r@1"], row.get("skewness", 0.0)))
    recall, skewness = ({arm: np.mean(rows, axis=0)[i] for arm, rows in found.items()} for i in range(2))
    for arm in ("is", "dual_is", "csls", "validated corrector"):
        assert skewness[arm] < skewness["raw"]
    assert recall["nnn"] > recall["raw"] and recall["is"] > recall["raw"] - 0.005
    assert recall["is, five concepts"] < recall["raw"] - 0.03
    assert recall["dis, five concepts"] > recall["raw"] - 0.015
    assert recall["validated corrector"] > recall["raw"] - 0.005
