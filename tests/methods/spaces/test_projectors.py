import doctest

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.methods.spaces import projectors
from isthmus.methods.spaces.projectors import (
    MLPHead,
    Projectors,
    RandomProjectors,
    Temperature,
    TokenProjector,
    Tower,
    block,
    canonical_start,
    masked_mean,
    tower_steps,
    trained_report,
)
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint
from tests.methods.spaces.projectors_made import made, rng, state, table, views
from tests.oracles import projectors as oracle


def found(fitted, pairs):
    a, b = (fitted.transform(m, x) for m, x in pairs.items())
    return float(((a @ b.T).argmax(1) == np.arange(len(a))).mean())


def test_example():
    assert doctest.testmod(projectors).failed == 0
    assert doctest.testmod(projectors.curation).failed == 0


# --- projector blocks and towers


@pytest.mark.parametrize(("build", "slow"), [(TokenProjector, oracle.token_projector), (MLPHead, oracle.mlp_head)])
def test_oracle_of_blocks(build, slow):
    module, x = made(build, 6, 5), table(4, 3, 6)
    with torch.no_grad():
        np.testing.assert_allclose(module(x).numpy(), slow(x.numpy(), state(module)), atol=2e-5)


def test_relations_of_blocks():
    x = table(4, 6)
    token, head = made(TokenProjector, 6, 5), made(MLPHead, 6, 5)
    with torch.no_grad():
        for layer in (token.mlp[2], head.residual):
            layer.weight.zero_(), layer.bias.zero_()
        torch.testing.assert_close(token(x), token.linear(token.norm(x)))
        torch.testing.assert_close(head(x), head.norm(head.project(x)))


def test_masked_mean_ignores_padding():
    x, mask = table(3, 4, 5), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]]).bool()
    padded = torch.cat([x, torch.full((3, 2, 5), torch.nan)], 1)
    longer = torch.cat([mask, torch.zeros(3, 2).bool()], 1)
    torch.testing.assert_close(masked_mean(padded, longer), masked_mean(x, mask))
    torch.testing.assert_close(masked_mean(x, mask)[2], x[2, 1])
    torch.testing.assert_close(masked_mean(x, None), x.mean(1))
    with pytest.raises(BadInput, match="item 1 has no token"):
        masked_mean(x, mask & torch.tensor([[True], [False], [True]]))
    with pytest.raises(BadInput, match="mask has shape"):
        masked_mean(x, mask[:, :2])


def test_patches_may_be_permuted_and_cls_has_its_own_projector():
    tower = made(Tower, 6, 5, local="token", summary="token")
    patches, cls = table(4, 7, 6), table(4, 6, seed=1)
    with torch.no_grad():
        vectors = tower(patches, summary=cls)
        torch.testing.assert_close(
            tower(patches[:, torch.randperm(7, generator=torch.manual_seed(0))], summary=cls), vectors
        )
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
        expected = tower.local(patches).mean(1) + tower.summary(cls)
        torch.testing.assert_close(vectors, nn.functional.normalize(expected, dim=-1))
        torch.testing.assert_close(tower.tokens(patches), nn.functional.normalize(tower.local(patches), dim=-1))


def test_the_published_number_of_parameters():
    """Three token projectors and one MLP head at d = D = 1024 are the paper's 11.5 M."""
    image = Tower(1024, 1024, local="token", summary="token")
    text = Tower(1024, 1024, local="token", head="mlp")
    report = trained_report(image, text, items=10, steps=3, tokens=2)
    assert report["trained"] == 3 * (3 * (1024**2 + 1024) + 2 * 1024) + 2 * (1024**2 + 1024) + 2 * 1024
    assert round(report["trained"] / 1e6, 1) in (11.5, 11.6)
    assert report["share"] == 1 and report["training_flops"] > 0


def test_temperature_stays_in_its_bounds():
    tau = Temperature()
    assert 1 / tau().item() == pytest.approx(0.07)
    for value, kept in ((9.0, 0.5), (-1.0, 0.001)):
        with torch.no_grad():
            tau.tau.fill_(value)
        assert 1 / tau().item() == pytest.approx(kept)
    with pytest.raises(BadInput, match="low <= start"):
        Temperature(0.7)


def test_errors_of_towers():
    with pytest.raises(BadInput, match="'identity' keeps the width"):
        block("identity", 3, 4)
    with pytest.raises(BadInput, match="got 'conv'"):
        block("conv", 3, 4)
    with pytest.raises(BadInput, match="both are 'none'"):
        Tower(3, 4, local="none")
    with pytest.raises(BadInput, match="needs tokens"):
        Tower(3, 4)(summary=table(2, 3))
    with pytest.raises(BadInput, match="needs summary"):
        Tower(3, 4, summary="linear")(table(2, 5, 3))
    with pytest.raises(BadInput, match="no adapted tokens"):
        Tower(3, 4, local="none", summary="linear").tokens(table(2, 5, 3))


# --- the estimator and its export


def fingerprint(d):
    return Fingerprint(
        encoder="made", modality="m", dim=d, weights="0" * 64, preprocess="", pooling="", normalised=False
    )


@pytest.mark.parametrize("local", ["token", "mlp", "linear"])
def test_towers_as_steps_are_the_same_function(local):
    tower, x = made(Tower, 6, 5, local=local, head="mlp"), table(4, 7, 6)
    mask = torch.from_numpy(rng(1).random((4, 7)) > 0.3)
    mask[:, 0] = True
    steps, tensors = tower_steps(tower)
    with torch.no_grad():
        expected = tower(x, mask=mask).numpy()
    mapped = Map(steps=steps, tensors=tensors, fingerprint=fingerprint(6))
    np.testing.assert_allclose(mapped(x.numpy(), mask.numpy()), expected, atol=2e-6)
    with pytest.raises(BadInput, match="two inputs"):
        tower_steps(Tower(6, 5, summary="linear"))


@pytest.mark.parametrize(
    "model",
    [
        Projectors(members=2, width=5, steps=60, lr=3e-3),
        RandomProjectors(width=16, steps=60, lr=3e-3),
        RandomProjectors(width=16, head="mlp", steps=60, lr=3e-3),
    ],
    ids=str,
)
def test_estimator_finds_partners_and_exports(model):
    pairs = views()
    fitted = model.fit(pairs)
    assert found(fitted, pairs) > 0.8
    for m, (steps, tensors) in fitted.maps().items():
        mapped = Map(steps=steps, tensors=tensors, fingerprint=fingerprint(pairs[m].shape[1]))
        np.testing.assert_allclose(mapped(pairs[m]), fitted.transform(m, pairs[m]), atol=2e-6)
        torch.testing.assert_close(
            fitted.transform(m, torch.from_numpy(pairs[m])), torch.from_numpy(fitted.transform(m, pairs[m]))
        )


def test_many_records_of_one_item_and_absent_modalities():
    pairs = views(40) | {"s": views(40, image=9, seed=0)["i"][:20]}
    keys = {m: np.array([f"k{i}" for i in range(len(x))]) for m, x in pairs.items()}
    twice = rng().permutation(np.r_[np.arange(40), np.arange(40)])
    pairs["t"], keys["t"] = pairs["t"][twice], keys["t"][twice]
    fitted = Projectors(width=5, members=1, steps=30).fit(pairs, keys=keys)
    a, b = fitted.transform("i", pairs["i"]), fitted.transform("t", pairs["t"])
    assert (keys["i"][(b @ a.T).argmax(1)] == keys["t"]).mean() > 0.8
    again = Projectors(width=5, members=1, steps=30).fit(pairs, keys=keys)
    np.testing.assert_array_equal(again.transform("s", pairs["s"]), fitted.transform("s", pairs["s"]))


def test_the_start_is_correlation_analysis():
    draw = rng()
    x = draw.standard_normal((300, 6))
    y = np.c_[x[:, :2] + 0.5 * draw.standard_normal((300, 2)), draw.standard_normal((300, 3))]
    rows = {"x": np.arange(300), "y": np.arange(300)}
    ones = {"x": np.ones(300), "y": np.ones(300)}
    started = canonical_start({"x": x, "y": y}, rows, ones, width=3, ridge=1e-9)
    a, b = (((v - started[m][0]) @ started[m][1].T) for m, v in (("x", x), ("y", y)))
    correlations = [np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(3)]
    np.testing.assert_allclose(correlations, oracle.canonical_correlations(x, y)[:3], atol=1e-4)
    # what tells the records of an item apart is shrunk away
    names = np.repeat(y, 2, 0)
    names[:, 4] += 50 * draw.standard_normal(600)
    twice = {"x": rows["x"], "y": np.repeat(rows["y"], 2)}
    wide = canonical_start({"x": x, "y": names}, twice, ones | {"y": np.ones(600)}, width=3, ridge=0.1)
    assert np.abs(wide["y"][1][:, 4]).max() < 0.01 * np.abs(wide["y"][1]).max()
    # a record that counts for nothing might as well not be there
    counted = np.tile([1.0, 1e-9], 300)
    some = canonical_start({"x": x, "y": names}, twice, ones | {"y": counted}, width=3, ridge=0.1)
    alone = canonical_start({"x": x, "y": names[::2]}, rows, ones, width=3, ridge=0.1)
    np.testing.assert_allclose(np.abs(some["x"][1]), np.abs(alone["x"][1]), rtol=1e-3, atol=1e-4)


def test_items_that_count_more_in_the_start():
    draw = rng()
    x, y = draw.standard_normal((60, 5)), draw.standard_normal((60, 4))
    y[:, :2] += x[:, :2]
    ones = {"x": np.ones(60), "y": np.ones(60)}
    rows = {"x": np.arange(60), "y": np.arange(60)}
    counts = np.where(np.arange(60) < 20, 3.0, 1.0)
    counted = canonical_start({"x": x, "y": y}, rows, ones, width=3, ridge=0.1, counts=counts)
    again = np.repeat(np.arange(60), counts.astype(int))
    many = {"x": np.arange(len(again)), "y": np.arange(len(again))}
    ones = {"x": np.ones(len(again)), "y": np.ones(len(again))}
    repeated = canonical_start({"x": x[again], "y": y[again]}, many, ones, width=3, ridge=0.1)
    for m in ("x", "y"):
        np.testing.assert_allclose(counted[m][0], repeated[m][0], atol=1e-6)
        np.testing.assert_allclose(np.abs(counted[m][1]), np.abs(repeated[m][1]), rtol=1e-3, atol=1e-4)


def test_several_data_sets_are_learned_from_together():
    pairs, others = views(40), views(24, seed=5)
    both = {m: np.r_[x, others[m]] for m, x in pairs.items()}
    domains = {m: np.repeat(["one", "two"], [40, 24]) for m in both}
    settings = {"width": 5, "steps": 40, "batch": 16}
    fitted = Projectors(**settings).fit(both, domains=domains, emphasis={"two": 3.0})
    assert found(fitted, pairs) > 0.5
    same = {m: np.repeat("one", 64) for m in both}
    assert Projectors(**settings).fit(both, domains=same).history_[0].keys() == fitted.history_[0].keys()
    for wrong, says in (
        ({m: d[:5] for m, d in domains.items()}, "one entry a row"),
        (domains | {"t": np.repeat(["two", "one"], [24, 40])}, "another domain"),
    ):
        with pytest.raises(BadInput, match=says):
            Projectors(**settings).fit(both, domains=wrong)
    with pytest.raises(NotFound, match="unknown domain 'three'"):
        Projectors(**settings).fit(both, domains=domains, emphasis={"three": 1.0})
    with pytest.raises(BadInput, match="give domains too"):
        Projectors(**settings).fit(both, emphasis={"two": 2.0})
    with pytest.raises(NotFound, match="unknown modality of weights 'x'"):
        Projectors(**settings).fit(both, weights={"x": np.ones(64)})
    numbered = {m: np.repeat([0, 1], [40, 24]) for m in both}
    first, second = (Projectors(**settings).fit(both, domains=numbered, emphasis=e) for e in ({0: 9.0}, {}))
    assert len(first.history_) == 40 and first.history_ != second.history_
    with pytest.raises(BadInput, match="emphasis must be"):
        Projectors(**settings).fit(both, domains=domains, emphasis={"two": 0.0})


def test_as_many_steps_as_asked_and_any_float():
    pairs = views(100)
    fitted = Projectors(width=4, steps=101, batch=10).fit(pairs)
    assert len(fitted.history_) == 101
    x = torch.from_numpy(pairs["i"])
    assert fitted.transform("i", x.double()).dtype == torch.float64
    with pytest.raises(BadInput, match="NaN"):
        fitted.transform("i", x * float("nan"))


def test_untrained_is_the_start():
    pairs = views()
    fitted = Projectors(width=4, members=1, steps=1, lr=1e-12).fit(pairs)
    x = nn.functional.layer_norm(torch.from_numpy(pairs["i"]), (12,)).numpy()
    text = nn.functional.layer_norm(torch.from_numpy(pairs["t"]), (8,)).numpy()
    rows = np.arange(len(x))
    mean, weight = canonical_start(
        {"i": x, "t": text},
        {"i": rows, "t": rows},
        {"i": np.ones(len(x)), "t": np.ones(len(x))},
        width=4,
        ridge=fitted.ridge,
    )["i"]
    expected = (x - mean) @ weight.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.transform("i", pairs["i"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("pairs", "keys", "says"),
    [
        ({"i": np.ones((5, 2))}, None, "at least two modalities"),
        ({"i": np.ones((5, 2)), "t": np.ones((4, 2))}, None, "same number of rows"),
        ({"i": np.full((5, 2), np.nan), "t": np.ones((5, 2))}, None, "not finite"),
        ({"i": np.ones((5, 2)), "t": np.ones((5, 2))}, {"i": np.arange(5)}, "one entry a row"),
        ({"i": np.ones((5, 2)), "t": np.ones((5, 2))}, {"i": np.arange(5), "t": np.arange(9, 14)}, "same"),
    ],
)
def test_errors_of_the_estimator(pairs, keys, says):
    with pytest.raises(BadInput, match=says):
        Projectors(steps=2).fit(pairs, keys=keys)


def test_errors_of_use():
    with pytest.raises(BadInput, match="not fitted"):
        Projectors().transform("i", np.ones((2, 2)))
    with pytest.raises(BadInput, match="ridge must be positive"):
        Projectors(ridge=0.0).fit(views())
    with pytest.raises(BadInput, match="steps must be positive"):
        RandomProjectors(steps=0).fit(views())
    fitted = Projectors(width=4, members=1, steps=1).fit(views())
    with pytest.raises(NotFound, match="unknown modality 'x'"):
        fitted.transform("x", np.ones((2, 12)))
    with pytest.raises(BadInput, match=r"expected \(n, 12\)"):
        fitted.transform("i", np.ones((2, 3)))
