import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.metrics.hubness import hubness_skewness, k_occurrence, k_occurrence_of
from isthmus.parts import correctors
from isthmus.parts.correctors import (
    CSLS,
    NNN,
    DistributionNormalised,
    DualSoftmax,
    DynamicInvertedSoftmax,
    Fold,
    GloballyCorrected,
    InvertedSoftmax,
    Uncorrected,
    settings_of,
    tune,
)
from isthmus.parts.hubness import (
    Bank,
    active_items,
    csls,
    distribution_normalised,
    dual_softmax,
    dynamic_inverted_softmax,
    globally_corrected,
    inverted_softmax,
    log_mean_exp,
    mean_of_largest,
    nnn,
    subsample,
)
from tests.oracles import hubness as oracle

SAMPLES = {
    "cosines": (0.3, 0.2),
    "negative": (-0.5, 0.1),
    "wide": (0.0, 3.0),
    "ties": (0.0, 0.0),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def tables(kind="cosines", q=7, n=9, m=11, seed=0):
    """Scores (q, n) and bank scores (m, n); "ties" has few different values."""
    middle, spread = SAMPLES[kind]
    draw = rng(seed)
    if kind == "ties":
        return draw.integers(0, 3, (q, n)) / 4.0, draw.integers(0, 3, (m, n)) / 4.0
    return middle + spread * draw.standard_normal((q, n)), middle + spread * draw.standard_normal((m, n))


def cone(n, d=6, seed=0):
    x = rng(seed).standard_normal((n, d)) + 1.0
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def up_to_the_query(a, b, scale=1.0, atol=1e-9):
    """Two tables that differ by a factor and by one number a row."""
    difference = a * scale - b
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=atol)


def orders(table):
    return np.argsort(-np.asarray(table), axis=1, kind="stable")


@pytest.mark.parametrize("kind", SAMPLES)
def test_oracle(kind):
    s, b = tables(kind)
    bank = Bank.of(b)
    up_to_the_query(inverted_softmax(s, bank, beta=4.0), np.log(oracle.inverted_softmax(s, b, 4.0)), 4.0)
    np.testing.assert_allclose(csls(s, bank, k=3), oracle.csls(s, b, 3))
    np.testing.assert_allclose(nnn(s, bank, k=3, alpha=0.6), oracle.nnn(s, b, 3, 0.6))
    np.testing.assert_allclose(dual_softmax(s, beta=2.0), oracle.dual_softmax(s, 2.0))
    assert set(np.flatnonzero(active_items(Bank.of(b + 1e-6 * np.arange(b.shape[1])), 2))) == oracle.active(
        b + 1e-6 * np.arange(b.shape[1]), 2
    )
    expected = oracle.dynamic_inverted_softmax(s, b, 4.0, 1)
    found = dynamic_inverted_softmax(s, bank, beta=4.0)
    for row, slow, plain in zip(found, expected, s, strict=True):
        scale = 1.0 if np.array_equal(slow, plain) else 4.0
        up_to_the_query(row[None], slow[None], scale)
    ranked = globally_corrected(s, bank)
    slow = oracle.globally_corrected(s, b)
    for row, pairs in zip(ranked, slow, strict=True):
        for i in range(len(row)):
            for j in range(len(row)):
                assert (row[i] > row[j]) == (pairs[i] > pairs[j])


def test_oracle_of_vectors():
    q, g, bank_q, bank_g = cone(5), cone(7, seed=1), cone(8, seed=2), cone(9, seed=3)
    found = distribution_normalised(q, g, bank_q, bank_g, weight=0.4)
    np.testing.assert_allclose(found, oracle.distribution_normalised(q, g, bank_q, bank_g, 0.4))
    fitted = DistributionNormalised(weight=0.4).fit(bank_q, bank_g)
    up_to_the_query(fitted.score(q, g), found)


def test_relations():
    s, b = tables()
    bank = Bank.of(b)
    np.testing.assert_allclose(log_mean_exp(bank, 0.0), b.mean(0))
    np.testing.assert_allclose(log_mean_exp(bank, 1e-6), b.mean(0), atol=1e-6)
    np.testing.assert_allclose(log_mean_exp(bank, np.inf), b.max(0))
    np.testing.assert_allclose(log_mean_exp(bank, 1e6), b.max(0), atol=1e-4)
    np.testing.assert_allclose(mean_of_largest(bank, 99), b.mean(0))
    np.testing.assert_allclose(mean_of_largest(bank, 1), b.max(0))
    up_to_the_query(2 * nnn(s, bank, k=3, alpha=0.5), csls(s, bank, k=3))
    np.testing.assert_allclose(dual_softmax(s[:1], beta=5.0), s[:1])
    # DIS: nothing active → plain, everything active → IS
    best = np.zeros_like(s)
    best[:, 0] = 9.0
    nowhere = Bank.of(np.where(np.arange(b.shape[1]) == 3, 9.0, b))
    np.testing.assert_allclose(dynamic_inverted_softmax(best, nowhere, beta=4.0), best)
    np.testing.assert_allclose(
        dynamic_inverted_softmax(s, bank, beta=4.0, k=b.shape[1]), inverted_softmax(s, bank, beta=4.0)
    )
    # the whole query bank, so DN is NNN
    q, g, words, items = cone(5), cone(7, seed=1), cone(8, seed=2), cone(9, seed=3)
    first = DistributionNormalised(weight=0.7).fit(words, items).score(q, g)
    np.testing.assert_allclose(first, NNN(k=8, alpha=0.7).fit(words, items).score(q, g))


METHODS = {
    "is": lambda s, b, times: inverted_softmax(s, b, beta=4.0),
    "dis": lambda s, b, times: dynamic_inverted_softmax(s, b, beta=4.0),
    "csls": lambda s, b, times: csls(s, b, k=2 * times),
    "nnn": lambda s, b, times: nnn(s, b, k=2 * times, alpha=0.75),
    "gc": lambda s, b, times: globally_corrected(s, b),
}


@pytest.mark.parametrize("name", METHODS)
def test_properties(name):
    method = METHODS[name]
    s, b = tables()
    corrected = method(s, Bank.of(b), 1)
    np.testing.assert_allclose(method(s, Bank.of(rng().permutation(b)), 1), corrected, atol=1e-12)
    np.testing.assert_array_equal(orders(method(s, Bank.of(np.concatenate([b, b])), 2)), orders(corrected))
    level = Bank.of(np.repeat(b[:, :1], b.shape[1], axis=1))
    np.testing.assert_array_equal(orders(method(s, level, 1)), orders(s))
    columns = rng(1).permutation(s.shape[1])
    np.testing.assert_allclose(method(s[:, columns], Bank.of(b[:, columns]), 1), corrected[:, columns], atol=1e-12)
    if name != "gc":
        shifted = s + rng(2).standard_normal((len(s), 1))
        np.testing.assert_array_equal(orders(method(shifted, Bank.of(b), 1)), orders(corrected))
    assert method(s.astype(np.float32), Bank.of(b.astype(np.float32)), 1).dtype == (
        np.float64 if name == "gc" else np.float32
    )
    kept = s.copy(), b.copy()
    method(s, Bank.of(b), 1)
    assert np.array_equal(s, kept[0]) and np.array_equal(b, kept[1]), "inputs are left alone"


def test_the_published_toy_of_nnn():
    """The values of the test suite of its authors' library."""
    gallery = np.array([[0, 1, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 0, 1]], float)
    queries = np.array([*(0.6 * gallery[:4] + 0.8 * gallery[4]), gallery[4]])
    shifts = np.array([[0, 0.01, 0], [0, -0.01, 0], [0.01, 0, 0], [-0.01, 0, 0]])
    bank = np.concatenate([queries + shift for shift in shifts])
    raw = queries @ gallery.T
    assert raw.argmax(1).tolist() == [4] * 5
    np.testing.assert_allclose(raw.max(1), [0.8] * 4 + [1.0])
    found = NNN(k=2, alpha=0.75).fit(bank, gallery).score(queries, gallery)
    assert found.argmax(1).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.max(1), [0.14625] * 4 + [0.25])


def test_a_hub_is_found_and_taken_out():
    items, words = cone(60), cone(200, seed=1)
    items[0] = 1.2 * items.mean(0) / np.linalg.norm(items.mean(0))
    asked = cone(300, seed=2)
    before = k_occurrence(asked, items, 5)
    assert before.argmax() == 0
    for corrector in (InvertedSoftmax(), CSLS(), NNN(), DistributionNormalised(weight=1.0)):
        after = k_occurrence_of(corrector.fit(words, items).score(asked, items), 5)
        assert hubness_skewness(after) < hubness_skewness(before)
        assert after[0] < before[0]


def test_groups_are_not_asked_about_their_own():
    bank, gallery = cone(6), cone(6)
    own = np.array(list("abcdef"))
    scores = (bank @ gallery.T)[~np.eye(6, dtype=bool)].reshape(6, 5, order="C")
    apart = Bank.between(bank, gallery, groups=(own, own))
    expected = np.array([np.delete(bank @ gallery.T, j, axis=0)[:, j].max() for j in range(6)])
    np.testing.assert_allclose(log_mean_exp(apart, np.inf), expected)
    np.testing.assert_allclose(mean_of_largest(apart, 1), expected)
    np.testing.assert_allclose(
        log_mean_exp(apart, 3.0),
        [np.log(np.mean(np.exp(3 * np.delete(bank @ gallery.T, j, axis=0)[:, j]))) / 3 for j in range(6)],
    )
    assert scores.max() < 1 - 1e-6 and log_mean_exp(Bank.between(bank, gallery), np.inf).min() > 1 - 1e-6
    fitted = InvertedSoftmax().fit(bank, gallery, groups=(own, own))
    assert not np.allclose(fitted.bias(gallery), fitted.bias(gallery, groups=own))


@pytest.mark.parametrize("corrector", [InvertedSoftmax(), CSLS(), NNN(k=5), DistributionNormalised()])
def test_bias_is_one_more_dimension(corrector):
    words, items = cone(40).astype(np.float32), cone(30, seed=1).astype(np.float32)
    asked, gallery = cone(5, seed=2).astype(np.float32), cone(20, seed=3).astype(np.float32)
    fitted = corrector.fit(words, items)
    longer = np.column_stack([gallery, -fitted.bias(gallery)])
    np.testing.assert_allclose(np.column_stack([asked, np.ones(5)]) @ longer.T, fitted.score(asked, gallery), atol=1e-6)
    assert fitted.bias(gallery).dtype == np.float32


def test_correct_takes_matrices():
    words, items, asked, gallery = cone(40), cone(30, seed=1), cone(5, seed=2), cone(20, seed=3)
    for corrector in (Uncorrected(), InvertedSoftmax(), DynamicInvertedSoftmax(), GloballyCorrected(), CSLS()):
        found = corrector.correct(asked @ gallery.T, words @ gallery.T, items @ gallery.T)
        np.testing.assert_allclose(found, corrector.fit(words, items).score(asked, gallery), atol=1e-6)


def test_a_batch_of_queries_is_its_own_bank():
    s, _ = tables()
    np.testing.assert_allclose(DualSoftmax(beta=3.0).correct(s), oracle.dual_softmax(s, 3.0))
    np.testing.assert_array_equal(Uncorrected().correct(s), s)


def test_no_table_of_bank_and_gallery_is_held():
    """8,000 × 8,000 scores are 256 MB."""
    bank, gallery = (rng(i).standard_normal((8_000, 8)).astype(np.float32) for i in range(2))
    for corrector in (InvertedSoftmax(bank=8_000), NNN(k=10, bank=8_000)):
        corrector.fit(bank, gallery)
        tracemalloc.start()
        corrector.bias(gallery)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20


def test_subsample():
    assert subsample(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = subsample(1000, 50, 3)
    assert len(set(drawn.tolist())) == 50 and (np.diff(drawn) > 0).all()
    assert np.array_equal(drawn, subsample(1000, 50, 3)) and not np.array_equal(drawn, subsample(1000, 50, 4))
    # a part of the bank says nearly the same as all of it
    words, items = cone(4000), cone(50, seed=1)
    whole = InvertedSoftmax(beta=5).fit(words, items).bias(items)
    part = InvertedSoftmax(beta=5, bank=800).fit(words, items)
    assert len(part.banks_[0][0]) == 800
    np.testing.assert_allclose(part.bias(items), whole, atol=0.03)


def fold(n=60, noise=0.3, hub=True, seed=0):
    points = cone(n, 12, seed)
    gallery = points.copy()
    if hub:  # some items stand in the middle of everything, without being wrong about their own direction
        gallery[:5] = 0.7 * gallery[:5] + points.mean(0)
    noisy = points + noise * rng(seed + 1).standard_normal(points.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    bank = cone(200, 12, seed + 2)
    keys = np.arange(n)
    return Fold(queries=noisy, gallery=gallery, query_keys=keys, gallery_keys=keys, query_bank=bank, gallery_bank=bank)


def test_tune_helps_where_there_are_hubs():
    chosen = tune({"is": InvertedSoftmax, "nnn": NNN}, [fold()])
    assert chosen.name in ("is", "nnn") and chosen.found > chosen.raw
    assert chosen.tried == 7 + 30 and set(chosen.settings) <= {"beta", "k", "alpha"}
    assert chosen.corrector.get_params().items() >= chosen.settings.items()
    again = tune({"is": InvertedSoftmax, "nnn": NNN}, [fold()])
    assert again == chosen
    assert set(chosen.to_json()) == {"name", "settings", "figure", "raw", "found", "error", "tried", "best"}


def test_tune_does_no_harm():
    exact = fold(noise=0.0, hub=False)
    chosen = tune({"is": InvertedSoftmax}, [exact])
    assert chosen.name == "none" and chosen.settings == {} and isinstance(chosen.corrector, Uncorrected)
    assert tune({"is": InvertedSoftmax}, [exact], fallback=False).name == "is"
    # a bank that has nothing to do with the queries
    wrong = fold()
    few = Fold(**{**vars(wrong), "query_bank": wrong.gallery[10:13], "gallery_bank": wrong.gallery[10:13]})
    picked = tune({"is": InvertedSoftmax}, [few])
    assert picked.name == "none" or picked.found - picked.raw > 2 * picked.error


def test_a_space_without_hubs_is_left_alone():
    """Of dozens of settings one always looks better on forty queries: that is chance, and nothing is applied."""
    applied = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        points = draw.standard_normal((160, 12))
        near = points + 0.8 * draw.standard_normal(points.shape)
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (near, points))
        keys = np.arange(40)
        few = Fold(
            queries=a[:40],
            gallery=b[:40],
            query_keys=keys,
            gallery_keys=keys,
            query_bank=a[40:],
            gallery_bank=b[40:],
        )
        applied += tune({"is": InvertedSoftmax, "nnn": NNN}, [few]).name != "none"
    assert applied <= 6


def test_grid():
    chosen = tune({"is": InvertedSoftmax}, [fold()], fallback=False, grids={"is": {"beta": (3.0, 4.0, 7.0)}})
    assert chosen.tried == 3 and chosen.settings["beta"] in (3.0, 4.0, 7.0)
    assert [s["beta"] for s in settings_of(InvertedSoftmax.GRID)] == [1, 2, 5, 10, 20, 50, 100]
    assert list(settings_of(GloballyCorrected.GRID)) == [{}]


def test_errors():
    s, b = tables()
    with pytest.raises(BadInput, match="same number of gallery items"):
        inverted_softmax(s[:, 1:], Bank.of(b), beta=1.0)
    with pytest.raises(BadInput, match="inverse temperature"):
        inverted_softmax(s, Bank.of(b), beta=-1.0)
    with pytest.raises(BadInput, match="inverse temperature"):
        dual_softmax(s, beta=-1.0)
    for wrong in (lambda: csls(s, Bank.of(b), k=0), lambda: active_items(Bank.of(b), 0)):
        with pytest.raises(BadInput, match="k = 0"):
            wrong()
    with pytest.raises(BadInput, match="not finite in row 2"):
        Bank.of(np.where(np.arange(len(b))[:, None] == 2, np.nan, b))
    with pytest.raises(BadInput, match="same number of columns"):
        Bank.between(cone(4), cone(4)[:, 1:])
    with pytest.raises(BadInput, match="groups have shapes"):
        Bank.between(cone(4), cone(5), groups=("abcd", list("abcde")))
    with pytest.raises(BadInput, match="two groups"):
        Bank.between(cone(4), cone(4), groups=(["a"] * 4, list("abcd")))
    with pytest.raises(BadInput, match="vectors have width 6 and banks 5"):
        distribution_normalised(cone(3), cone(3), cone(3)[:, 1:], cone(3)[:, 1:])
    with pytest.raises(BadInput, match="at least 1"):
        subsample(5, 0, 0)
    with pytest.raises(BadInput, match="call fit first"):
        InvertedSoftmax().score(cone(3), cone(3))
    fitted = DynamicInvertedSoftmax().fit(cone(5), cone(5))
    with pytest.raises(BadInput, match="best item is active"):
        fitted.bias(cone(3))
    with pytest.raises(BadInput, match="one column a gallery item"):
        InvertedSoftmax().correct(s[:, 1:], b)
    with pytest.raises(BadInput, match="not finite in row 1"):
        InvertedSoftmax().correct(np.where(np.arange(len(s))[:, None] == 1, np.inf, s), b)
    with pytest.raises(BadInput, match="at least one corrector"):
        tune({}, [fold()])
    with pytest.raises(BadInput, match="grids are given for"):
        tune({"is": InvertedSoftmax}, [fold()], grids={"nnn": {"k": (1,)}})
    with pytest.raises(BadInput, match="needs the scores of a query bank"):
        InvertedSoftmax().correct(s)
    with pytest.raises(BadInput, match="asked along with it"):
        DualSoftmax().fit(cone(5), cone(5)).bias(cone(3))
    with pytest.raises(NotFound, match="beta"):
        InvertedSoftmax().set_params(bta=3)
    assert set(correctors.USES) == {"none", "is", "dis", "csls", "gc", "nnn", "dn", "dual_softmax"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_inverse_temperatures_lead_to_the_mean(dtype):
    scores = np.random.default_rng(0).uniform(-1, 1, (50, 6)).astype(dtype)
    mean = scores.astype(np.float64).mean(0)
    for beta in (1e-9, 1e-7, 1e-5, 1e-3):
        expected = mean + beta / 2 * scores.astype(np.float64).var(0)  # the next term of the series
        np.testing.assert_allclose(log_mean_exp(Bank.of(scores), beta), expected, atol=1e-6)
    bank = Bank.of(scores)
    with pytest.raises(ValueError, match="read-only"):
        log_mean_exp(bank, 5.0)[0] = 0.0


def test_official_numbers():
    """What the released code of QB-Norm and of NNN gives for these inputs."""
    found = json.loads((Path(oracle.__file__).parent / "official_hubness.json").read_text())
    theirs = found["qb_norm"]
    s, expected = np.array(theirs["scores"]), np.array(theirs["result"])
    ours = dynamic_inverted_softmax(s, Bank.of(theirs["bank"]), beta=theirs["beta"], k=theirs["k"])
    np.testing.assert_array_equal(orders(ours), orders(expected))
    plain = (s == expected).all(1)
    assert 0 < plain.sum() < len(s), "rows with and without the correction"
    np.testing.assert_allclose(ours[plain], s[plain])
    up_to_the_query(ours[~plain], np.log(expected[~plain]) / theirs["beta"], atol=1e-5)
    theirs = found["nnn"]
    fitted = NNN(k=theirs["k"], alpha=theirs["alpha"]).fit(theirs["reference"], theirs["reference"])
    scores = fitted.score(theirs["queries"], theirs["gallery"])
    np.testing.assert_array_equal(orders(scores), theirs["order"])
    np.testing.assert_allclose(-np.sort(-scores, axis=1), theirs["scores"], atol=1e-5)


def test_what_does_not_speak_of_an_item_says_nothing():
    """Two items alike, of one of which half the bank says nothing: neither gains by that."""
    draw = np.random.default_rng(0)
    column = draw.standard_normal((40, 1))
    bank = np.hstack([column, column, draw.standard_normal((40, 3))])
    silent = bank.copy()
    silent[::2, 1] = -np.inf
    silent[::2, 0] = bank[1::2, 0][: len(bank[::2])]  # the same ranks where the other is heard
    scores = draw.standard_normal((50, 5))
    scores[:, 1] = scores[:, 0]
    made = Bank(lambda rows, columns: silent[rows, columns].copy(), silent.shape)
    found = globally_corrected(scores, made)
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-9)
    mute = Bank(lambda rows, columns: np.full((1, 5), -np.inf)[rows, columns], (1, 5))
    assert not active_items(mute, 1).any() and not active_items(mute, 3).any()


def test_more_errors():
    words, items = cone(5), cone(4, seed=1)
    with pytest.raises(BadInput, match=r"groups have \[3, 4\] entries for banks of 5 queries and 4 items"):
        InvertedSoftmax().fit(words, items, groups=("abc", "abcd"))
    with pytest.raises(BadInput, match="fitted without groups"):
        InvertedSoftmax().fit(words, items).bias(items, groups=list("abcd"))
    with pytest.raises(BadInput, match="block by block"):
        DualSoftmax().fit(words, items).against(items)
    with pytest.raises(BadInput, match="cannot be tuned"):
        tune({"dual": DualSoftmax}, [fold()])
    with pytest.raises(BadInput, match="standard errors"):
        tune({"is": InvertedSoftmax}, [fold()], errors=float("nan"))
    with pytest.raises(NotFound, match="figure 'r@7'"):
        tune({"is": InvertedSoftmax}, [fold()], figure="r@7")
    with pytest.raises(BadInput, match="query_keys has 3 for 60"):
        Fold(**{**vars(fold()), "query_keys": np.arange(3), "_drawn": {}})
    one = fold()
    same = Fold(**{**vars(one), "query_keys": np.zeros(60, int), "gallery_keys": np.zeros(60, int), "_drawn": {}})
    assert tune({"is": InvertedSoftmax}, [same]).name == "none", "one item has no standard error"
