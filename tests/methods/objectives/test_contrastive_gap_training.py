"""Training with the terms, the experiments with one modality, a new projection, the maps and the drawings."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.methods.objectives.contrastive_gap import (
    CLIP,
    CUA,
    EvenMaps,
    SmallCNN,
    Training,
    aligned,
    explained,
    fit_towers,
    gap_report,
    plane_view,
    resized,
    same_modality,
    spectrum_plot,
    sphere,
    sphere_film,
    sweep,
)
from isthmus.store.store import Store
from isthmus.workbench.align import align
from isthmus.workbench.diagnose import diagnose
from tests import require
from tests.workbench.test_diagnose import fill


def pictures(n=64, seed=0):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def tower():
    return SmallCNN(32, channels=(8, 16))


def cones(n=40, d=6, apart=2.0, seed=0):
    rng = np.random.default_rng(seed)
    shift = np.zeros(d)
    shift[0] = apart
    points = rng.standard_normal((n, d))
    return points + shift, points - shift


# --- the experiments of the paper


def test_the_gap_comes_back_without_cones_and_the_terms_close_it():
    """Towers of one kind, one set of pictures, no gap to begin with: contrast alone parts them."""
    plain, closed = (
        same_modality(tower, pictures(200), training=Training(weights=w, tau=0.01, steps=250, batch=64, lr=3e-3))
        for w in (CLIP, CUA)
    )
    assert plain["before"] == closed["before"]
    assert plain["before"]["separability"] < 0.65 and plain["loss"] < 0.05
    assert plain["after"]["separability"] > 0.9 and closed["after"]["separability"] < 0.75
    assert plain["after"]["centroid distance"] > 3 * plain["before"]["centroid distance"]
    assert closed["after"]["centroid distance"] < plain["after"]["centroid distance"] / 3


def test_relations_of_the_towers():
    training = Training(weights=CLIP, tau=0.1, steps=1, batch=64)
    for kind in ("copy", "shared"):
        found = same_modality(tower, pictures(), training=training, towers=kind)["before"]
        assert found["separability"] == 0.5 and found["alignment"] == pytest.approx(0, abs=1e-5)
    with seeded(0):
        one, other = tower(), tower()
    x = pictures()
    with torch.no_grad():
        a = torch.nn.functional.normalize(one(x), dim=1)
    gaps = []
    for gap in (0.0, 0.5, 1.0):
        turned = aligned(one, other, x, x, gap=gap)
        torch.testing.assert_close(turned.turn @ turned.turn.T, torch.eye(32), atol=1e-5, rtol=0)
        with torch.no_grad():
            gaps.append(gap_report(a.numpy(), turned(x).numpy())["centroid distance"])
    with torch.no_grad():
        raw = gap_report(a.numpy(), torch.nn.functional.normalize(other(x), dim=1).numpy())["centroid distance"]
    assert gaps[0] < gaps[1] < gaps[2] < raw + 0.1


def test_other_partners_and_held_items():
    training = Training(weights=CLIP, tau=0.1, steps=3, batch=32)
    found = same_modality(tower, pictures(), training=training, second=pictures(seed=1), held=pictures(20, 2), gap=None)
    assert found["steps"] == 3 and np.isfinite(found["loss"])
    ended = same_modality(tower, pictures(), training=Training(steps=50, stop_at=1e9), gap=None)
    assert ended["steps"] == 1


def test_sweep_and_film():
    training = Training(weights=CLIP, steps=20, lr=0.05, batch=32)

    def experiment(d, own):
        return {"d": d, "gap": gap_report(*sphere(32, training=own, d=d, frames=2)[-1])["centroid distance"]}

    found = sweep(experiment, training=training, dimensions=(3, 8), temperatures=(0.02, 0.3))
    assert list(found) == [(3, 0.02), (3, 0.3), (8, 0.02), (8, 0.3)]
    assert found[8, 0.3]["gap"] < found[8, 0.02]["gap"]  # a low temperature keeps the gap
    film = sphere(24, training=training, frames=4)
    assert len(film) == 5 and film[0][0].shape == (24, 3)
    assert gap_report(*film[0])["separability"] == 1
    svg = ElementTree.fromstring(sphere_film(film))
    dots = [e for e in svg.iter() if e.tag.endswith("circle")]
    assert len(dots) == 1 + 48
    (across, *_) = [e for e in dots[1].iter() if e.tag.endswith("animate")]
    assert len(across.get("values").split(";")) == 5


# --- towers, and a pretrained model with a new projection


def test_towers_of_any_kind():
    a, b = (torch.from_numpy(x).float() for x in cones())
    with seeded(0):
        one, other = torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)
    history = fit_towers(one, other, a, b, training=Training(tau=0.1, steps=60, batch=20, lr=0.05))
    assert len(history) == 60 and not one.training
    assert set(history[0]) == {"loss", *CUA}
    assert history[-1]["loss"] < history[0]["loss"]
    shared = torch.nn.Linear(6, 4)
    before = shared.weight.detach().clone()
    fit_towers(shared, shared, a, b, training=Training(tau=0.1, steps=2, batch=20), keys=torch.arange(40) // 2)
    assert not torch.equal(before, shared.weight)


def test_a_clip_model_gets_a_new_projection():
    require.module("open_clip", "backbones")
    from open_clip import CLIP as Clip

    tiny = {"width": 16, "layers": 1, "heads": 2}
    with seeded(0):
        model = Clip(
            8,
            vision_cfg={"image_size": 16, "patch_size": 8, "head_width": 8, "width": 16, "layers": 1},
            text_cfg={"context_length": 6, "vocab_size": 20, **tiny},
        )
        images, texts = torch.rand(6, 3, 16, 16), torch.randint(1, 20, (6, 6))
    assert resized(model, 5) is model
    assert model.encode_image(images).shape == model.encode_text(texts).shape == (6, 5)
    again = resized(model, 5, seed=1)
    assert again.visual.proj.requires_grad

    class Side(torch.nn.Module):
        def __init__(self, encode):
            super().__init__()
            self.model, self.encode = model, encode

        def forward(self, x):
            return self.encode(x)

    sides = Side(model.encode_image), Side(model.encode_text)
    before = model.visual.proj.detach().clone()
    history = fit_towers(*sides, images, texts, training=Training(tau=0.1, steps=20, batch=6, lr=1e-2))
    assert history[-1]["loss"] < history[0]["loss"]
    assert not torch.equal(before, model.visual.proj)


def test_linear_layers_are_projections_too():
    model = torch.nn.ModuleDict({"heads": torch.nn.ModuleDict({"image": torch.nn.Linear(7, 3)})})
    resized(model, 5, ["heads.image"])
    assert model["heads"]["image"](torch.zeros(1, 7)).tolist() == [[0.0] * 5]
    with pytest.raises(NotFound, match=r"heads\.sound"):
        resized(model, 5, ["heads.sound"])
    with pytest.raises(NotFound, match=r"visual\.proj"):
        resized(model, 5)
    with pytest.raises(BadInput, match="at least 1"):
        resized(model, 0, ["heads.image"])


# --- the maps


def test_maps_close_the_gap_of_a_store(tmp_path):
    """Through the workbench: align with the method, and diagnose what it made."""
    rng = np.random.default_rng(1)
    keys = [f"k{i:03d}" for i in range(240)]
    hidden = rng.standard_normal((240, 8))
    store = Store.create(tmp_path / "store", source={"name": "two cones"})
    for modality, shift in (("image", 2.0), ("text", -2.0)):
        x = np.tanh(hidden @ rng.standard_normal((8, 24))) + 0.8 * rng.standard_normal((240, 24)) + shift
        fill(store, modality, keys, [""] * 240, x, "clip")
    found = {}
    for loss in ("clip", "cua"):
        space = align(
            store,
            modalities=["image", "text"],
            method="contrastive_gap",
            settings={"loss": loss, "tau": "0.02", "width": "32", "steps": "150", "dropout": "0"},
            hold_out=60,
        )
        held = space.card["training"]["held_out"]
        found[loss] = diagnose(store, space=space, keys=held)["pairs"]["image:text"]
    raw = found["cua"]["raw"]
    assert raw["separability"] == 1
    assert found["cua"]["mapped"]["modality_gap"] < found["clip"]["mapped"]["modality_gap"] < raw["modality_gap"]
    assert found["cua"]["mapped"]["alignment"] < found["clip"]["mapped"]["alignment"]
    json.dumps(found)


def test_maps():
    a, b = cones(60)
    pairs = {"image": a, "text": b}
    model = EvenMaps(width=4, steps=30, batch=20, tau=0.1).fit(pairs)
    again = EvenMaps(width=4, steps=30, batch=20, tau=0.1).fit(pairs)
    x = model.transform("image", a)
    np.testing.assert_array_equal(x, again.transform("image", a))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    torch.testing.assert_close(model.transform("image", torch.from_numpy(a)).float(), torch.from_numpy(x).float())
    assert set(model.history_[0]) == {"loss", *CUA}
    assert set(EvenMaps(loss="cyclip", width=4, steps=1).fit(pairs).history_[0]) == {"loss", "contrast", "cyclic"}


# --- figures and drawings


def test_report():
    a, b = cones()
    same, apart = gap_report(a, a), gap_report(3 * a[:, ::-1] + 20 * np.eye(6)[0], b - 20 * np.eye(6)[0])
    assert (same["separability"], same["centroid distance"]) == (0.5, 0)
    assert same["matched cosine"] == pytest.approx(1) == same["rsa"]
    assert same["a to b r@1"] == same["b to a r@1"] == 1
    assert apart["separability"] == 1 and apart["centroid cosine"] == pytest.approx(-1, abs=0.05)
    x = a / np.linalg.norm(a, axis=1, keepdims=True)
    assert same["rank a"] == (np.linalg.svd(x, compute_uv=False) > 1).sum()
    flat = gap_report(np.ones((6, 3)), cones(6, 3)[1])
    assert flat["rsa"] == 0 and flat["uniformity a"] == pytest.approx(0)


def test_drawings():
    a, b = cones(300, 5)
    view = plane_view(a, b, names=("image", "<text>"))
    assert len(list(ElementTree.fromstring(view).iter())) > 400 and "&lt;text&gt;" in view
    shares = explained(a)
    values = np.linalg.svd(a - a.mean(0), compute_uv=False) ** 2
    np.testing.assert_allclose(shares, values.cumsum() / values.sum())
    plot = spectrum_plot({"image": a, "text": b[:, :3]})
    assert plot.count("axes hold 90 %") == 2
    ElementTree.fromstring(plot)


def test_errors():
    a, b = cones()
    with pytest.raises(BadInput, match="at least 1 step"):
        Training(batch=1)
    with pytest.raises(BadInput, match="lr = 2"):
        Training(lr=2)
    with pytest.raises(NotFound, match="aligment"):
        Training(weights={"aligment": 1.0})
    line = torch.nn.Linear(6, 2)
    with pytest.raises(BadInput, match="40 and 39"):
        fit_towers(line, line, torch.zeros(40, 6), torch.zeros(39, 6))
    with pytest.raises(BadInput, match="'two', 'copy' or 'shared'"):
        same_modality(tower, pictures(), training=Training(), towers="three")
    with pytest.raises(BadInput, match="must be pairs"):
        same_modality(tower, pictures(), training=Training(), second=pictures(3))
    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        aligned(line, line, torch.zeros(4, 6), torch.zeros(4, 6), gap=2)
    with pytest.raises(BadInput, match="at least 2 pairs"):
        sphere(1)
    with pytest.raises(BadInput, match="2 frames"):
        sphere_film([(a, b)])
    with pytest.raises(BadInput, match="no variance"):
        explained(np.ones((4, 2)))
    with pytest.raises(BadInput, match="at least one table"):
        spectrum_plot({})
    with pytest.raises(NotFound, match="claip"):
        EvenMaps(loss="claip").fit({"image": a, "text": b})
    with pytest.raises(BadInput, match="tau = 0"):
        EvenMaps(tau=0).fit({"image": a, "text": b})
    model = EvenMaps(width=2, steps=1).fit({"image": a, "text": b})
    with pytest.raises(NotFound, match="smell"):
        model.transform("smell", a)
    with pytest.raises(BadInput, match="without NaN"):
        model.transform("image", a * np.nan)
    with pytest.raises(BadInput, match="not fitted"):
        EvenMaps().transform("image", a)
    with pytest.raises(BadInput, match="pairs in one space"):
        gap_report(a, b[:, :3])
