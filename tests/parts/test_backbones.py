"""Tiny models of the real classes with random weights: what is loaded by name works as a tower."""

import sys

import pytest
import torch

from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.core.run import seeded
from isthmus.parts.backbones import Pictures, Sentences, Speech, backbone
from tests import require


def learns(module, *inputs):
    """A gradient reaches every parameter that its output depends on."""
    module.zero_grad()
    vectors = module(*inputs)
    (vectors * torch.arange(vectors.numel()).reshape(vectors.shape).cos()).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
    return vectors.detach()


def test_pictures_of_timm():
    require.module("timm", "backbones")
    with seeded(0):
        model = backbone("timm/test_vit", pretrained=False)
        x = torch.rand(2, 3, 160, 160)
    assert isinstance(model, Pictures) and not model.training
    assert learns(model, x).shape == (2, model.width)


def test_pictures_of_a_model_with_a_head_of_its_own():
    require.module("timm", "backbones")
    with seeded(0):
        model = backbone("timm/mobilenetv3_small_050", pretrained=False)
        x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert model(x).shape == (2, model.width)
    with pytest.raises(BadInput, match="names no weights"):
        backbone("open_clip/ViT-B-32")


def test_pictures_of_open_clip():
    require.module("open_clip", "backbones")
    import open_clip

    with seeded(0):
        whole = open_clip.CLIP(
            embed_dim=8,
            vision_cfg={"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
            text_cfg={"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
        )
        x = torch.rand(2, 3, 32, 32)
    assert learns(Pictures(whole.visual, whole.visual.output_dim), x).shape == (2, 8)


def test_a_whisper_of_a_folder(tmp_path):
    require.module("transformers", "backbones")
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8, max_source_positions=10, vocab_size=40,
        pad_token_id=1, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    with seeded(0):
        made = WhisperModel(config)
        x = torch.rand(2, 8, 20)
    made.save_pretrained(tmp_path)
    model = backbone(f"whisper/{tmp_path}")
    assert isinstance(model, Speech)
    with torch.no_grad():
        torch.testing.assert_close(model(x), made.eval().encoder(x).last_hidden_state.mean(1))
    assert learns(model, x).shape == (2, model.width) == (2, 16)
    with pytest.raises(BadInput, match=r"hears \(n, 8, 20\)"):
        model(x[..., :10])


def test_sentences_of_a_folder(tmp_path):
    require.module("sentence_transformers", "backbones")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {w: i for i, w in enumerate(["[UNK]", "play", "music", "stop"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with seeded(0):
        made = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=6)], device="cpu")
    made.save(str(tmp_path))
    model = backbone(f"st/{tmp_path}")
    assert isinstance(model, Sentences)
    texts = ["play music", "stop"]
    assert learns(model, texts).shape == (2, model.width) == (2, 6)
    with torch.no_grad():
        torch.testing.assert_close(model(texts), torch.from_numpy(made.encode(texts)))


def test_errors(monkeypatch):
    for name in ("resnet50", "timm/", "openai/clip", "st/"):
        with pytest.raises(NotFound, match="no backbone is called"):
            backbone(name)
    for package, name in (
        ("timm", "timm/resnet50"),
        ("open_clip", "open_clip/ViT-B-32/openai"),
        ("transformers", "openai/whisper-tiny"),
        ("sentence_transformers", "sentence-transformers/all-MiniLM-L6-v2"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=rf"{name} needs the package '{package}': pip install 'isthmus\[backb"):
            backbone(name)
