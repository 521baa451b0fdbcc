import doctest
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.methods.spaces import projectors
from isthmus.methods.spaces.projectors import (
    Features,
    MLPHead,
    Projectors,
    RandomProjectors,
    Temperature,
    TokenProjector,
    TopPerClass,
    Tower,
    balanced,
    block,
    canonical_start,
    curate,
    fit_towers,
    grouped_patches,
    insert_adapters,
    length_bins,
    load_projectors,
    masked_mean,
    mean_iou,
    prototypes,
    push_projectors,
    rank_pairs,
    retrieval_by,
    save_projectors,
    segment,
    sparc_loss,
    tower_steps,
    trained_report,
    unlock,
    weights_hash,
    zero_shot,
)
from isthmus.space import Map
from isthmus.store.fingerprint import Fingerprint
from tests.oracles import projectors as oracle


def rng(seed=0):
    return np.random.default_rng(seed)


def table(*shape, seed=0):
    return torch.from_numpy(rng(seed).standard_normal(shape).astype(np.float32))


def made(build, *arguments, **settings):
    """Build a module with random gains too, in evaluation mode."""
    with seeded(3):
        module = build(*arguments, **settings)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return module.eval()


def state(module):
    return {k: v.numpy() for k, v in module.state_dict().items()}


def views(n=60, hidden=5, image=12, text=8, seed=0):
    draw = rng(seed)
    points = draw.standard_normal((n, hidden))
    return {m: (points @ draw.standard_normal((hidden, d))).astype(np.float32) for m, d in (("i", image), ("t", text))}


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


# --- training on cached features


def items(n=32, t=5, seed=0):
    draw = rng(seed)
    points = draw.standard_normal((n, 4)).astype(np.float32)
    tokens = (points[:, None] * (draw.random((n, t, 4)) < 0.9)) @ draw.standard_normal((4, 10))
    words = (points[:, None] + 0.1 * draw.standard_normal((n, 3, 4))) @ draw.standard_normal((4, 6))
    mask = torch.ones(n, 3).bool()
    mask[::2, 2] = False
    image = Features(tokens=torch.from_numpy(tokens).half(), summary=torch.from_numpy(tokens.mean(1)))
    return {"image": image, "text": Features(tokens=torch.from_numpy(words).float(), mask=mask)}


def towers():
    with seeded(0):
        return {
            "image": Tower(10, 16, local="token", summary="token"),
            "text": Tower(6, 16, local="token", head="mlp"),
        }


@pytest.mark.parametrize("settings", [{}, {"token_sample": 2}, {"sparc": 0.5}], ids=str)
def test_training_on_tokens(settings):
    both, features = towers(), items()
    history = fit_towers(both, features, steps=60, batch=32, lr=3e-3, **settings)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[0]["negatives"] == 31
    rows = torch.arange(32)
    with torch.no_grad():
        a, b = (features[m].take(rows).into(both[m]) for m in features)
    assert ((a @ b.T).argmax(1) == rows).float().mean() > 0.6


def test_errors_of_training():
    features = items()
    with pytest.raises(BadInput, match="towers of"):
        fit_towers({"image": towers()["image"]}, features, steps=1)
    with pytest.raises(BadInput, match="need tokens"):
        Features()
    pooled = {"image": features["image"], "text": Features(summary=table(32, 6))}
    both = towers() | {"text": Tower(6, 16, local="none", summary="token")}
    with pytest.raises(BadInput, match="sparc needs tokens"):
        fit_towers(both, pooled, steps=1, sparc=1.0)


def process(rank, store, out, gather):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    both = towers()
    mine = torch.arange(16 * rank, 16 * rank + 16)
    features = {m: f.take(mine) for m, f in items().items()}
    history = fit_towers(both, features, steps=3, batch=16, gather=gather, seed=rank)
    state = {f"{m}.{k}": v for m, t in both.items() for k, v in t.state_dict().items()}
    torch.save({"negatives": history[-1]["negatives"], **state}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("gather", "negatives"), [(False, 15), (True, 31)])
def test_two_processes_train_one_model(tmp_path, gather, negatives):
    torch.multiprocessing.spawn(process, (tmp_path / "store", tmp_path, gather), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["negatives"] == second["negatives"] == negatives
    for name, value in first.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])), name


# --- the fine-grained loss


def test_oracle_of_sparc():
    patches, words = table(3, 6, 4), table(3, 5, 4, seed=1)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]).bool()
    for settings in ({}, {"scale": 5.0, "threshold": 0.5}):
        expected = oracle.sparc(*(x.double().numpy() for x in (patches, words)), mask.numpy(), **settings)
        assert sparc_loss(patches, words, mask, **settings).item() == pytest.approx(expected, rel=1e-4)


def test_relations_of_sparc():
    words = table(2, 5, 4, seed=1)
    equal = table(2, 1, 4).expand(2, 6, 4)
    unit = nn.functional.normalize(equal[:, :1].expand(2, 5, 4), dim=-1)
    torch.testing.assert_close(grouped_patches(equal, words), unit)
    torch.testing.assert_close(grouped_patches(equal[:, :1], words), unit)
    patches = table(2, 6, 4).requires_grad_()
    torch.testing.assert_close(grouped_patches(patches, 3 * words), grouped_patches(patches, words))
    one = torch.zeros(2, 5).bool()
    one[:, 2] = True
    assert sparc_loss(patches, words, one).item() == pytest.approx(0, abs=1e-6)
    noisy = words.masked_fill(~one.unsqueeze(-1), torch.nan)
    loss = sparc_loss(patches, noisy, one)
    loss.backward()
    assert torch.isfinite(patches.grad).all()
    with pytest.raises(BadInput, match="threshold"):
        grouped_patches(patches, words, threshold=2.0)
    with pytest.raises(BadInput, match="at least one word"):
        sparc_loss(patches, words, torch.zeros(2, 5).bool())


# --- pairs of encoders


def test_ranking_of_pairs():
    draw = rng()
    points = draw.standard_normal((400, 6))
    turned = points @ np.linalg.qr(draw.standard_normal((6, 6)))[0]
    texts = {
        "near": 3 * turned,
        "half": np.c_[points[:, :3], draw.standard_normal((400, 9))],
        "far": draw.standard_normal((400, 6)),
    }
    for kernel in ("linear", "rbf"):
        ranking = rank_pairs({"v": points}, texts, kernel=kernel)
        assert [p.second for p in ranking.pairs] == ["near", "half", "far"]
        assert ranking.best.cka == pytest.approx(1) and abs(ranking.pairs[-1].cka) < 0.05
        assert ranking.unbiased
    plot = ranking.table()
    assert plot["rows"] == ["v"] and plot["columns"] == sorted(texts)
    assert plot["values"][0][plot["columns"].index("near")] == ranking.to_json()["best"]["cka"]
    drawn = ElementTree.fromstring(rank_pairs({"<v>": points, "other": texts["far"]}, texts).svg())
    cells = [e for e in drawn if e.tag.endswith("rect") and "stroke" in e.attrib]
    assert len(cells) == 6 and sum(e.attrib["stroke-width"] == "3" for e in cells) == 1, "the best pair is framed"
    assert {"<v>", "other", *texts} <= {e.text for e in drawn if e.tag.endswith("text")}
    with pytest.raises(BadInput, match="same items"):
        rank_pairs({"v": points}, {"t": points[:9]})
    with pytest.raises(BadInput, match="each side"):
        rank_pairs({"v": points}, {})


# --- curation


def test_oracle_of_curation():
    pool, classes = rng().standard_normal((80, 5)), rng(1).standard_normal((6, 5))
    for keep, per_class in ((20, 5), (12, 12), (80, 20)):
        ids = rng(2).permutation(80)
        chosen = curate(
            [(ids[i : i + 7], pool[ids[i : i + 7]]) for i in range(0, 80, 7)], classes, keep=keep, per_class=per_class
        )
        expected = oracle.curate(dict(enumerate(pool)), classes, keep, per_class)
        assert dict(zip(chosen.ids.tolist(), chosen.classes.tolist(), strict=True)) == expected


def test_properties_of_curation():
    pool, classes = rng().standard_normal((200, 4)), rng(1).standard_normal((5, 4))
    chosen = curate([(np.arange(200), pool)], classes, keep=60, per_class=30)
    assert len(set(chosen.ids.tolist())) == len(chosen.ids)
    assert chosen.histogram().max() <= 30 and chosen.histogram().sum() == len(chosen.ids)
    assert chosen.classes[0] == chosen.order[0]
    assert chosen.histogram()[chosen.order[0]] == 30  # the rarest is served first, so nothing is taken yet
    # with disjoint classes each gets its plain best
    apart = np.kron(np.eye(3), np.ones((10, 1))) + 0.1 * rng(2).random((30, 3))
    top = TopPerClass(np.eye(3), keep=10)
    top.add(np.arange(30), apart)
    plain = balanced(top, per_class=4)
    for c in range(3):
        assert set(plain.ids[plain.classes == c].tolist()) == set(top.ids[c, :4].tolist())


def test_prototypes():
    x = np.array([[2.0, 0], [0, 1], [0, 5], [1, 1]])
    names, found = prototypes(x, ["b", "a", "a", "a"], shots=9)
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(found[1], [1, 0])
    assert prototypes(x, ["b", "a", "a", "a"], shots=1)[1].shape == (2, 2)


def test_errors_of_curation():
    with pytest.raises(BadInput, match="pool is empty"):
        balanced(TopPerClass(np.eye(2)))
    top = TopPerClass(np.eye(2))
    with pytest.raises(BadInput, match="width 3"):
        top.add([0], np.ones((1, 3)))
    with pytest.raises(BadInput, match="ids have shape"):
        top.add([0, 1], np.ones((1, 2)))


# --- partial unfreezing


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 4)

    def forward(self, x):
        return self.out(self.encoder(x).mean(1))


def test_unfreezing_goes_by_type():
    def names(*what):
        model = Backbone()
        opened = unlock(model, *what)
        assert opened == [n for n, p in model.named_parameters() if p.requires_grad] or sorted(opened) == sorted(
            n for n, p in model.named_parameters() if p.requires_grad
        )
        return set(opened)

    every = {n for n, _ in Backbone().named_parameters()}
    assert names() == set()
    assert names("all") == every
    assert names("biases") == {n for n in every if n.endswith("bias")}
    assert names("norms") == {n for n in every if ".norm" in n}
    assert names("attention") == {n for n in every if "self_attn" in n}
    assert names("dense") == {n for n in every if "linear" in n or n.startswith("out.")}
    assert names("norms", "attention") == names("norms") | names("attention")
    with pytest.raises(BadInput, match="nothing of the kind attention"):
        unlock(nn.Linear(2, 2), "attention")
    with pytest.raises(BadInput, match="got bias"):
        unlock(nn.Linear(2, 2), "bias")


def test_adapters_change_nothing_until_trained():
    with seeded(0):
        model = Backbone()
    x = table(3, 4, 8)
    model.train()
    before, hashed = model(x).detach(), weights_hash(model)
    assert weights_hash(model) == hashed
    adapters = insert_adapters(model, reduction=4)
    assert len(adapters) == 2
    torch.testing.assert_close(model(x), before)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if ".down." in n or ".up." in n
    }
    with pytest.raises(BadInput, match="no block"):
        insert_adapters(nn.LayerNorm(3))


def test_frozen_encoders_stay_as_they_are():
    with seeded(0):
        encoder = Backbone().eval()
    unlock(encoder)
    before = weights_hash(encoder)
    pictures = table(24, 4, 8)
    with torch.no_grad():
        features = {"a": Features(summary=encoder(pictures)), "b": Features(summary=table(24, 5, seed=1))}
    both = {m: Tower(f.summary.shape[1], 6, local="none", summary="token") for m, f in features.items()}
    moved = weights_hash(both["a"])
    fit_towers(both, features, steps=3, batch=8)
    assert weights_hash(encoder) == before
    assert weights_hash(both["a"]) != moved
    report = trained_report(encoder, *both.values())
    assert report["total"] - report["trained"] == sum(p.numel() for p in encoder.parameters())


# --- checkpoints


def test_checkpoint_holds_projectors_only(tmp_path):
    both = towers()
    path = save_projectors(both, tmp_path / "out", card={"encoders": ["a", "b"]})
    loaded, card = load_projectors(tmp_path / "out")
    assert card == {"encoders": ["a", "b"]} and path.name == "projectors.safetensors"
    for m, tower in both.items():
        assert weights_hash(loaded[m]) == weights_hash(tower)
        assert not loaded[m].training
    assert [p.name for p in path.parent.iterdir()] == ["projectors.safetensors"]


def test_errors_of_checkpoints(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        load_projectors(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"bad\.safetensors"):
        load_projectors(tmp_path / "bad.safetensors")
    with pytest.raises(BadInput, match="without '/'"):
        save_projectors({"a/b": towers()["text"]}, tmp_path)


def test_push_uploads_one_file(tmp_path, monkeypatch):
    calls = []

    class Hub:
        @staticmethod
        def create_repo(*args, **kwargs):
            calls.append(("create", args, kwargs))

        @staticmethod
        def upload_file(**kwargs):
            calls.append(("upload", kwargs))
            return "address"

    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", Hub)
    save_projectors(towers(), tmp_path)
    assert push_projectors(tmp_path, "me/mine") == "address"
    assert calls[1][1]["path_in_repo"] == "projectors.safetensors" and calls[0][2]["private"]
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        push_projectors(tmp_path, "me/mine")


# --- what a space is asked


def test_zero_shot():
    words = {
        "cat": [1.0, 0, 0],
        "dog": [0, 1.0, 0],
        "a cat": [0.6, 0.8, 0],
        "a dog": [0, 1, 0],
        "cat, furry": [0, 0, 1],
    }

    def embed(texts):
        return np.array([words.get(t, [1, 1, 1]) for t in texts])

    plain = zero_shot(embed, ["cat", "dog"])
    np.testing.assert_allclose(plain.weights, [[1, 0, 0], [0, 1, 0]])
    both = zero_shot(embed, ["cat", "dog"], templates=["{}", "a {}"])
    np.testing.assert_allclose(both.weights[0], np.array([1.6, 0.8, 0]) / np.hypot(1.6, 0.8))
    told = zero_shot(embed, ["cat", "dog"], descriptions={"cat": ["furry"]})
    np.testing.assert_allclose(told.weights, [[0, 0, 1], [0, 1, 0]])
    x = np.array([[3.0, 1, 0], [0, 2, 0], [1, 2, 0]])
    assert plain.predict(x).tolist() == [0, 1, 1]
    assert plain.accuracy(x, [0, 1, 0]) == {"accuracy": pytest.approx(2 / 3), "mean_per_class": 0.75}
    with pytest.raises(BadInput, match="templates"):
        zero_shot(embed, ["cat"], templates=["a"])


def test_segmentation():
    classes, patches = np.eye(3), np.eye(3)[[[0, 0, 1, 1, 2, 2]]]
    labels, scores = segment(patches, classes, grid=(2, 3))
    assert labels.tolist() == [[[0, 0, 1], [1, 2, 2]]] and scores.shape == (1, 2, 3, 3)
    large, smooth = segment(patches, classes, grid=(2, 3), size=(4, 6))
    assert large.shape == (1, 4, 6) and large[0, 0, 0] == 0 and large[0, 3, 5] == 2
    expected = nn.functional.interpolate(torch.from_numpy(scores).permute(0, 3, 1, 2), size=(4, 6), mode="bilinear")
    np.testing.assert_allclose(smooth, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)
    assert mean_iou(labels, labels, classes=3) == 1
    truth = np.array([[[0, 0, 0], [1, 2, 2]]])
    assert mean_iou(labels, truth, classes=4) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert mean_iou(labels, truth, classes=3, valid=labels == truth) == 1
    with pytest.raises(BadInput, match="leave out CLS"):
        segment(patches, classes, grid=(2, 2))


def test_retrieval_by_variant():
    gallery = np.eye(4)
    queries = np.r_[np.eye(4), np.roll(np.eye(4), 1, 0)]
    figures = retrieval_by(queries, gallery, list("abcd") * 2, list("abcd"), ["en"] * 4 + ["de"] * 4)
    assert figures["en"]["r@1"] == 1 and figures["de"]["r@1"] == 0 and figures["de"]["n"] == 4
    texts = ["word " * n for n in (3, 16, 76, 77, 200)]
    assert length_bins(texts) == ["<16", "16-76", "16-76", "≥77", "≥77"]
    with pytest.raises(BadInput, match="must rise"):
        length_bins(texts, (5, 5))
    with pytest.raises(BadInput, match="variants have shape"):
        retrieval_by(queries, gallery, list("abcd") * 2, list("abcd"), ["en"])
