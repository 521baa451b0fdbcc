import doctest
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.methods.spaces import relative_representations as method
from isthmus.methods.spaces.relative_representations import (
    Anchors,
    Coordinates,
    Head,
    RelativeLayer,
    RelativeModel,
    RelativeRepresentations,
    WordPieces,
    agreement,
    autoencoder,
    choose_anchors,
    clustered,
    fit_model,
    proxy,
    relative,
    rounded,
    side_by_side,
    smooth_steps,
    stitch,
    stratified_mean,
)
from isthmus.parts.linear import RelativeProjection
from tests.oracles import relative_representations as oracle

OFFICIAL = json.loads((Path(__file__).parents[2] / "oracles" / "official_relative.json").read_text())


def table(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def tensor(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def turn(d, seed=5):
    return np.linalg.qr(table(d, d, seed))[0]


def names(n):
    return [f"item {i}" for i in range(n)]


def test_example():
    assert doctest.testmod(method).failed == 0


# --- the layer


@pytest.mark.parametrize("similarity", ["cosine", "angular", "euclidean", "l1"])
def test_oracle(similarity):
    x, anchors = table(6, 5), table(4, 5, 1)
    found = relative(torch.from_numpy(x), torch.from_numpy(anchors), similarity).numpy()
    np.testing.assert_allclose(found, oracle.relative(x, anchors, similarity), atol=1e-7)


def test_official_numbers():
    x, anchors = (torch.tensor(OFFICIAL[name], dtype=torch.float64) for name in ("x", "anchors"))
    signs = {"cosine": (1, 0), "angular": (-1, 1), "euclidean": (-1, 0), "l1": (-1, 0), "basis": (1, 0)}
    for name, (sign, offset) in signs.items():  # theirs are distances where ours are similarities
        expected = sign * np.array(OFFICIAL[name]) + offset
        np.testing.assert_allclose(relative(x, anchors, name).numpy(), expected, atol=1e-7, err_msg=name)
    r = relative(x, anchors)
    np.testing.assert_allclose(rounded(r, 0.05).numpy(), OFFICIAL["rounded"], atol=1e-9)
    np.testing.assert_allclose(smooth_steps(r).numpy(), OFFICIAL["smooth_steps"], atol=1e-9)
    means = stratified_mean(r, torch.tensor(OFFICIAL["labels"]))
    np.testing.assert_allclose(means.numpy(), OFFICIAL["stratified_mean"], atol=1e-9)


def test_relations():
    x, anchors, q = tensor(7, 5), tensor(5, 5, seed=1), torch.from_numpy(turn(5))
    r = relative(x, anchors)
    torch.testing.assert_close(relative(3 * x @ q, 3 * anchors @ q), r)
    lengths = torch.arange(1, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(relative(lengths * x, anchors), r)
    torch.testing.assert_close(relative(anchors, anchors).diagonal(), torch.ones(5, dtype=torch.float64))
    order = torch.randperm(5, generator=torch.manual_seed(0))
    torch.testing.assert_close(relative(x, anchors[order]), r[:, order])

    far = relative(x, anchors, "euclidean")
    torch.testing.assert_close(relative(x @ q + 2, anchors @ q + 2, "euclidean"), far)
    assert not torch.allclose(relative(2 * x, 2 * anchors, "euclidean"), far)
    angular = relative(x, anchors, "angular")
    assert angular.min() >= 0 and angular.max() <= 1

    basis, any_map = relative(x, anchors, "basis"), tensor(5, 5, seed=9)
    torch.testing.assert_close(relative(x @ any_map, anchors @ any_map, "basis"), basis)
    torch.testing.assert_close(basis @ anchors, x)


@pytest.mark.parametrize("similarity", ["cosine", "angular", "euclidean", "basis"])
def test_the_layer_and_the_part_agree(similarity):
    x, anchors = table(6, 5), table(4, 5, 1)
    part = RelativeProjection(similarity=similarity).fit(anchors)
    layer = RelativeLayer(similarity=similarity, norm="none")
    plain = Coordinates(similarities=(similarity,), centring=False, norm="none")
    found = layer(torch.from_numpy(x), torch.from_numpy(anchors)).numpy()
    np.testing.assert_allclose(found, part.transform(x), atol=1e-7)
    fitted = plain.fit(anchors, Anchors.of(names(4), range(4)))
    np.testing.assert_allclose(fitted.transform(x), part.transform(x))


def test_gradients_reach_rows_and_anchors_through_rounding():
    for layer in (RelativeLayer(), RelativeLayer(bin=0.1, parts=2), RelativeLayer(similarity="angular", norm="l2")):
        x, anchors = tensor(6, 4).requires_grad_(), tensor(3, 4, seed=1).requires_grad_()
        (layer(x, anchors) * tensor(6, 3 * layer.parts, seed=2)).sum().backward()
        assert x.grad.abs().sum() > 0 and anchors.grad.abs().sum() > 0
        assert x.grad.isfinite().all() and anchors.grad.isfinite().all()
    r = tensor(3, 4).requires_grad_()
    rounded(r, 0.5).sum().backward()
    torch.testing.assert_close(r.grad, torch.ones_like(r))


def test_properties_of_the_layer():
    x, anchors = tensor(6, 4), tensor(9, 4, seed=1)
    r = RelativeLayer()(x, anchors)
    torch.testing.assert_close(r.mean(1), torch.zeros(6, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(r.var(1, unbiased=False), torch.ones(6, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(RelativeLayer(bin=1e-9, norm="none")(x, anchors), relative(x, anchors))
    pieces = RelativeLayer(parts=2, norm="none")(x, anchors)
    both = [relative(a, b) for a, b in zip(x.chunk(2, 1), anchors.chunk(2, 1), strict=True)]
    torch.testing.assert_close(pieces, torch.cat(both, 1))
    shifted = RelativeLayer(centring=True)(x + 3, anchors + 3)
    torch.testing.assert_close(shifted, RelativeLayer(centring=True)(x, anchors))


def test_clusters_and_steps():
    r = tensor(8, 3)
    centres = torch.stack([r[:4].mean(0), r[4:].mean(0)])
    found = clustered(r, centres)
    for row, given in zip(found, r, strict=True):
        nearest = min(centres, key=lambda c: float((given - c).norm()))
        torch.testing.assert_close(row, nearest)
    halves = torch.arange(-4, 5, dtype=torch.float64) / 2
    torch.testing.assert_close(smooth_steps(halves * 0.1, 0.1), halves * 0.1)


# --- anchors


def test_farthest_anchors_are_the_oracle_s():
    x = table(20, 4)
    found = choose_anchors(x, 6, "farthest", seed=3)
    first = int(np.random.default_rng(3).integers(20))
    assert found.tolist() == sorted(oracle.farthest(x, first, 6))


def test_choices_of_anchors():
    x, labels = table(30, 4), np.array(list("aab") * 10)
    for how in ("uniform", "per_class", "farthest", "kmeans", "frequent"):
        chosen = choose_anchors(x, 9, how, labels=labels, counts=np.arange(30), seed=1)
        again = choose_anchors(x, 9, how, labels=labels, counts=np.arange(30), seed=1)
        assert chosen.tolist() == again.tolist() == sorted(set(chosen.tolist())) and len(chosen) == 9
        if how == "per_class":
            assert sorted(np.unique(labels[chosen], return_counts=True)[1]) == [4, 5]
        if how == "frequent":
            assert chosen.tolist() == list(range(21, 30))
    lumps = np.repeat(10 * np.eye(3), 10, 0) + 0.1 * table(30, 3)
    assert sorted(choose_anchors(lumps, 3, "kmeans") // 10) == [0, 1, 2]
    assert choose_anchors(x, 30).tolist() == list(range(30))


def test_anchors_are_found_again(tmp_path):
    anchors = Anchors.of(names(9), [4, 2, 7])
    assert Anchors.load(anchors.save(tmp_path / "anchors.json")) == anchors
    assert anchors.rows(names(9)[::-1]).tolist() == [4, 6, 1]
    german = {"item 4": "Ding 4", "item 2": "Ding 2", "item 7": "Ding 7"}
    assert anchors.rows(["Ding 7", "Ding 4", "Ding 2"], parallel=german).tolist() == [1, 2, 0]
    with pytest.raises(NotFound, match="1 of 3 anchors are not among the 7 samples"):
        anchors.rows(names(7))
    with pytest.raises(BadInput, match="2 of them different"):
        Anchors(("a", "b", "a"))


# --- stitching


def classes(n=240, d=6, c=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(c, size=n)
    return 2 * rng.standard_normal((c, d))[labels] + rng.standard_normal((n, d)), labels


def test_a_stitched_head_does_not_notice_a_rotation():
    x, labels = classes()
    turned = 3 * x @ turn(6)
    anchors = Anchors.of(names(240), range(20))
    ours, theirs = (Coordinates().fit(v[:20], anchors) for v in (x, turned))
    head = Head(steps=60).fit(ours.transform(x), labels, anchors=anchors)
    stitched = stitch(theirs, head)
    np.testing.assert_allclose(stitched.scores(turned), head.scores(ours.transform(x)), atol=1e-4)
    assert (stitched.predict(turned) == labels).mean() > 0.8
    absolute = Head(steps=200, lr=0.02).fit(x, labels)
    assert (absolute.scores(turned).argmax(1) == labels).mean() < (absolute.scores(x).argmax(1) == labels).mean() - 0.2


def test_several_similarities_stand_side_by_side():
    x, anchors = table(9, 4), Anchors.of(names(5), range(5))
    both = Coordinates(similarities=("cosine", "euclidean")).fit(x[:5], anchors).transform(x)
    alone = [Coordinates(similarities=(s,)).fit(x[:5], anchors).transform(x) for s in ("cosine", "euclidean")]
    np.testing.assert_allclose(both, np.concatenate(alone, 1))
    bins = Coordinates(bin=0.25, norm="none").fit(x[:5], anchors).transform(x)
    np.testing.assert_allclose(bins * 4, np.round(bins * 4), atol=1e-9)


def test_errors_of_stitching():
    x, labels = classes(40)
    one, other = Anchors.of(names(40), range(10)), Anchors.of(names(40), range(5, 15))
    coordinates = Coordinates().fit(x[:10], one)
    head = Head(steps=2).fit(coordinates.transform(x), labels, anchors=other)
    with pytest.raises(BadInput, match="10 anchors and the head was trained on 10, 5 of them the same"):
        stitch(coordinates, head)
    backwards = Anchors(one.ids[::-1])
    with pytest.raises(BadInput, match="in another order"):
        stitch(Coordinates().fit(x[9::-1], backwards), Head(steps=2).fit(x, labels, anchors=one))
    with pytest.raises(BadInput, match="fitted with their anchors"):
        stitch(coordinates, Head(steps=2).fit(x, labels))
    with pytest.raises(BadInput, match="9 vectors for 10 anchors"):
        Coordinates().fit(x[:9], one)
    with pytest.raises(BadInput, match="10 coordinates"):
        Head(steps=2).fit(x, labels).scores(table(3, 10))
    with pytest.raises(BadInput, match="labels are all"):
        Head().fit(x, np.zeros(40))


# --- models that are trained end to end


def test_autoencoders_of_two_seeds_can_be_stitched():
    hidden = table(400, 4)
    x = torch.from_numpy(np.tanh(hidden @ table(4, 16, 1))).float()
    error = {}
    for kind in (True, False):
        models = [autoencoder(x[:40], 12, hidden=48, relative=kind, seed=seed) for seed in (0, 1)]
        for seed, model in enumerate(models):
            fit_model(model, x, x, nn.functional.mse_loss, steps=250, lr=3e-3, seed=seed)
        with torch.inference_mode():
            own = sum(nn.functional.mse_loss(m(x), x) for m in models) / 2
            crossed = [(models[0], models[1]), (models[1], models[0])]
            stitched = sum(nn.functional.mse_loss(b.head(a.encode(x)), x) for a, b in crossed) / 2
        error[kind] = float(stitched / own)
    assert error[True] < error[False] / 2


def test_anchors_are_encoded_anew_without_dropout():
    encoder = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.9), nn.BatchNorm1d(4))
    model = RelativeModel(encoder, nn.Identity(), torch.randn(6, 5), RelativeLayer(norm="none"))
    x = torch.randn(8, 5)
    model.train()
    seen = []
    model.relative.register_forward_hook(lambda layer, given, out: seen.append(given[1].detach()))
    model(x), model(x)
    assert encoder.training
    with torch.no_grad():
        encoder[0].weight.mul_(-1)
    model(x)
    # the batch moves the stored statistics, and so the anchors; dropout does not: no column is zeroed
    assert all(len(a.unique()) == a.numel() for a in seen)
    assert not torch.allclose(seen[1], seen[2])


# --- measures


def test_measures():
    a, b = table(30, 5), table(30, 5, 1)
    assert agreement(a, b)["mrr"] == pytest.approx(oracle.mean_reciprocal_rank(a, b))
    assert agreement(a, 2 * a) == {"jaccard": 1.0, "mrr": 1.0, "cosine": pytest.approx(1.0)}
    assert agreement(a, b)["mrr"] < 0.4
    noise = [proxy(a + s * b, a) for s in (0.0, 0.5, 2.0)]
    assert noise[0] == pytest.approx(1) and noise == sorted(noise, reverse=True)
    with pytest.raises(BadInput, match="same items and anchors"):
        proxy(a, b[:, :3])
    with pytest.raises(BadInput, match="of one shape"):
        agreement(a, b[:, :3])


def test_side_by_side_shows_every_item_and_escapes_names():
    picture = side_by_side({"a<b": table(12, 4), "c": table(12, 4, 1), "d": table(12, 3)}, list("xyz") * 4)
    assert picture.count("<circle") == 36 and "a&lt;b" in picture and picture.startswith("<svg")
    with pytest.raises(BadInput, match="12 labelled rows"):
        side_by_side({"a": table(11, 4)}, list("xyz") * 4)


def test_word_pieces():
    texts = ["red apple", "green apple", "red car", "blue car", "green tree", "red trees"]
    words = WordPieces(width=5).fit(texts)
    vectors = words.encode([*texts, "Trees", "qqq"])
    assert vectors.shape == (8, 5) and vectors.dtype == np.float32
    unit = vectors[:7] / np.linalg.norm(vectors[:7], axis=1, keepdims=True)
    assert set(np.argsort(-(unit[6] @ unit[:6].T))[:2]) == {4, 5}
    assert not vectors[7].any()
    with pytest.raises(BadInput, match="not fitted"):
        WordPieces().encode(texts)


# --- the estimator


def test_a_rotated_modality_gets_the_same_vectors():
    x = table(60, 6)
    for keep in (1.0, 0.3):
        fitted = RelativeRepresentations(anchors=20, keep=keep).fit({"a": x, "b": 4 * x @ turn(6)})
        np.testing.assert_allclose(fitted.transform("a", x), fitted.transform("b", x @ turn(6)), atol=1e-9)
        assert fitted.transform("a", x).shape == (60, 20) and len(set(fitted.anchors_.ids)) == 20


def test_three_modalities_meet_in_their_common_items():
    points = table(80, 5)
    pairs = {m: points @ turn(9, seed)[:5] for seed, m in enumerate(("image", "speech", "text"))}
    keys = {m: np.array(names(80)) for m in pairs}
    pairs["speech"], keys["speech"] = pairs["speech"][30:], keys["speech"][30:]
    fitted = RelativeRepresentations(anchors=1000, keep=0.2).fit(pairs, keys=keys)
    assert set(fitted.anchors_.ids) == set(names(80)[30:])
    a, b = fitted.transform("image", pairs["image"][30:]), fitted.transform("speech", pairs["speech"])
    assert ((a @ b.T).argmax(1) == np.arange(50)).mean() > 0.9


def test_errors():
    x = table(20, 4)
    with pytest.raises(BadInput, match=r"0 of .* are: at least 2"):
        RelativeRepresentations().fit({"a": x, "b": x}, keys={"a": np.arange(20), "b": np.arange(20, 40)})
    with pytest.raises(BadInput, match="keep is a share"):
        RelativeRepresentations(keep=0.0).fit({"a": x, "b": x})
    with pytest.raises(BadInput, match="25 anchors among 20 rows"):
        choose_anchors(x, 25)
    with pytest.raises(BadInput, match="need labels of 20 rows"):
        choose_anchors(x, 5, "per_class")
    with pytest.raises(BadInput, match="is none of uniform"):
        choose_anchors(x, 5, "best")
    with pytest.raises(BadInput, match="same number of columns"):
        relative(tensor(3, 4), tensor(2, 5))
    with pytest.raises(BadInput, match="cannot be cut into 3"):
        RelativeLayer(parts=3)(tensor(3, 4), tensor(2, 4))
    with pytest.raises(BadInput, match="is no layer"):
        RelativeLayer(similarity="dot")
    with pytest.raises(BadInput, match="bins of size 0"):
        rounded(tensor(3, 4), 0)
