"""hf/ on families that want their input in a way of their own: SigLIP, CLAP, T5, against upstream."""

import numpy as np
import pytest
import torch

from isthmus import encoders
from isthmus.core.run import seeded
from tests import require

from .test_backbones_by_name import SMALL, TEXTS, WORDS, check, pictures, sounds, upstream

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def t():
    require.module("transformers", "backbones")
    import transformers

    return transformers


def tokenizer(t, folder, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    t.BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), **settings).save_pretrained(folder)
    return t.AutoTokenizer.from_pretrained(folder)


def vectors(found):
    return found if isinstance(found, torch.Tensor) else found.pooler_output


@torch.inference_mode()
def test_siglip_reads_texts_of_one_length(t, tmp_path):
    """It takes the last place of a text as its vector, and was trained on texts filled up to the context."""
    config = t.SiglipConfig(
        text_config={**SMALL, "vocab_size": 14, "max_position_embeddings": 12, "projection_size": 16},
        vision_config={**SMALL, "image_size": 32, "patch_size": 16},
    )
    with seeded(0):
        t.SiglipModel(config).save_pretrained(tmp_path)
    prepare = t.SiglipImageProcessor(size={"height": 32, "width": 32})
    prepare.save_pretrained(tmp_path)
    words = tokenizer(t, tmp_path, model_input_names=["input_ids"], model_max_length=12)
    model = upstream(tmp_path)
    image, text = (encoders.load(f"hf/{tmp_path}", m) for m in ("image", "text"))
    filled = [words(one, padding="max_length", max_length=12, return_tensors="pt") for one in TEXTS]
    check(text, "text", TEXTS, [vectors(model.get_text_features(**one)) for one in filled])
    shown = [prepare(images=[p], return_tensors="pt") for p in pictures()]
    check(image, "image", pictures(), [vectors(model.get_image_features(**one)) for one in shown])
    alone = text.encode("text", TEXTS[:1])
    np.testing.assert_allclose(alone, text.encode("text", TEXTS)[:1], atol=1e-5)


@torch.inference_mode()
def test_clap_hears_and_reads(t, tmp_path):
    config = t.ClapConfig(
        text_config={**SMALL, "vocab_size": 14, "max_position_embeddings": 40, "pad_token_id": 0},
        audio_config={
            "num_mel_bins": 16,
            "spec_size": 64,
            "patch_size": 4,
            "patch_stride": [4, 4],
            "window_size": 4,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "num_classes": 3,
            "enable_fusion": False,
        },
        projection_dim=10,
    )
    with seeded(0):
        t.ClapModel(config).save_pretrained(tmp_path)
    settings = {"sampling_rate": 16_000, "max_length_s": 1, "fft_window_size": 512, "frequency_max": 8000}
    prepare = t.ClapFeatureExtractor(feature_size=16, hop_length=160, truncation="rand_trunc", **settings)
    prepare.save_pretrained(tmp_path)
    words = tokenizer(t, tmp_path)
    model = upstream(tmp_path)
    heard, read = encoders.load(f"hf/{tmp_path}", "sound"), encoders.load(f"hf/{tmp_path}", "text")
    asked = [words(one, return_tensors="pt") for one in TEXTS]
    check(read, "text", TEXTS, [vectors(model.get_text_features(**one)) for one in asked])
    given = [prepare(s["array"], sampling_rate=16_000, return_tensors="pt") for s in sounds()]
    check(
        heard, "sound", sounds(), [vectors(model.get_audio_features(input_features=g["input_features"])) for g in given]
    )


@torch.inference_mode()
def test_t5_is_heard_at_its_encoder(t, tmp_path):
    config = t.T5Config(
        vocab_size=14, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    with seeded(0):
        t.T5Model(config).save_pretrained(tmp_path)
    words = tokenizer(t, tmp_path)
    encoder = encoders.load(f"hf/{tmp_path}", "text")
    model = t.T5EncoderModel.from_pretrained(tmp_path).eval()
    read = [words(one, return_tensors="pt") for one in TEXTS]
    states = [
        model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]).last_hidden_state[0] for one in read
    ]
    check(encoder, "text", TEXTS, [s.mean(0) for s in states])
