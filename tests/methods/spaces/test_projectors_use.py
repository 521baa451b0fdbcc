import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.methods.spaces.projectors import (
    Features,
    Tower,
    fit_towers,
    insert_adapters,
    length_bins,
    load_projectors,
    mean_iou,
    push_projectors,
    retrieval_by,
    save_projectors,
    segment,
    trained_report,
    unlock,
    weights_hash,
    zero_shot,
)
from tests.methods.spaces.projectors_made import table, towers

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
