"""The data and the arms of the claim: one tower, trained by plain contrast and by CWCL, asked for unseen intents."""

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import nn

from isthmus.core.report import Report
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.cwcl.loss import WeightFn, affine, paired, same_label, sharpened
from isthmus.methods.objectives.cwcl.report import geometry_kept, template_report
from isthmus.methods.objectives.cwcl.training import Locked, NearlyUniform, Training, fit_locked, rows_of
from isthmus.metrics.retrieval import per_query, retrieval_ranks
from isthmus.metrics.vectors import unit
from isthmus.tasks.zero_shot import TASK, Classes, class_vectors, unseen_items

__all__ = ["measure"]

TEMPLATES = ("{}", "I want to {}", "a request to {}", "please {}", "the user asks the assistant to {}")
WORD = ("{}", "the word {}", "say {}", "someone says {}")
THIRDS = 3
ARMS: Mapping[str, WeightFn] = {
    "CL": paired,
    "CWCL": affine,
    "CWCL, softmax": sharpened(0.15, centre=False),
    "SupCon": same_label,
}
"""The weights of each arm. The vectors are centred already, for all of them."""
SETTINGS = tuple({"dropout": dropout, "lr": lr} for dropout in (0.3, 0.6) for lr in (3e-3, 1e-2))
"""What every arm chooses among."""
GRAMS = 4096
"""Columns that the random encoder of the control counts trigrams in."""


@dataclass(frozen=True)
class Speech:
    """Recordings: features `u` (n, d), the frozen vector of what each says `v` (n, e), and who says what.

    `kind` is "intent", "keyword" or "general"; `label` the intent or the keyword; `group` the wording. `prompts` are
    those of each kind that has classes.
    """

    u: Float[np.ndarray, "n d"]
    v: Float[np.ndarray, "n e"]
    text: Shaped[np.ndarray, " n"]
    kind: Shaped[np.ndarray, " n"]
    label: Shaped[np.ndarray, " n"]
    group: Shaped[np.ndarray, " n"]
    voice: Int[np.ndarray, " n"]
    prompts: Mapping[str, "Prompts"]
    data: str


@dataclass(frozen=True)
class Prompts:
    """The classes of a kind: their names, and what is said of each, (c, p) texts, with its frozen vectors."""

    names: list[str]
    texts: Shaped[np.ndarray, "c p"]
    v: Float[np.ndarray, "c p e"]


def measure(ctx: Run) -> Report:
    """Compare the arms on intents, wordings and words that were not trained on; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _spoken(ctx)
    if ctx.control == "random_encoder":
        world = _random(world, ctx)
    held, inner_held, voices = ctx.pick(smoke=(4, 3, 1), small=(10, 6, 2), full=(10, 6, 2))
    spoken = ctx.rng("voices").permutation(np.unique(world.voice))
    asked, inner_voice = np.isin(world.voice, spoken[:voices]), np.isin(world.voice, spoken[voices : 2 * voices])
    intents = np.flatnonzero(world.kind == "intent")
    unseen = TASK.make(ctx.seed, held, labels=world.label[intents], groups=world.group[intents])
    known = intents[unseen.train]
    seen = unseen_items(ctx.derived("wordings"), 2, labels=world.label[known], groups=world.group[known])
    train = np.sort(np.r_[known[seen.train], np.flatnonzero(world.kind == "general")])
    train = train[~asked[train]]

    tests = {"": _asked(unseen, intents, asked), ", seen intents": _asked(seen, known, asked)}
    words = np.flatnonzero((world.kind == "keyword") & asked)
    names = world.prompts["keyword"].names
    tests[", keywords"] = Classes(tuple(names), np.searchsorted(names, world.label[words]), words, train)

    # Settings are chosen on intents and voices that are held out of the training part in the same way.
    own = train[world.kind[train] == "intent"]
    inner = TASK.make(ctx.derived("validation"), inner_held, labels=world.label[own], groups=world.group[own])
    validation = _asked(inner, own, inner_voice)
    left = np.sort(np.r_[own[inner.train], train[world.kind[train] == "general"]])
    left = left[~inner_voice[left]]

    rows: list[dict[str, Any]] = []
    for arm in ARMS:
        scores = [
            TASK.score(validation, _answer(world, left, validation, _fit(world, left, ctx, arm, **s)[0], "intent"))
            for s in SETTINGS
        ]
        found = [score["top1"] for score in scores]
        rows += _rows(arm, world, train, tests, ctx, SETTINGS[int(np.argmax(found))], validation=max(found))
    for name, data in tests.items():
        kind = "keyword" if "keyword" in name else "intent"
        read = _answer(world, train, data, None, kind)
        rows.append({"arm": f"the text itself{name}", **TASK.score(data, read), "settings": {}})
    first = tests[""]
    rows.append({"arm": "chance", **TASK.score(first, TASK.chance(first, ctx.derived("chance"))), "settings": {}})
    rows.append({"arm": "best", **TASK.score(first, TASK.best(first)), "settings": {}})
    return Report(rows)


def _asked(data: Classes, of: Int[np.ndarray, " n"], voices: Bool[np.ndarray, " n"]) -> Classes:
    """Return the test as rows of all recordings, only in the voices that are asked."""
    rows = of[data.rows]
    return replace(data, labels=data.labels[voices[rows]], rows=rows[voices[rows]], train=of[data.train])


def _fit(
    world: Speech, train: Int[np.ndarray, " n"], ctx: Run, arm: str, *, dropout: float, lr: float
) -> tuple[Float[np.ndarray, "n e"], Locked]:
    """Train a tower on some recordings and return its unit vectors of all of them."""
    steps, batch, width = ctx.pick(smoke=(25, 64, 32), small=(150, 256, 256), full=(600, 512, 512))
    mean, spread = world.u[train].mean(0), world.u[train].std(0) + 1e-6
    x = torch.from_numpy(((world.u - mean) / spread).astype(np.float32))
    v = torch.from_numpy(_frozen(world, train, world.v))
    with seeded(ctx.derived("tower")):
        tower = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(x.shape[1], width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, v.shape[1]),
        )
    rows = torch.from_numpy(train)
    _, said = np.unique(np.where(world.kind == "general", world.text, world.label), return_inverse=True)
    training = Training(weight_fn=ARMS[arm], steps=steps, batch=batch, lr=lr, seed=ctx.derived("training"))
    labels = torch.from_numpy(said)[rows] if arm == "SupCon" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearlyUniform)  # the row says how many positives there were
        fit = fit_locked(tower, rows_of(x[rows]), v[rows], training=training, ref=labels, progress=ctx.progress)
    with torch.inference_mode():
        return unit(tower(x).numpy()), fit


def _frozen(world: Speech, train: Int[np.ndarray, " n"], vectors: np.ndarray) -> Float[np.ndarray, "n e"]:
    """Return frozen vectors without the common part of what is said in training, at length 1 (both arms alike)."""
    _, first = np.unique(world.text[train], return_index=True)
    return unit(unit(vectors) - unit(world.v[train[first]]).mean(0)).astype(np.float32)


def _answer(
    world: Speech, train: Int[np.ndarray, " n"], data: Classes, p: np.ndarray | None, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of the test items (of their texts, without `p`) and of their classes."""
    items = _frozen(world, train, world.v[data.rows]) if p is None else p[data.rows]
    return items, class_vectors(_prompts(world, train, data, kind))


def _prompts(world: Speech, train: Int[np.ndarray, " n"], data: Classes, kind: str) -> Float[np.ndarray, "c p e"]:
    given = world.prompts[kind]
    own = given.v[[given.names.index(name) for name in data.names]]
    return _frozen(world, train, own.reshape(-1, own.shape[2])).reshape(own.shape)


def _rows(
    arm: str,
    world: Speech,
    train: Int[np.ndarray, " n"],
    tests: Mapping[str, Classes],
    ctx: Run,
    chosen: dict[str, float],
    *,
    validation: float,
) -> list[dict[str, Any]]:
    """Train an arm on the whole training part and return one row a test."""
    p, fit = _fit(world, train, ctx, arm, **chosen)
    v = _frozen(world, train, world.v)
    rows = []
    for name, data in tests.items():
        kind = "keyword" if "keyword" in name else "intent"
        templates = template_report(data, p[data.rows], _prompts(world, train, data, kind), seed=ctx.seed)
        found = per_query(retrieval_ranks(p[data.rows], v[data.rows], world.text[data.rows], world.text[data.rows]))
        extra = {
            **geometry_kept(p[data.rows], v[data.rows]),
            "speech_to_text r@10": float(found["r@10"].mean()),
            **{f"{k} templates top1": figures["mean"] for k, figures in templates.items()},
        }
        settings = {
            **chosen,
            "searched": len(SETTINGS),
            "validation top1": validation,
            "data": world.data,
            "recordings": len(train),
            "tested": len(data.rows),
            "effective positives": fit.positives,
            "tau": fit.tau,
        }
        rows.append(
            {
                "arm": f"{arm}{name}",
                **TASK.score(data, _answer(world, train, data, p, kind)),
                **extra,
                "settings": settings,
            }
        )
    return rows


def _random(world: Speech, ctx: Run) -> Speech:
    """Return the data with a frozen encoder that was never trained: trigrams of bytes, projected at random."""
    mix = ctx.rng("control").standard_normal((GRAMS, world.v.shape[1]))

    def read(texts: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, "n e"]:
        counts = np.zeros((len(texts), GRAMS))
        for row, text in zip(counts, texts.tolist(), strict=True):
            code = f" {text} ".encode()
            for i in range(len(code) - 2):
                row[zlib.crc32(code[i : i + 3]) % GRAMS] += 1
        return unit(counts @ mix).astype(np.float32)

    texts, at = np.unique(world.text, return_inverse=True)
    prompts = {k: replace(p, v=read(p.texts.ravel()).reshape(p.v.shape)) for k, p in world.prompts.items()}
    return replace(world, v=read(texts)[at], prompts=prompts)


def _made(ctx: Run) -> Speech:
    """Draw the counterpart of the real features for smoke: classes as regions of hidden points, heard through noise."""
    rng = ctx.rng("world")
    hidden, d, e, classes, wordings, each = 6, 40, 16, 12, 4, 6
    centres = rng.standard_normal((classes, hidden))
    label = np.repeat(np.arange(classes), wordings * each)
    group = np.repeat(np.arange(classes * wordings), each)
    texts = centres[label] + 0.7 * rng.standard_normal((classes * wordings, hidden))[group]
    points = np.r_[texts, rng.standard_normal((200, hidden)), np.repeat(centres[:5], 8, 0)]
    hear, read = rng.standard_normal((hidden, d)), rng.standard_normal((hidden, e))
    kind = np.r_[np.full(len(texts), "intent"), np.full(200, "general"), np.full(40, "keyword")]
    names = np.r_[label.astype(str), np.full(200, "general"), np.repeat(np.arange(5), 8).astype(str)]
    said = np.array([f"{k} {name} {i}" for i, (k, name) in enumerate(zip(kind, names, strict=True))])
    prompts = {}
    for k in ("intent", "keyword"):
        own = sorted(set(names[kind == k]))
        near = [np.tanh(centres[int(c)] + 0.2 * rng.standard_normal((3, hidden))) @ read for c in own]
        texts = np.array([[f"{k} {c} {i}" for i in range(3)] for c in own])
        prompts[k] = Prompts(own, texts, np.stack(near).astype(np.float32))
    return Speech(
        u=(np.tanh(points @ hear) + 0.3 * rng.standard_normal((len(points), d))).astype(np.float32),
        v=(np.tanh(points) @ read).astype(np.float32),
        text=said,
        kind=kind,
        label=names,
        group=np.r_[group.astype(str), said[len(texts) :]],
        voice=np.arange(len(points)) % 4,
        prompts=prompts,
        data="made: classes are regions of hidden points",
    )


def _spoken(ctx: Run) -> Speech:
    """Return what is said and how it is heard, encoded once.

    Each sentence is spoken in three of the eight voices, in turn, and each keyword in all. The general part, which
    stands for the open speech that the paper trains on, are the English names of OpenMoji, each in two voices.
    """
    from isthmus import data, encoders
    from isthmus.data import intents

    heard, read = encoders.load("whisper_tiny_en", "speech"), encoders.load("e5_small", "text")
    records = data.load("intents").of("text")
    names = [r.text or "" for r in data.load("openmoji").of("text") if r.variant == "en"]
    names = sorted(set(names) - {r.text for r in records})
    said = [(r.text or "", r.meta["kind"], r.meta["intent"], r.group) for r in records]
    said += [(name, "general", "", name) for name in names]
    asked = {
        "intent": np.array([[t.format(d) for t in TEMPLATES] for d in intents.DESCRIPTIONS]),
        "keyword": np.array([[t.format(word) for t in WORD] for word in intents.KEYWORDS]),
    }
    turns = {"intent": (0, 3, 5), "keyword": range(8), "general": (0, 3)}
    spoken = [(i, (i + k) % len(intents.VOICES)) for i, (_, kind, _, _) in enumerate(said) for k in turns[kind]]

    def make() -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(spoken), 64):
            block = spoken[start : start + 64]
            sounds = [intents.recording(said[i][0], intents.VOICES[voice]) for i, voice in block]
            tokens = heard.tokens("speech", sounds)  # type: ignore[attr-defined]
            parts += [_summary(x[m]) for x, m in zip(tokens.values, tokens.mask, strict=True)]
            ctx.progress("features", start + len(block), len(spoken))
        return {
            "u": np.array(parts, dtype=np.float16),
            "v": read.encode("text", [text for text, *_ in said]),
            "intents": read.encode("text", asked["intent"].ravel().tolist()),
            "keywords": read.encode("text", asked["keyword"].ravel().tolist()),
        }

    kept = ctx.cached(
        "cwcl-intents",
        make,
        fingerprints=[heard.fingerprint.digest, read.fingerprint.digest],
        recordings=[next(r.digest() for r in data.load("intents").of("speech"))],
        said=len(said),
        spoken=len(spoken),
        ends=[said[0][0], said[-1][0]],
    )
    at = np.array([i for i, _ in spoken])
    fields = [np.array(values)[at] for values in zip(*said, strict=True)]
    e = kept["v"].shape[1]
    return Speech(
        u=kept["u"].astype(np.float32),
        v=kept["v"][at],
        text=fields[0],
        kind=fields[1],
        label=fields[2],
        group=fields[3],
        voice=np.array([voice for _, voice in spoken]),
        prompts={
            "intent": Prompts(
                list(intents.DESCRIPTIONS), asked["intent"], kept["intents"].reshape(*asked["intent"].shape, e)
            ),
            "keyword": Prompts(
                list(intents.KEYWORDS), asked["keyword"], kept["keywords"].reshape(*asked["keyword"].shape, e)
            ),
        },
        data="intents spoken by espeak-ng, and OpenMoji's English names",
    )


def _summary(states: Float[np.ndarray, "t d"]) -> Float[np.ndarray, " e"]:
    """Return mean and deviation of the states of a recording, and the means of its thirds: some of the order stays."""
    thirds = [part.mean(0) for part in np.array_split(states, THIRDS)]
    return np.concatenate([states.mean(0), states.std(0), *thirds])
