import doctest
import math

import numpy as np
import pytest
import torch

from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.roles import Tokens
from isthmus.core.run import seeded
from isthmus.methods.objectives import one_to_k
from isthmus.methods.objectives.one_to_k import (
    Fusion,
    OneToK,
    masked_words,
    masked_words_loss,
    matching_loss,
    mine,
    one_to_k_loss,
    rerank,
)
from isthmus.parts.contrast import info_nce
from isthmus.space import Map, Space
from tests.oracles import one_to_k as oracle
from tests.store.rows import fingerprint

N, K, D, TAU = 6, 3, 5, 0.2


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def gaps():
    present = torch.rand(N, K, generator=torch.Generator().manual_seed(3)) < 0.6
    present[0], present[1, 0] = False, True  # an item without any text
    return present


def test_example():
    assert doctest.testmod(one_to_k).attempted and not doctest.testmod(one_to_k).failed


@pytest.mark.parametrize("balance", ["repo", "mean"])
@pytest.mark.parametrize("present", [None, gaps()], ids=["all", "gaps"])
def test_oracle(balance, present):
    v, t = unit(N, D), unit(N * K, D, seed=1)
    given = torch.ones(N, K, dtype=torch.bool) if present is None else present
    wanted = oracle.loss(v.tolist(), t.tolist(), K, TAU, given.tolist(), balance)
    assert float(one_to_k_loss(v, t, K, TAU, balance=balance, present=present)) == pytest.approx(wanted)


def test_oracle_of_the_released_sums():
    v, t = unit(N, D), unit(N * K, D, seed=1)
    assert float(one_to_k_loss(v, t, K, TAU)) == pytest.approx(oracle.released(v.tolist(), t.tolist(), K, TAU))


def test_relations():
    v, t = unit(N, D), unit(N * K, D, seed=1)
    for balance in ("repo", "mean"):
        one = one_to_k_loss(v, t[:N], 1, TAU, balance=balance)
        torch.testing.assert_close(one, info_nce(v, t[:N], scale=1 / TAU))
        order = torch.cat([i * K + torch.randperm(K) for i in range(N)])
        torch.testing.assert_close(
            one_to_k_loss(v, t[order], K, TAU, balance=balance), one_to_k_loss(v, t, K, TAU, balance=balance)
        )
    # The same text K times: the item's half gains log K, the text's is as it was.
    single, repeated = t[:N], t[:N].repeat_interleave(K, 0)
    both = [one_to_k_loss(v, x, k, TAU, balance="mean") for x, k in ((single, 1), (repeated, K))]
    assert float(both[1] - both[0]) == pytest.approx(math.log(K) / 2)
    # Perfect separation: what is left is log K.
    apart = torch.eye(N, dtype=torch.float64)
    assert float(one_to_k_loss(apart, apart.repeat_interleave(K, 0), K, 0.01)) == pytest.approx(math.log(K) / 2)


def test_properties():
    v, t = unit(N, D), unit(N * K, D, seed=1)
    present = gaps()
    base = one_to_k_loss(v, t, K, TAU, present=present)
    noise = torch.where(present.reshape(-1, 1), t, unit(N * K, D, seed=9))
    torch.testing.assert_close(one_to_k_loss(v, noise, K, TAU, present=present), base)  # absent rows hold anything
    order = torch.randperm(N)
    moved = one_to_k_loss(v[order], t.view(N, K, D)[order].flatten(0, 1), K, TAU, present=present[order])
    torch.testing.assert_close(moved, base)
    for tile in (1, 4, 100):
        inputs = [(x.clone().requires_grad_(), y.clone().requires_grad_()) for x, y in ((v, t), (v, t))]
        losses = [one_to_k_loss(*inputs[0], K, TAU, tile=tile), one_to_k_loss(*inputs[1], K, TAU)]
        torch.testing.assert_close(*losses)
        for a, b in zip(*(torch.autograd.grad(*each) for each in zip(losses, inputs, strict=True)), strict=True):
            torch.testing.assert_close(a, b)
    assert torch.autograd.gradcheck(
        lambda a, b: one_to_k_loss(a, b, K, TAU, present=present), (v.requires_grad_(), t.requires_grad_())
    )


def work(rank, store, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    v, t, present = unit(N, D), unit(N * K, D, seed=1), gaps()
    half = slice(rank * N // 2, (rank + 1) * N // 2)
    own = v[half].clone().requires_grad_()
    texts = t.view(N, K, D)[half].flatten(0, 1).clone().requires_grad_()
    loss = one_to_k_loss(own, texts, K, TAU, present=present[half], gather=True)
    loss.backward()
    torch.save({"loss": loss.detach(), "v": own.grad, "t": texts.grad}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one_with_the_batch(tmp_path):
    """Items 0 to 2 and 3 to 5 lie in two processes, with unequal numbers of texts."""
    torch.multiprocessing.spawn(work, (tmp_path / "store", tmp_path), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    v, t = unit(N, D).requires_grad_(), unit(N * K, D, seed=1).requires_grad_()
    whole = one_to_k_loss(v, t, K, TAU, present=gaps())
    whole.backward()
    torch.testing.assert_close((parts[0]["loss"] + parts[1]["loss"]) / 2, whole.detach())
    # Each process holds the gradient of the sum of both losses, twice that of their mean.
    torch.testing.assert_close(torch.cat([p["v"] for p in parts]) / 2, v.grad)
    torch.testing.assert_close(torch.cat([p["t"] for p in parts]) / 2, t.grad)


def test_module():
    x = {"image": unit(N, D), "en": 3 * unit(N, D, seed=1), "de": unit(N, D, seed=2)}
    has = torch.arange(N) < 4
    loss = OneToK("image", "en", "de").loss(Batch(x, {"de": has, "image": torch.arange(N) > 0}))
    t = torch.stack([unit(N, D, seed=1), x["de"]], 1)[1:].flatten(0, 1)
    present = torch.stack([torch.ones(N, dtype=torch.bool), has], 1)[1:]
    torch.testing.assert_close(loss["loss"], one_to_k_loss(x["image"][1:], t, 2, 0.07, present=present))
    assert float(loss["floor"]) == pytest.approx(3 / 5 * math.log(2) / 2)


# --- mining


def test_oracle_of_mining():
    scores = 2 * unit(4, 4 * K, seed=5).float()
    draws = torch.zeros(4, K)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4000):
        mined = mine(scores, K, generator=generator)
        draws[torch.arange(4), mined.text % K] += 1
        assert (mined.text // K == torch.arange(4)).all()
        assert (mined.negative_text // K != torch.arange(4)).all()  # nor in any other language
        assert (mined.negative_item != torch.arange(4)).all()
    wanted = torch.tensor(oracle.chances_of_texts(scores.tolist(), K))
    torch.testing.assert_close(draws / 4000, wanted, atol=0.03, rtol=0)


def test_the_least_aligned_language_is_preferred():
    scores = torch.zeros(2, 2 * K)
    scores[0, 0] = scores[1, K] = 9.0  # the first language is aligned
    for prefer in ("weight", "similarity"):
        generator = torch.Generator().manual_seed(0)
        first = sum(int((mine(scores, K, generator=generator, prefer=prefer).text % K == 0).sum()) for _ in range(200))
        assert first < 10
    generator = torch.Generator().manual_seed(0)
    first = sum(int((mine(scores, K, generator=generator, prefer="any").text % K == 0).sum()) for _ in range(200))
    assert 90 < first < 180
    present = torch.tensor([[True, False, False], [False, True, True]])
    for _ in range(50):
        mined = mine(scores, K, generator=generator, present=present)
        assert all(present.reshape(-1)[rows].all() for rows in (mined.text, mined.negative_text))


# --- reading together


def tokens(n, t, d, seed=0):
    mask = torch.arange(t).expand(n, t) < torch.arange(n).remainder(t).unsqueeze(1) + 1
    return Tokens(torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed)), mask)


def fusion(**settings):
    with seeded(0):
        return Fusion(4, 5, 16, heads=2, depth=1, **settings).eval()


def test_fusion_ignores_padding():
    model, text, item = fusion(), tokens(4, 6, 4), tokens(4, 3, 5, seed=1)
    other = Tokens(*(torch.where(x.mask.unsqueeze(2), x.values, 99.0) for x in (text,)), text.mask)
    beside = Tokens(torch.where(item.mask.unsqueeze(2), item.values, -99.0), item.mask)
    torch.testing.assert_close(model.score(text, item), model.score(other, beside))


def test_matching_and_words_are_learned():
    n = 8
    generator = torch.Generator().manual_seed(0)
    texts = Tokens(torch.eye(n).repeat_interleave(2, 0).unsqueeze(1), torch.ones(2 * n, 1, dtype=torch.bool))
    items = Tokens(torch.eye(n).unsqueeze(1), torch.ones(n, 1, dtype=torch.bool))
    ids = torch.randint(5, (n, 4), generator=generator)
    with seeded(0):
        model = Fusion(n, n, 32, heads=2, depth=1, vocabulary=6)
        words, places = torch.nn.Embedding(6, n), torch.nn.Embedding(4, n)
    best = torch.optim.Adam([*model.parameters(), *words.parameters(), *places.parameters()], 1e-2)
    first = last = None
    for _ in range(120):
        mined = mine(torch.zeros(n, 2 * n), 2, generator=generator)
        loss = matching_loss(model, texts, items, mined) + masked_words_loss(
            model,
            lambda shown, mask: Tokens(words(shown) + places.weight, mask),
            ids,
            torch.ones_like(ids, dtype=torch.bool),
            items,
            generator=generator,
            blank=5,
        )
        best.zero_grad()
        loss.backward()
        best.step()
        first, last = first or float(loss.detach()), float(loss.detach())
    assert last < 0.6 * first


def test_masked_words():
    ids = torch.arange(40).view(4, 10)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 3:] = False
    generator = torch.Generator().manual_seed(0)
    shown, hidden = masked_words(ids, mask, generator=generator, blank=99, vocabulary=40, most=3)
    assert hidden.sum(1).tolist() == [3, 1, 3, 3] and not (hidden & ~mask).any()
    assert torch.equal(shown[~hidden], ids[~hidden])
    long = torch.zeros(200, 10, dtype=torch.long)
    shown, hidden = masked_words(
        long, torch.ones_like(long, dtype=torch.bool), generator=generator, blank=99, vocabulary=40
    )
    assert 0.7 < float((shown[hidden] == 99).float().mean()) < 0.9


def test_reranking():
    scores = np.random.default_rng(0).standard_normal((3, 9))
    np.testing.assert_array_equal(
        np.argsort(-rerank(scores, lambda q, items: scores[q, items], first=4)), np.argsort(-scores)
    )
    turned = rerank(scores, lambda q, items: -scores[q, items], first=4)
    for before, after in zip(np.argsort(-scores), np.argsort(-turned), strict=True):
        assert after.tolist() == [*before[:4][::-1], *before[4:]]


# --- stored vectors


def test_maps_of_stored_vectors():
    draw = np.random.default_rng(0)
    points = draw.standard_normal((60, 5))
    image, text = points @ draw.standard_normal((5, 12)), np.repeat(points, 3, 0) @ draw.standard_normal((5, 8))
    pairs = {"image": image, "text": text + 0.05 * draw.standard_normal(text.shape)}
    keys = {"image": np.arange(60), "text": np.repeat(np.arange(60), 3)}
    maps = one_to_k.OneToKMaps(width=16, hidden=16, dropout=0.0, steps=80, batch=32, lr=1e-2).fit(pairs, keys=keys)
    a, b = maps.transform("image", image), maps.transform("text", pairs["text"])
    assert ((b @ a.T).argmax(1) == keys["text"]).mean() > 0.9
    prints = {"image": fingerprint(12, modality="image"), "text": fingerprint(8)}
    space = Space({m: Map(*sides, prints[m]) for m, sides in maps.maps().items()})
    np.testing.assert_allclose(space.transform("image", image), a, atol=1e-5)
    again = one_to_k.OneToKMaps(width=16, hidden=16, dropout=0.0, steps=80, batch=32, lr=1e-2).fit(pairs, keys=keys)
    np.testing.assert_array_equal(again.transform("text", text), maps.transform("text", text))


def test_a_head_as_steps_is_the_same_function():
    with seeded(0):
        head = one_to_k.Head(6, 4, hidden=8, dropout=0.5).standardise(torch.randn(20, 6)).eval()
        torch.nn.init.normal_(head.last.weight)
    x = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(Map(*head.steps(), fingerprint(6))(x), head(torch.from_numpy(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: one_to_k_loss(unit(3, 4), unit(5, 4), 2), r"\(n·2, d\), got \(3, 4\) and \(5, 4\)"),
        (lambda: one_to_k_loss(unit(3, 4), unit(6, 4), 2, 0.0), "tau must be positive"),
        (lambda: one_to_k_loss(unit(3, 4), unit(6, 4), 2, balance="k"), "'repo' or 'mean'"),
        (lambda: one_to_k_loss(unit(3, 4), unit(6, 4), 2, present=torch.zeros(3, 2).bool()), "no item has a text"),
        (lambda: one_to_k_loss(unit(3, 4), unit(6, 4), 2, present=torch.ones(3, 2)), "must be booleans"),
        (lambda: OneToK("image"), "at least one other"),
        (lambda: OneToK("image", "en").loss(Batch({"image": unit(3, 4)})), "but not en"),
        (lambda: mine(torch.zeros(1, 2), 2, generator=torch.Generator()), "at least 2 items"),
        (lambda: mine(torch.zeros(2, 4), 2, generator=torch.Generator(), prefer="x"), "prefer is"),
        (lambda: Fusion(4, 4, 10, heads=4), "multiple of 4 heads"),
        (lambda: fusion()(tokens(3, 2, 4), tokens(2, 2, 5)), "3 texts are read with 2 items"),
        (lambda: rerank(np.zeros((2, 3)), lambda q, items: items[:1]), "match gave"),
        (lambda: one_to_k.OneToKMaps(steps=0).fit({"image": np.eye(3), "text": np.eye(3)}), "at least 1"),
        (lambda: one_to_k.OneToKMaps(lr=2.0).fit({"image": np.eye(3), "text": np.eye(3)}), "lr must lie"),
    ],
)
def test_errors(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_errors_of_names():
    with pytest.raises(NotFound, match="stands alone"):
        one_to_k.OneToKMaps(one="sound").fit({"image": np.eye(3), "text": np.eye(3)})
    with pytest.raises(BadInput, match="predicts no words"):
        masked_words_loss(fusion(), None, None, None, None, generator=torch.Generator(), blank=0)
