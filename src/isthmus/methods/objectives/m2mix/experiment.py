"""The data and the arms of the claims: heads of one style of emoji, fine-tuned on another, asked for a third."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from isthmus.core.report import Report
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.m2mix.loss import M3, hard_negative_loss, linear_mix
from isthmus.methods.objectives.m2mix.training import Training, fine_tune, hardness, interpolated
from isthmus.parts.projection import Projection
from isthmus.tasks import arithmetic, calibration, gap, spread, zero_shot
from isthmus.tasks.retrieval import Held

__all__ = ["measure"]

STYLES = ("openmoji", "google", "twitter")
"""Who drew the picture: the heads begin on the first, are fine-tuned on the second, and asked for the third."""
TAU = 0.03
RATES, DECAYS, WEIGHTS = (1e-3, 3e-3), (0.05, 0.5), (0.05, 0.2)
"""Every arm chooses among the same rates, and besides plain fine-tuning a decay, and a mixture the weight of m2."""
Heads = tuple[Projection, Projection]


@dataclass(frozen=True)
class World:
    """n items: pictures in s styles (n, s, d), their names, the vectors of texts (names, classes, words) by text."""

    pictures: Float[np.ndarray, "n s d"]
    names: Shaped[np.ndarray, " n"]
    labels: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    said: Mapping[str, Float[np.ndarray, " e"]]
    data: str

    def read(self, texts: Any) -> Tensor:
        """Return the vectors of texts."""
        return torch.from_numpy(np.stack([self.said[str(text)] for text in texts]))


def measure(ctx: Run) -> Report:
    """Compare the arms; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _emoji(ctx)
    held, validated, queries = ctx.pick(smoke=(16, 8, 60), small=(500, 200, 400), full=(500, 200, 1000))
    apart = _held(ctx.seed, held, world, np.arange(len(world.names)))
    train, test = apart.train["image"], apart.rows["image"]
    inner = _held(ctx.derived("validation"), validated, world, train)
    left, asked = train[inner.train["image"]], train[inner.rows["image"]]
    edits = arithmetic.make(ctx.derived("edits"), queries, names=world.names.tolist(), groups=world.groups)
    partner = np.arange(len(world.names))
    if ctx.control == "shuffled_pairs":
        partner[train] = ctx.rng("control").permutation(train)
    data, checked = (_classes(world, rows) for rows in (test, asked))
    begun = {"all": _begun(world, partner, train, ctx), "part": _begun(world, partner, left, ctx)}
    trials: Mapping[str, list[Training]] = _trials(ctx)
    rows: list[dict[str, Any]] = []

    def row(arm: str, heads: Heads, settings: Mapping[str, Any]) -> None:
        scores = _scores(world, heads, settings["tau"], data, edits, apart)
        rows.append({"arm": arm, **scores, "settings": {**settings, "data": world.data}})

    row("no fine-tuning", begun["all"], {"tau": TAU})
    for arm, settings in trials.items():
        found = []
        for training in settings:
            heads = _tuned(world, begun["part"], partner, left, training, arm, ctx)
            found.append(zero_shot.score(checked, _answer(world, heads, checked, style=-2))["top1"])
        best = settings[int(np.argmax(found))]
        heads = _tuned(world, begun["all"], partner, train, best, arm, ctx)
        chosen = {name: getattr(best, name) for name in ("tau", "lr", "weight_decay", "steps")}
        chosen |= {"searched": len(settings), "validation top1": max(found)}
        row(arm, heads, chosen | {"weights": dict(best.weights)})
        if arm == "FT":
            halves = tuple(_between(x, y) for x, y in zip(begun["all"], heads, strict=True))
            row("FT, WiSE", (halves[0], halves[1]), chosen | {"share": 0.5})
    chance, best_of = dict[str, float](), dict[str, float]()
    for task, wanted in (
        (zero_shot.TASK, data),
        (calibration.TASK, data),
        (arithmetic.TASK, edits),
        (gap.TASK, apart),
        (spread.TASK, apart),
    ):
        chance |= task.score(wanted, task.chance(wanted, ctx.derived("chance")))
        best_of |= task.score(wanted, task.best(wanted))
    rows += [{"arm": "chance", **chance, "settings": {}}, {"arm": "best", **best_of, "settings": {}}]
    return Report(rows)


def _trials(ctx: Run) -> dict[str, list[Training]]:
    """Return the settings that each arm tries: four of them for every arm."""
    steps, batch = ctx.pick(smoke=(8, 24), small=(80, 128), full=(400, 128))
    base = Training(weights={}, tau=TAU, steps=steps, batch=batch, weight_decay=DECAYS[0], seed=ctx.derived("tuning"))
    rates = [replace(base, lr=lr) for lr in RATES]
    plain = [replace(t, weight_decay=decay) for t in rates for decay in DECAYS]
    mixed = [replace(t, weights={"m2": weight}) for t in rates for weight in WEIGHTS]
    return {
        "FT": plain,
        "FT, high temperature": [replace(t, tau=0.07) for t in plain],
        "HCL": plain,
        "m2-Mix": mixed,
        "m2-Mix, linear": [replace(t, mix=linear_mix) for t in mixed],
        "m3-Mix": [replace(t, weights={**M3, **t.weights}, beta=0.2) for t in mixed],
    }


def _tuned(
    world: World,
    begun: Heads,
    partner: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " m"],
    training: Training,
    arm: str,
    ctx: Run,
) -> Heads:
    """Fine-tune copies of the heads on some items in the style of fine-tuning."""
    heads = copy.deepcopy(begun)
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    if arm == "HCL":

        def loss(a: Tensor, b: Tensor) -> Tensor:
            # at the scale of the other arms, both ways
            return (hard_negative_loss(a, b, scale=1 / TAU) + hard_negative_loss(b, a, scale=1 / TAU)) / 2

    fine_tune(
        *heads,
        torch.from_numpy(world.pictures[rows, 1]),
        world.read(world.names[partner[rows]]),
        training=training,
        loss=loss,
        progress=ctx.progress,
    )
    return heads


def _begun(world: World, partner: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"], ctx: Run) -> Heads:
    """Train heads on some items in the first style, by contrast: what every arm begins with."""
    steps, batch, width = ctx.pick(smoke=(10, 24, 16), small=(150, 128, 64), full=(900, 256, 128))
    pictures, names = torch.from_numpy(world.pictures[rows, 0]), world.read(world.names[partner[rows]])
    with seeded(ctx.derived("heads")):
        heads = (Projection(pictures, width, dropout=0.5), Projection(names, width, dropout=0.5))
    training = Training(
        weights={}, tau=TAU, steps=steps, batch=batch, lr=3e-3, weight_decay=0.05, seed=ctx.derived("begin")
    )
    fine_tune(*heads, pictures, names, training=training, progress=ctx.progress)
    return heads


def _between(before: Projection, after: Projection) -> Projection:
    between = copy.deepcopy(before)
    between.load_state_dict(interpolated(before.state_dict(), after.state_dict()))
    return between


def _scores(
    world: World, heads: Heads, tau: float, data: zero_shot.Classes, edits: arithmetic.Edits, apart: Held
) -> dict[str, float]:
    """Return every figure of two heads, on the style that neither stage has seen."""
    test = apart.rows["image"]
    with torch.inference_mode():
        items = heads[0](torch.from_numpy(world.pictures[:, -1])).numpy()
        words, names = (heads[1](world.read(texts)).numpy() for texts in (edits.words, world.names[test]))
    pairs = {"image": items[test], "text": names}
    vectors = _answer(world, heads, data, style=-1)
    return {
        **zero_shot.score(data, vectors),
        **calibration.score(data, (*vectors, 1 / tau)),
        **arithmetic.score(edits, {"item": items, "word": words}),
        **gap.score(apart, pairs),
        **spread.score(apart, pairs),
        "harder": float(hardness(pairs["image"], names)["harder"]),
    }


def _held(seed: int, size: int, world: World, rows: Int[np.ndarray, " m"]) -> Held:
    """Hold out some of the items, which the rows of the answer count from 0."""
    both = ("image", "text")
    return gap.make(
        seed, size, keys=dict.fromkeys(both, world.names[rows]), groups=dict.fromkeys(both, world.groups[rows])
    )


def _classes(world: World, test: Int[np.ndarray, " m"]) -> zero_shot.Classes:
    """Return the question which class each item is; no arm reads the names of the classes in training."""
    names = np.unique(world.labels)
    nothing = np.empty(0, dtype=np.int64)
    return zero_shot.Classes(tuple(names.tolist()), np.searchsorted(names, world.labels[test]), test, nothing)


def _answer(
    world: World, heads: tuple[nn.Module, nn.Module], data: zero_shot.Classes, *, style: int
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "c d"]]:
    with torch.inference_mode():
        items = heads[0](torch.from_numpy(world.pictures[data.rows, style])).numpy()
        return items, heads[1](world.read(data.names)).numpy()


def _made(ctx: Run) -> World:
    """Draw the counterpart of the real features for smoke: hidden points, seen and named through noise."""
    rng = ctx.rng("world")
    d, e, hidden = 20, 16, 6
    colours = ("red", "green", "blue", "grey", "pink", "brown", "white", "black")
    things = ("heart", "circle", "square", "star", "flower", "flag")
    words = {w: rng.standard_normal(hidden) for w in (*colours, *things)}
    names = [f"{colour} {thing}" for thing in things for colour in colours]
    points = np.stack([sum(words[w] for w in name.split()) for name in names])
    see, say = rng.standard_normal((hidden, d)), rng.standard_normal((hidden, e))
    pictures = np.tanh(points @ see)[:, None] + 0.3 * rng.standard_normal((len(names), 3, d))
    said = dict(zip(names, np.tanh(points @ say), strict=True)) | {w: np.tanh(p @ say) for w, p in words.items()}
    return World(
        pictures=pictures.astype(np.float32),
        names=np.array(names),
        labels=np.array([name.split()[1] for name in names]),
        groups=np.array(names),
        said={text: x.astype(np.float32) for text, x in said.items()},
        data="made: hidden points",
    )


def _emoji(ctx: Run) -> World:
    """Return the vectors of emoji in three styles, of their names, their classes and the words that are exchanged."""
    from isthmus import data, encoders
    from isthmus.tasks.features import features

    encoder = "efficientnet_lite0"
    drawn = [features(ctx, source, "image", encoder=encoder) for source in ("openmoji", "emoji_styles")]
    seen = {("openmoji", k): x for k, x in zip(drawn[0].keys.tolist(), drawn[0].x, strict=True)}
    seen |= {(v, k): x for v, k, x in zip(drawn[1].variants.tolist(), drawn[1].keys.tolist(), drawn[1].x, strict=True)}
    records = {r.key: r for r in data.load("emoji_styles").of("image") if r.variant == STYLES[-1]}
    first: dict[str, str] = {}  # a name that two emoji share would be its own stranger
    for key, record in records.items():
        if all((style, key) in seen for style in STYLES):
            first.setdefault(str(record.text), key)
    names, keys = list(first), list(first.values())
    labels = [str(records[key].meta["subcategory"]).replace("-", " ") for key in keys]
    groups = [records[key].group for key in keys]
    words = arithmetic.make(0, 10**6, names=names, groups=groups).words
    texts = sorted({*names, *labels, *words})
    read = encoders.load("e5_small", "text")

    def make() -> dict[str, np.ndarray]:
        parts = [read.encode("text", texts[start : start + 64]) for start in range(0, len(texts), 64)]
        return {"said": np.concatenate(parts).astype(np.float32)}

    kept = ctx.cached(
        "m2mix-emoji", make, fingerprint=read.fingerprint.digest, texts=len(texts), keys=[keys[0], keys[-1]]
    )
    return World(
        pictures=np.stack([[seen[style, key] for style in STYLES] for key in keys]).astype(np.float32),
        names=np.array(names),
        labels=np.array(labels),
        groups=np.array(groups),
        said=dict(zip(texts, kept["said"], strict=True)),
        data=f"emoji in {len(STYLES)} styles with English names",
    )
