"""The small dual encoder: its parts, its data, its checkpoint, and that it learns and is the same again."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus import data, encoders
from isthmus.core.batch import Batch
from isthmus.core.errors import BadInput, NotFound
from isthmus.core.run import seeded
from isthmus.data.records import DataSet, Record, text_record
from isthmus.encoders import dual
from isthmus.encoders.dual.pairs import Drawn, Order, augment, gather, split, words
from isthmus.encoders.dual.words import ids_of, train_tokenizer
from isthmus.parts.kept import read_log
from tests import require

ROOT = Path(__file__).parents[2]
TINY = dual.PRESETS["dual_tiny"]
TEXTS = ["a red cube", "a blue ball", "ein Würfel", "赤い"]


@pytest.fixture(scope="module", autouse=True)
def tokenizers():
    require.module("tokenizers", "train")


@pytest.fixture(scope="module")
def world():
    return [data.load("world", **TINY.options["world"])]


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    return dual.fit(world, settings=TINY.settings, out=tmp_path_factory.mktemp("dual"), method="dual_tiny")


@pytest.fixture(params=["resnet", "vit"])
def model(request):
    with seeded(0):
        shape = dual.Shape(picture=request.param, side=32, picture_width=16, text_width=16, dim=8, vocabulary=300)
        tokenizer = train_tokenizer(TEXTS, vocabulary=300)
        return dual.DualEncoder(dataclasses.replace(shape, vocabulary=tokenizer.get_vocab_size()), tokenizer).eval()


def pictures(n, side=40):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (side, side - 8, 3), np.uint8)) for _ in range(n)]


# --- the module


def test_tokens_and_vectors(model):
    for modality, items in (("image", pictures(3)), ("text", TEXTS)):
        x = model.prepare(modality, items)
        vectors = model.encode(modality, x)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(items)), atol=1e-5)
        values, mask = model.tokens(modality, x)
        mean = (values * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(torch.nn.functional.normalize(mean, dim=1), vectors)
        tower = model.towers[modality]
        again, _ = tower.tokens(x, embedded=tower.embed(x))
        torch.testing.assert_close(again, tower.tokens(x)[0])


def test_a_text_does_not_depend_on_its_batch(model):
    together = model.encode("text", model.prepare("text", TEXTS))
    for row, text in zip(together, TEXTS, strict=True):
        torch.testing.assert_close(model.encode("text", model.prepare("text", [text]))[0], row)
    x = model.prepare("text", ["a red cube", "a cube red"])
    assert not torch.allclose(*model.encode("text", x)), "the order of words matters"


def test_gradients_reach_everything(model):
    model.train()
    x = {m: model.prepare(m, items) for m, items in (("image", pictures(4)), ("text", TEXTS))}
    with torch.no_grad():  # a block of the ResNet begins as its shortcut
        for name, parameter in model.named_parameters():
            if "norm2" in name:
                parameter.add_(0.1)
    table = model.towers["text"].embed(x["text"]).detach().requires_grad_()
    model.towers["text"].tokens(x["text"], embedded=table)[0].sum().backward()
    assert table.grad is not None, "token embeddings are within reach"
    model.zero_grad()
    model.loss(Batch(x))["loss"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert model.temperature == pytest.approx(0.07)


def test_near_duplicates_are_no_negatives(model):
    x = {m: model.prepare(m, items) for m, items in (("image", pictures(4)), ("text", TEXTS))}
    everything = model.loss(Batch(x, y=torch.zeros(4, dtype=torch.long)))["loss"]
    assert float(everything.detach()) == pytest.approx(0, abs=1e-5)
    plain, apart = (model.loss(Batch(x, y=y))["loss"] for y in (None, torch.arange(4)))
    torch.testing.assert_close(plain, apart)


def test_tokenizer():
    tokenizer = train_tokenizer(TEXTS * 3, vocabulary=320)
    assert tokenizer.to_str() == train_tokenizer(TEXTS[::-1] * 3, vocabulary=320).to_str()
    ids = ids_of(tokenizer, ["A RED cube", "赤い", "नमस्ते"], longest=6)
    assert (
        ids.shape == (3, 6)
        and ids[0, 0] != 0
        and (ids_of(tokenizer, ["a red cube"], longest=6)[0] > 0).sum() == (ids[0] > 0).sum()
    )
    assert tokenizer.decode(ids[1][ids[1] > 0].tolist()).strip() == "赤い"
    with pytest.raises(BadInput, match="at least 300"):
        train_tokenizer(TEXTS, vocabulary=100)


# --- what it learns from


def picture():
    return pictures(1)[0]


def records(name, rows):
    found = []
    for key, group, variant, text in rows:
        found.append(
            Record(key=key, modality="image", variant=variant, group=group, load=picture, digest=lambda: "0" * 64)
        )
        if text:
            found.append(text_record(key, text, variant="en", group=group))
    return DataSet(name, found, data.card("world"))


def test_near_duplicates_of_held_out_items_are_not_trained_on():
    rows = [(f"k{i}", f"k{i // 2 * 2}", "", f"thing {i}") for i in range(8)]
    other = [(f"k{i}", "k1" if i in (1, 4) else f"k{i}", "b", "") for i in range(8)]
    sets = [records("one", rows), records("two", other)]
    held, without = split(sets, hold_out=1)
    (key,) = held
    pairs = [{0, 1, 4, 5}, {2, 3}, {6, 7}]  # in pairs by the first data set; the second one joins two of them
    assert without == {f"k{i}" for own in pairs if int(key[1]) in own for i in own}
    left = gather(sets, side=32, languages=["en"], without=without)
    assert left.n == 8 - len(without) and len(left.pictures) == 2 * left.n and set(left.domain) == {0}
    assert split(sets, hold_out=0) == (set(), set())


def test_what_may_be_mirrored(world):
    rows = [("a", "", "", "left arrow"), ("b", "", "", "red heart"), ("c", "", "", "a cleft")]
    assert gather([records("one", rows)], side=32, languages=["en"]).mirrors.tolist() == [False, True, True]


def test_batches_depend_on_seed_and_step_alone(world):
    pairs = gather(world, side=32, languages=["en", "fr"])
    order = Order(pairs.domain, 10, 30, seed=3)
    first, again = list(order), list(order)
    assert len(first) == len(order) == 30
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    epoch = np.concatenate([items for _, items in first[: pairs.n // 10]])
    assert len(set(epoch.tolist())) == len(epoch)
    drawn = Drawn(pairs, 3, english=0.5, strength=1.0)
    whole, texts = drawn(*first[7])
    halves = [drawn(*first[7], slice(k, k + 5)) for k in (0, 5)]
    assert torch.equal(whole, torch.cat([half[0] for half in halves]))
    assert texts == halves[0][1] + halves[1][1]
    assert not torch.equal(whole, drawn(8, first[7][1])[0])


def test_augmentation():
    x = np.stack([np.asarray(p.resize((32, 32))) for p in pictures(5)])
    draws = np.random.default_rng(0).random((5, 11))
    plain = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(augment(x, np.zeros(5, bool), draws, strength=0.0), plain, atol=1e-4, rtol=0)
    draws[:, 9] = 0
    mirrored = augment(x, np.ones(5, bool), draws, strength=0.0)
    torch.testing.assert_close(mirrored, plain.flip(3), atol=1e-4, rtol=0)
    changed = augment(x, np.zeros(5, bool), draws, strength=1.0)
    assert (changed - plain).abs().mean() > 0.1 and torch.isfinite(changed).all()
    white = augment(np.full_like(x, 255), np.zeros(5, bool), np.full((5, 11), 0.5), strength=1.0)
    torch.testing.assert_close(white, torch.ones_like(white)), "the border of an icon stays as it is"
    rng = np.random.default_rng(0)
    found = {words("a, b, c", True, rng) for _ in range(50)}
    assert {"a", "b, a"} <= found and words("a, b", False, rng) == "a, b"


# --- training


def test_it_learns(built, world):
    log = read_log(built.folder / "log.jsonl")
    assert len(log) == TINY.settings.steps and np.mean([r["loss"] for r in log[-5:]]) < log[0]["loss"]
    assert built.head["training"]["items"] == 96
    again = dual.fit(world, settings=TINY.settings, out=built.folder, method="dual_tiny")
    assert again.head == built.head, "a finished training is returned"


KILLED = """
from isthmus import data
from isthmus.encoders import dual
preset = dual.PRESETS["dual_tiny"]
sets = [data.load("world", **preset.options["world"])]
dual.fit(sets, settings=preset.settings, out={out!r}, method="dual_tiny", every=3)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_kill_minus_nine(built, world, tmp_path):
    work = subprocess.Popen([sys.executable, "-c", KILLED.format(out=str(tmp_path))], cwd=ROOT)
    while work.poll() is None and not (tmp_path / "checkpoint.safetensors").exists():
        time.sleep(0.002)
    work.send_signal(signal.SIGKILL)
    assert work.wait() == -signal.SIGKILL and not (tmp_path / "dual.json").exists()
    done = len(read_log(tmp_path / "log.jsonl"))
    assert 0 < done < TINY.settings.steps
    resumed = dual.fit(world, settings=TINY.settings, out=tmp_path, method="dual_tiny", every=3)
    assert resumed.head["sha256"] == built.head["sha256"], "the same weights to the bit"
    assert len(read_log(tmp_path / "log.jsonl")) == TINY.settings.steps


# --- by name


def test_by_name_it_builds_itself_once():
    begun = time.process_time()
    text = encoders.load("dual_tiny", "text")
    assert time.process_time() - begun < 10  # two seconds, most of them imports, where nobody else works
    image = encoders.load("dual_tiny", "image")
    assert text.model is image.model
    said, seen = text.encode("text", TEXTS), image.encode("image", pictures(3))
    assert said.shape == (4, 32) and seen.shape == (3, 32) and said.dtype == np.float32
    assert text.fingerprint.weights == image.fingerprint.weights and text.fingerprint.dim == 32
    for side, items in ((text, TEXTS), (image, pictures(3))):
        tokens = side.tokens(side.modality, items, batch_size=2)
        assert tokens.values.shape[:2] == tokens.mask.shape and not tokens.values[~tokens.mask].any()
        mean = tokens.values.sum(1) / tokens.mask.sum(1, keepdims=True)
        unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(unit, side.encode(side.modality, items), atol=1e-5)
    by_path = encoders.load(f"dual/{dual.home('dual_tiny')}", "text")
    np.testing.assert_array_equal(by_path.encode("text", TEXTS), said)
    assert text.encode("text", []).shape == (0, 32)


def test_errors(built, world, tmp_path):
    with pytest.raises(NotFound, match="isthmus train dual_vit"):
        encoders.load("dual_vit", "text")
    with pytest.raises(BadInput, match="reads image or text, not 'sound'"):
        encoders.load("dual_tiny", "sound")
    dual.save_model(built.model, tmp_path / "a")
    head = json.loads((tmp_path / "a" / "dual.json").read_text())
    weights = tmp_path / "a" / head["weights"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"model-.*safetensors cannot be read"):
        dual.load_model(tmp_path / "a")
    weights.write_bytes(whole)
    for change, message in (
        ({"shape": {**head["shape"], "dim": 16}}, r"another architecture: heads.image.weight is \(32, 64\) there"),
        ({"shape": {**head["shape"], "picture": "vit"}}, "another architecture: it lacks towers.image.places|lacks"),
        ({"kind": "open_clip"}, "another architecture: 'open_clip'"),
        ({"shape": {}}, "is damaged"),
        ({"weights": "../x.safetensors"}, "plain name"),
        ({"format_version": 9}, "update isthmus"),
    ):
        (tmp_path / "a" / "dual.json").write_text(json.dumps({**head, **change}))
        with pytest.raises(BadInput, match=message):
            dual.load_model(tmp_path / "a")
    with pytest.raises(NotFound, match="not a dual encoder"):
        dual.load_model(tmp_path / "b")
    empty = dataclasses.replace(world[0], records=world[0].of("image"))
    with pytest.raises(BadInput, match=r"world: 0 items have a picture and a text in en; at least 2"):
        dual.fit([empty], settings=TINY.settings, out=tmp_path / "c")
    with pytest.raises(BadInput, match="at least one data set"):
        dual.fit([], settings=TINY.settings, out=tmp_path / "c")
    for wrong, message in (
        ({"steps": 0}, "steps = 0"),
        ({"english": 2.0}, "english = 2.0"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"side": 40}, "side = 40 pixels"),
        ({"dim": 0}, "'dim': 0"),
    ):
        with pytest.raises(BadInput, match=message):
            dataclasses.replace(TINY.settings, **wrong)
    with pytest.raises(NotFound, match="did you mean 'resnet'"):
        dual.Shape(picture="resnett")
    with pytest.raises(NotFound, match="did you mean 'max_objects'"):
        data.load("world", max_object=3)
