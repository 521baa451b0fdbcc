from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput
from isthmus.methods.spaces.projectors import (
    Features,
    TopPerClass,
    Tower,
    balanced,
    curate,
    fit_towers,
    grouped_patches,
    prototypes,
    rank_pairs,
    sparc_loss,
)
from tests.methods.spaces.projectors_made import items, rng, table, towers
from tests.oracles import projectors as oracle

# --- training on cached features


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
