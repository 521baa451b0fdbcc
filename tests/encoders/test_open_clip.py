"""CLIP models of open_clip: a tiny one of the real classes, with random weights kept in a file."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus import encoders
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.core.run import seeded
from tests import require

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    """The name of a tiny model, made known to open_clip as users do for their own."""
    require.module("open_clip", "backbones")
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny.json")
    with seeded(0):
        torch.save(open_clip.create_model("tiny").state_dict(), folder / "tiny.pt")
    return f"open_clip/tiny/{folder / 'tiny.pt'}"


def test_pictures_and_texts_of_one_model(name):
    import open_clip

    image, text = encoders.load(name, "image"), encoders.load(name, "text")
    assert image.fingerprint.encoder == text.fingerprint.encoder == name
    assert image.fingerprint.weights == text.fingerprint.weights and image.fingerprint != text.fingerprint
    pictures = [Image.new("RGB", (40, 30), (i * 60, 20, 90)) for i in range(4)]
    x, y = image.encode("image", pictures, batch_size=3), text.encode("text", ["a cat", "two dogs"])
    assert x.shape == (4, 8) and y.shape == (2, 8) and x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.r_[x, y], axis=1), 1, atol=1e-6)
    model, _, transform = open_clip.create_model_and_transforms("tiny", pretrained=name.partition("tiny/")[2])
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(pictures[2])[None], normalize=True)
    np.testing.assert_allclose(x[2:3], expected.numpy(), atol=1e-6)
    assert text.encode("text", []).shape == (0, 8)


def test_errors(name, monkeypatch):
    with pytest.raises(BadInput, match="item 1 is an empty text"):
        encoders.load(name, "text").encode("text", ["a", " "])
    with pytest.raises(BadInput, match="reads image or text, not 'speech'"):
        encoders.load(name, "speech")
    with pytest.raises(BadInput, match="of the form open_clip/MODEL/PRETRAINED"):
        encoders.load("open_clip/ViT-B-32", "text")
    with pytest.raises(NotFound, match="unknown model of open_clip 'ViT-B-3x'; did you mean 'ViT-B-32'"):
        encoders.load("open_clip/ViT-B-3x/openai", "text")
    with pytest.raises(NotFound, match="unknown weights of ViT-B-32 'opena'; did you mean 'openai'"):
        encoders.load("open_clip/ViT-B-32/opena", "text")
    with pytest.raises(NotFound, match="unknown encoder 'other/one'"):
        encoders.load("other/one", "text")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"isthmus\[backbones\]"):
        encoders.load(name, "text")
