import json

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.methods.objectives.one_to_k import (
    RECIPES,
    Head,
    Training,
    emoji_names,
    fit_languages,
    m2m100,
    mean_rank_variance,
    translated,
    unrepeated,
)
from isthmus.metrics.retrieval import retrieval_ranks
from tests import require

N, K = 48, 4


def world(accent=0.6):
    draw = np.random.default_rng(0)
    points = draw.standard_normal((N, 5))
    items = points @ draw.standard_normal((5, 12))
    accents = accent * draw.standard_normal((K, 5, 8))
    texts = np.einsum("nh,khe->nke", points, draw.standard_normal((5, 8)) + accents)
    return torch.from_numpy(items).float(), torch.from_numpy(texts).float()


def heads(text=8):
    with seeded(0):
        return Head(12, 8, hidden=16, dropout=0.0), Head(text, 8, hidden=16, dropout=0.0)


def first(item, text, items, texts):
    with torch.no_grad():
        v = nn.functional.normalize(item(items), dim=1).numpy()
        t = nn.functional.normalize(text(texts), dim=2).numpy()
    keys = np.arange(len(v))
    return np.stack([retrieval_ranks(t[:, k], v, keys, keys).first for k in range(t.shape[1])], 1)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe):
    items, texts = world()
    see, read = heads()
    training = Training(steps=60, batch=16, lr=1e-2)
    before = first(see, read, items, texts)
    done = fit_languages(see, read, items, texts, recipe=recipe, training=training)
    assert (first(see, read, items, texts) == 1).mean() > (before == 1).mean() + 0.3
    assert done.texts == 60 * 16 * RECIPES[recipe].texts(K) and len(done.history) == 60
    other = heads()
    fit_languages(*other, items, texts, recipe=recipe, training=training)
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), other[1].parameters(), strict=True))


def test_the_same_text_in_all_languages_is_found_alike():
    items, texts = world()
    same = texts[:, :1].repeat(1, K, 1)
    for recipe in RECIPES:
        see, read = heads()
        fit_languages(see, read, items, same, recipe=recipe, training=Training(steps=5, batch=16))
        assert mean_rank_variance(first(see, read, items, same)) == 0


def test_what_is_not_there_is_not_read():
    items, texts = world()
    present = torch.ones(N, K, dtype=torch.bool)
    present[::2, 2] = present[1::3, 0] = False
    spoiled = texts.where(present.unsqueeze(2), 1e3)
    for recipe in RECIPES:
        see, read = heads()
        settings = {"recipe": recipe, "present": present, "training": Training(steps=8, batch=16)}
        done = fit_languages(see, read, items, spoiled, **settings)
        clean = heads()
        fit_languages(*clean, items, texts, **settings)
        assert all(torch.allclose(a, b) for a, b in zip(read.parameters(), clean[1].parameters(), strict=True)), recipe
        assert done.texts <= 8 * 16 * RECIPES[recipe].texts(K)


def test_a_language():
    """A language that is read nowhere is asked for without training; a few items in it add it."""
    items, texts = world(0.1)
    texts = torch.cat([texts, torch.zeros_like(texts)], 2)
    texts[:, 3] = texts[:, 3].roll(8, 1)  # numbers that the other languages do not use
    see, read = heads(16)
    without = torch.ones(N, K, dtype=torch.bool)
    without[:, 3] = False
    fit_languages(see, read, items, texts, present=without, training=Training(steps=80, batch=16, lr=1e-2))
    zero_shot = (first(see, read, items, texts) == 1).mean(0)
    few = torch.arange(N) % 3 == 0
    fit_languages(see, read, items[few], texts[few], training=Training(steps=60, batch=16, lr=1e-2))
    few_shot = (first(see, read, items, texts) == 1).mean(0)
    assert zero_shot[:3].min() > 0.8 > 0.2 > zero_shot[3]
    assert few_shot[3] > zero_shot[3] + 0.2


def test_any_items():
    """Recordings: the tower of the items takes whatever they are, here frames of a spectrum of any tower."""

    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 8)

        def forward(self, x):
            return self.head(x.mean(1))

    draw = torch.Generator().manual_seed(0)
    points = torch.randn(N, 6, generator=draw)
    sounds = points.unsqueeze(1) + 0.3 * torch.randn(N, 10, 6, generator=draw)
    texts = torch.stack([points @ torch.randn(6, 8, generator=draw) for _ in range(2)], 1)
    with seeded(0):
        hear, read = Frames(), Head(8, 8, hidden=16, dropout=0.0)
    done = fit_languages(hear, read, sounds, texts, training=Training(steps=80, batch=16, lr=1e-2))
    assert done.history[-1]["loss"] < 0.5 * done.history[0]["loss"]
    assert (first(hear, read, sounds, texts) <= 3).mean() > 0.6


def process(rank, store, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    items, texts = world()
    see, read = heads()
    mine = slice(rank * 8, rank * 8 + 8)  # one batch of 16 in two halves
    fit_languages(see, read, items[mine], texts[mine], training=Training(steps=1, batch=8, lr=1e-2, gather=True))
    torch.save(read.state_dict(), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_model(tmp_path):
    torch.multiprocessing.spawn(process, (tmp_path / "store", tmp_path), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    items, texts = world()
    see, read = heads()
    fit_languages(see, read, items[:16], texts[:16], training=Training(steps=1, batch=16, lr=1e-2))
    for name, value in read.state_dict().items():
        torch.testing.assert_close(parts[0][name], parts[1][name], rtol=0, atol=0)
        torch.testing.assert_close(parts[0][name], value, rtol=1e-4, atol=1e-5)


# --- texts in more languages


def test_translation_fills_what_is_missing():
    asked = []

    def shout(texts, source, target):
        asked.append((tuple(texts), source, target))
        return [f"{target}:{text}" for text in texts]

    captions = [{"en": "cat", "de": "Katze"}, {"en": "dog "}, {"fr": "chien"}]
    texts, written = translated(captions, ["en", "de"], shout)
    assert texts.tolist() == [["cat", "Katze"], ["dog", "de:dog"], ["en:chien", "de:chien"]]
    assert written.tolist() == [[False, False], [False, True], [True, True]]
    assert sorted(asked) == [(("chien",), "fr", "de"), (("chien",), "fr", "en"), (("dog",), "en", "de")]
    assert unrepeated(np.array([["Taxi", "taxi", "такси"]])).tolist() == [[True, False, True]]


def test_names_of_emoji_are_translated_offline():
    texts, written = translated([{"en": "cat"}, {"en": "dog"}], ["en", "de", "fr"], emoji_names)
    assert texts[:, 1].tolist() == ["katze", "hund"] and written[:, 1:].all()
    with pytest.raises(BadInput, match="names no emoji"):
        emoji_names(["no such thing"], "en", "de")
    with pytest.raises(BadInput, match="no names in 'xx'"):
        emoji_names(["cat"], "en", "xx")


def test_a_translation_model(tmp_path):
    for package in ("transformers", "sentencepiece"):
        require.module(package, "backbones")
    import sentencepiece
    import transformers

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a cat sits", "the dog runs", "a bird sings"] * 20),
        model_prefix=str(tmp_path / "words"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    words = [line.split("\t")[0] for line in (tmp_path / "words.vocab").read_text().splitlines()]
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *words]))}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.M2M100Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "words.model"))
    folder = tmp_path / "model"
    tokenizer.save_pretrained(folder)
    config = transformers.M2M100Config(
        vocab_size=2 * len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
    )
    with seeded(0):
        transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    translate = m2m100(str(folder), longest=12)
    found = translate(["a cat", "the dog"], "en", "de")
    assert len(found) == 2 and all(isinstance(text, str) for text in found)
    with pytest.raises(BadInput, match="does not know the language 'xx'"):
        translate(["a cat"], "en", "xx")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Training(steps=0), "steps = 0"),
        (lambda: Training(lr=2), "lr = 2"),
        (lambda: fit_languages(*heads(), torch.ones(3, 12), torch.ones(2, 4, 8)), r"texts \(n, K, …\)"),
        (
            lambda: fit_languages(*heads(), *world(), present=torch.zeros(N, K, dtype=torch.bool)),
            "with a text of each item",
        ),
        (lambda: translated([{"en": " "}], ["en"], emoji_names), "caption 0 has no text"),
        (lambda: translated([{"en": "a"}], ["en", "de"], lambda *_: []), "0 translations for 1 texts"),
        (lambda: translated([{"en": "a"}], ["en", "en"], emoji_names), "all different"),
    ],
)
def test_errors(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_errors_of_recipes():
    with pytest.raises(NotFound, match="recipe"):
        fit_languages(*heads(), *world(), recipe="one_to_one")
