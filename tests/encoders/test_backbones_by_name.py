"""hf/, timm/ and st/: tiny models of the real classes with random weights, saved to a folder, against upstream."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus import encoders
from isthmus.core.errors import BadInput, MissingExtra, NotFound
from isthmus.core.run import seeded
from tests import require

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEXTS = ["a cat", "two dogs in a garden", "c a t"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "two", "dogs", "in", "garden", "c", "t", "##s"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def pictures(n=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (30 + 5 * i, 40, 3), dtype=np.uint8)) for i in range(n)]


def sounds(n=3, rate=16_000):
    rng = np.random.default_rng(1)
    return [{"array": rng.standard_normal(8000 + 1600 * i).astype("f4") / 9, "sampling_rate": rate} for i in range(n)]


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    require.module("transformers", "backbones")
    import transformers as t

    root = tmp_path_factory.mktemp("hf")

    def tokenizer(folder, **settings):
        (root / "vocab.txt").write_text("\n".join(WORDS))
        t.BertTokenizerFast(vocab_file=str(root / "vocab.txt"), **settings).save_pretrained(folder)

    def saved(name, model, prepare=None):
        model.save_pretrained(root / name)
        if prepare is not None:
            prepare.save_pretrained(root / name)
        return root / name

    size = {"height": 32, "width": 32}
    with seeded(0):
        bert = saved("bert", t.BertModel(t.BertConfig(vocab_size=14, max_position_embeddings=12, **SMALL)))
        tokenizer(bert)
        saved("vit", t.ViTModel(t.ViTConfig(image_size=32, patch_size=16, **SMALL)), t.ViTImageProcessor(size=size))
        bare = t.ViTModel(t.ViTConfig(image_size=32, patch_size=16, **SMALL), add_pooling_layer=False)
        saved("vit_bare", bare, t.ViTImageProcessor(size=size))
        layers = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
        saved("resnet", t.ResNetModel(t.ResNetConfig(**layers)), t.ViTImageProcessor(size=size))
        clip = t.CLIPConfig(
            text_config={**SMALL, "vocab_size": 14, "max_position_embeddings": 12, "eos_token_id": 3},
            vision_config={**SMALL, "image_size": 32, "patch_size": 16},
            projection_dim=10,
        )
        tokenizer(saved("clip", t.CLIPModel(clip), t.CLIPImageProcessor(size=size, crop_size=size)))
        wav = t.Wav2Vec2Config(
            **SMALL,
            conv_dim=(8, 8),
            conv_stride=(5, 4),
            conv_kernel=(10, 8),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            num_feat_extract_layers=2,
        )
        saved("wav2vec2", t.Wav2Vec2Model(wav), t.Wav2Vec2FeatureExtractor())
        heard = t.WhisperConfig(
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            vocab_size=20,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
        saved("whisper", t.WhisperModel(heard), t.WhisperFeatureExtractor())
    return root


def upstream(folder, **settings):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, dtype=torch.float32, **settings).eval()


def check(encoder, modality, items, expected, *, atol=1e-5):
    """Equal to what upstream gives, item by item, in whatever batches; of the width that the fingerprint says."""
    found = encoder.encode(modality, items, batch_size=2)
    assert found.dtype == np.float32 and found.shape == (len(items), encoder.fingerprint.dim)
    np.testing.assert_allclose(found, np.stack([np.asarray(e).reshape(-1) for e in expected]), atol=atol, rtol=1e-4)
    assert encoder.encode(modality, []).shape == (0, encoder.fingerprint.dim)
    assert encoder.fingerprint.modality == modality


@torch.inference_mode()
def test_texts(hf):
    from transformers import AutoTokenizer

    encoder = encoders.load(f"hf/{hf / 'bert'}", "text")
    model, tokenizer = upstream(hf / "bert"), AutoTokenizer.from_pretrained(hf / "bert")
    states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in TEXTS]
    check(encoder, "text", TEXTS, [s.mean(0) for s in states])
    tokens = encoder.tokens("text", TEXTS, batch_size=2)
    assert tokens.mask.sum(1).tolist() == [len(s) for s in states]
    for values, mask, s in zip(tokens.values, tokens.mask, states, strict=True):
        np.testing.assert_allclose(values[mask], s, atol=1e-5)
        assert not values[~mask].any()
    long = encoder.encode("text", ["cat " * 50])
    assert np.isfinite(long).all(), "a text longer than the context is cut"


@torch.inference_mode()
def test_pictures(hf):
    from transformers import AutoImageProcessor

    prepare = AutoImageProcessor.from_pretrained(hf / "vit")
    shown = [prepare(images=[p], return_tensors="pt") for p in pictures()]
    for name, pooling in (("vit", "pooler"), ("vit_bare", "mean"), ("resnet", "pooler")):
        encoder = encoders.load(f"hf/{hf / name}", "image")
        model = upstream(hf / name, **({"add_pooling_layer": False} if name == "vit_bare" else {}))
        outputs = [model(**x) for x in shown]
        expected = [o.pooler_output if pooling == "pooler" else o.last_hidden_state[0].mean(0) for o in outputs]
        check(encoder, "image", pictures(), expected)
        tokens = encoder.tokens("image", pictures(), batch_size=2)
        last = outputs[1].last_hidden_state[0]
        np.testing.assert_allclose(tokens.values[1], last if last.ndim == 2 else last.flatten(1).T, atol=1e-5)
        assert tokens.mask.all()


@torch.inference_mode()
def test_both_sides_of_a_clip(hf):
    from transformers import AutoImageProcessor, AutoTokenizer

    image, text = (encoders.load(f"hf/{hf / 'clip'}", m) for m in ("image", "text"))
    model = upstream(hf / "clip")
    prepare, tokenizer = AutoImageProcessor.from_pretrained(hf / "clip"), AutoTokenizer.from_pretrained(hf / "clip")

    def vectors(found):
        return found if isinstance(found, torch.Tensor) else found.pooler_output

    shown = [vectors(model.get_image_features(**prepare(images=[p], return_tensors="pt"))) for p in pictures()]
    read = [vectors(model.get_text_features(**tokenizer(t, return_tensors="pt"))) for t in TEXTS]
    check(image, "image", pictures(), shown)
    check(text, "text", TEXTS, read)
    assert image.fingerprint.weights == text.fingerprint.weights
    assert image.fingerprint.dim == text.fingerprint.dim == 10
    assert image.tokens("image", pictures()).values.shape == (3, 5, 16)
    assert text.tokens("text", TEXTS).mask.sum(1).tolist() == [4, 7, 5]


@torch.inference_mode()
@pytest.mark.parametrize("modality", ["speech", "sound", "audio"])
@pytest.mark.parametrize("name", ["wav2vec2", "whisper"])
def test_recordings(hf, name, modality):
    from transformers import AutoFeatureExtractor

    encoder = encoders.load(f"hf/{hf / name}", modality)
    prepare, model = AutoFeatureExtractor.from_pretrained(hf / name), upstream(hf / name)
    part = model.encoder if name == "whisper" else model
    states = [
        part(**prepare(s["array"], sampling_rate=16_000, return_tensors="pt")).last_hidden_state[0] for s in sounds()
    ]
    check(encoder, modality, sounds(), [s.mean(0) for s in states])
    tokens = encoder.tokens(modality, sounds())
    assert tokens.mask.sum(1).tolist() == [len(s) for s in states]
    np.testing.assert_allclose(tokens.values[0][tokens.mask[0]], states[0], atol=1e-5)
    other = encoder.encode(modality, sounds(1, rate=8_000))
    assert other.shape == (1, 16), "another rate is converted"
    with pytest.raises(BadInput, match="item 0 is str, not a recording"):
        encoder.encode(modality, ["x"])


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet", "test_convnext"])
def test_timm(tmp_path, architecture):
    require.module("timm", "backbones")
    import timm
    from timm.data import create_transform, resolve_model_data_config
    from timm.models import save_for_hf

    with seeded(0):
        save_for_hf(timm.create_model(architecture, num_classes=7), tmp_path / "model")
    encoder = encoders.load(f"timm/{tmp_path / 'model'}", "image")
    model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    shown = [transform(p)[None] for p in pictures()]
    check(encoder, "image", pictures(), [model(x) for x in shown])
    features = model.forward_features(shown[2])[0]
    tokens = encoder.tokens("image", pictures(), batch_size=2)
    np.testing.assert_allclose(tokens.values[2], features if features.ndim == 2 else features.flatten(1).T, atol=1e-5)
    assert tokens.mask.all() and tokens.mask.shape == tokens.values.shape[:2]


@pytest.fixture(scope="module")
def st(hf, tmp_path_factory):
    require.module("sentence_transformers", "backbones")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("st")
    words = Transformer(str(hf / "bert"), max_seq_length=10)
    model = SentenceTransformer(modules=[words, Pooling(16), Normalize()], device="cpu")
    model.save(str(folder / "plain"))
    model.prompts, model.default_prompt_name = {"query": "two "}, "query"
    model.save(str(folder / "prompted"))
    return folder


def test_sentences(st):
    from sentence_transformers import SentenceTransformer

    for name, prompt in (("plain", ""), ("prompted", "two ")):
        encoder = encoders.load(f"st/{st / name}", "text")
        model = SentenceTransformer(str(st / name), device="cpu")
        check(encoder, "text", TEXTS, model.encode(TEXTS, batch_size=1, show_progress_bar=False))
        assert encoder.fingerprint.prompt == prompt and encoder.fingerprint.normalised
        states = model.encode(TEXTS, output_value="token_embeddings", show_progress_bar=False)
        tokens = encoder.tokens("text", TEXTS)
        assert tokens.mask.sum(1).tolist() == [len(s) for s in states]
        for values, mask, s in zip(tokens.values, tokens.mask, states, strict=True):
            np.testing.assert_allclose(values[mask], s.cpu(), atol=1e-5)
    both = [encoders.load(f"st/{st / name}", "text").fingerprint for name in ("plain", "prompted")]
    assert any("prompt is" in said for said in both[0].differences(both[1]))
    with pytest.raises(BadInput, match="reads text, not image"):
        encoders.load(f"st/{st / 'plain'}", "image")


def test_a_fingerprint_knows_weights_and_preparation(hf, tmp_path):
    """Saved elsewhere it differs in nothing but the name; other weights or another tokenizer are told apart."""
    import shutil

    here = encoders.load(f"hf/{hf / 'bert'}", "text").fingerprint
    shutil.copytree(hf / "bert", tmp_path / "copy")
    copy = encoders.load(f"hf/{tmp_path / 'copy'}", "text").fingerprint
    assert dataclasses.replace(copy, encoder=here.encoder) == here
    model = upstream(hf / "bert")
    model.embeddings.word_embeddings.weight.data[3] += 1
    model.save_pretrained(tmp_path / "copy")
    other = encoders.load(f"hf/{tmp_path / 'copy'}", "text").fingerprint
    # the cache of loaded models is by name, as a process has it
    assert other.weights == copy.weights
    shutil.copytree(tmp_path / "copy", tmp_path / "changed")
    assert encoders.load(f"hf/{tmp_path / 'changed'}", "text").fingerprint.weights != here.weights


def test_errors(hf, st, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name, modality in (("hf/nobody/nothing", "text"), ("st/nobody/nothing", "text"), ("timm/nobody/none", "image")):
        with pytest.raises(NotFound, match=r"is no folder here, and could not be fetched .*name a folder"):
            encoders.load(name, modality)
    (tmp_path / "empty").mkdir()
    for prefix, modality in (("hf", "text"), ("st", "text"), ("timm", "image")):
        with pytest.raises(BadInput, match=r"empty cannot be loaded|reads"):
            encoders.load(f"{prefix}/{tmp_path / 'empty'}", modality)
    with pytest.raises(NotFound, match="unknown model of timm 'vit_smal_patch16_224'; did you mean 'vit_small_patch16"):
        encoders.load("timm/vit_smal_patch16_224", "image")
    with pytest.raises(BadInput, match="timm has no trained weights of this model"):
        encoders.load(f"timm/{_untrained()}", "image")
    with pytest.raises(BadInput, match="reads image, not 'text'"):
        encoders.load("timm/vit_small_patch16_224", "text")
    with pytest.raises(BadInput, match="item 1 is an empty text"):
        encoders.load(f"hf/{hf / 'bert'}", "text").encode("text", ["a", " "])
    with pytest.raises(BadInput, match="item 0 is an empty text"):
        encoders.load(f"st/{st / 'plain'}", "text").encode("text", [""])
    with pytest.raises(BadInput, match="cannot be loaded"):
        encoders.load(f"hf/{hf / 'bert'}", "image")
    with pytest.raises(BadInput, match="cannot run on the device"):
        encoders.load(f"hf/{hf / 'bert'}", "text", device="cuda:77")
    for name, package in (("hf/x/y", "transformers"), ("st/x/y", "sentence_transformers"), ("timm/x", "timm")):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(MissingExtra, match=r"isthmus\[backbones\]"):
                encoders.load(name, "image" if package == "timm" else "text")


def _untrained():
    import timm

    trained = {name.partition(".")[0] for name in timm.list_pretrained()}
    return next(name for name in timm.list_models() if name not in trained)


def test_weights_that_are_not_there_are_refused(hf, tmp_path):
    """A model whose files lack weights would be filled with random ones, and answer all the same."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(hf / "bert", tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "cut" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"1 weights are not in the files of the model, such as encoder.layer.1"):
        encoders.load(f"hf/{tmp_path / 'cut'}", "text")
