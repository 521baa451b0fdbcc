"""The data and the arms of the claims: new heads for two frozen encoders, and two towers that see one modality."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from isthmus.core.report import Report
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.contrastive_gap.controls import SmallCNN, same_modality
from isthmus.methods.objectives.contrastive_gap.loss import CLIP, CUA, CUAXU, CYCLIP
from isthmus.methods.objectives.contrastive_gap.training import Training, fit_towers
from isthmus.parts.projection import Projection
from isthmus.tasks import arithmetic, gap, zero_shot
from isthmus.tasks.retrieval import Held

__all__ = ["measure"]

STYLES = ("openmoji", "google", "twitter")
"""Who drew the picture; the last one is not trained on."""
LOSSES: Mapping[str, Mapping[str, float]] = {"CLIP": CLIP, "CUA": CUA, "CUAXU": CUAXU, "CyCLIP": CYCLIP}
TAU = 0.03
"""The temperature of all arms. The paper fixes that at which CLIP was pretrained, 0.01; new heads of frozen encoders
lie apart just so at 0.03, and learn more there."""
DROPOUTS = (0.3, 0.6)
TAUS = (TAU, 0.07)
"""What the arms with a chosen temperature choose among, beside the dropout."""
ARMS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    **{name: (name, (TAU,)) for name in LOSSES},
    **{f"{name}, temperature chosen": (name, TAUS) for name in ("CLIP", "CUA")},
}


@dataclass(frozen=True)
class World:
    """n items: pictures in s styles (n, s, d), their names, the vectors of texts (names, classes, words) by text."""

    pictures: Float[np.ndarray, "n s d"]
    names: Shaped[np.ndarray, " n"]
    labels: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    said: Mapping[str, Float[np.ndarray, " e"]]
    small: Float[np.ndarray, "m 3 s s"]
    """Small pictures for the towers of the one-modality experiment."""
    data: str

    def read(self, texts: Any) -> Tensor:
        """Return the vectors of texts."""
        return torch.from_numpy(np.stack([self.said[str(text)] for text in texts]))


def measure(ctx: Run) -> Report:
    """Compare the arms; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _emoji(ctx)
    held, validated, queries = ctx.pick(smoke=(16, 8, 60), small=(600, 250, 400), full=(600, 250, 1000))
    apart = _held(ctx.seed, held, world, np.arange(len(world.names)))
    train, test = apart.train["image"], apart.rows["image"]
    inner = _held(ctx.derived("validation"), validated, world, train)
    data, asked = _classes(world, test, train), _classes(world, train[inner.rows["image"]], train[inner.train["image"]])
    edits = arithmetic.TASK.make(ctx.derived("edits"), queries, names=world.names.tolist(), groups=world.groups)
    partner = np.arange(len(world.names))
    if ctx.control == "shuffled_pairs":
        partner[train] = ctx.rng("control").permutation(train)
    rows: list[dict[str, Any]] = []
    tried: dict[tuple[str, float, float], float] = {}
    for arm, (loss, taus) in ARMS.items():
        settings = [(loss, dropout, tau) for tau in taus for dropout in DROPOUTS]
        for choice in settings:
            if choice not in tried:
                heads = _heads(world, partner, asked.train, ctx, *choice)
                tried[choice] = zero_shot.score(asked, _answer(world, heads, asked, style=-2))["top1"]
        chosen = max(settings, key=tried.__getitem__)
        heads = _heads(world, partner, train, ctx, *chosen)
        with torch.inference_mode():
            items = heads[0](torch.from_numpy(world.pictures[:, -1])).numpy()
            words = heads[1](world.read(edits.words)).numpy()
            names = heads[1](world.read(world.names[test])).numpy()
        moved = {"item": items, "word": words}
        rows.append(
            {
                "arm": arm,
                **zero_shot.score(data, _answer(world, heads, data, style=-1)),
                **arithmetic.score(edits, moved),
                **{f"accuracy at {s:g}": value for s, value in arithmetic.sweep(edits, moved).items()},
                **gap.TASK.score(apart, {"image": items[test], "text": names}),
                "settings": {
                    "dropout": chosen[1],
                    "tau": chosen[2],
                    "searched": len(settings),
                    "validation top1": tried[chosen],
                    "data": world.data,
                    "classes": len(data.names),
                    "edits": len(edits.query),
                },
            }
        )
    rows += _one_modality(ctx, world)
    chance, best = dict[str, float](), dict[str, float]()
    for task, asked_for in ((zero_shot.TASK, data), (arithmetic.TASK, edits), (gap.TASK, apart)):
        chance |= task.score(asked_for, task.chance(asked_for, ctx.derived("chance")))
        best |= task.score(asked_for, task.best(asked_for))
    rows += [{"arm": "chance", **chance, "settings": {}}, {"arm": "best", **best, "settings": {}}]
    return Report(rows)


def _held(seed: int, size: int, world: World, rows: Int[np.ndarray, " m"]) -> Held:
    """Hold out some of the items, which the rows of the answer count from 0."""
    names, groups = world.names[rows], world.groups[rows]
    both = ("image", "text")
    return gap.make(seed, size, keys=dict.fromkeys(both, names), groups=dict.fromkeys(both, groups))


def _classes(world: World, test: Int[np.ndarray, " m"], train: Int[np.ndarray, " l"]) -> zero_shot.Classes:
    """Return the question which class each item is; no arm reads the names of the classes in training."""
    names = np.unique(world.labels)
    return zero_shot.Classes(tuple(names.tolist()), np.searchsorted(names, world.labels[test]), test, train)


def _heads(
    world: World,
    partner: Int[np.ndarray, " n"],
    train: Int[np.ndarray, " n"],
    ctx: Run,
    loss: str,
    dropout: float,
    tau: float,
) -> tuple[Projection, Projection]:
    """Train new heads on some items, in the styles that are not held back."""
    steps, batch, width = ctx.pick(smoke=(15, 48, 16), small=(200, 128, 64), full=(900, 256, 128))
    styles = world.pictures.shape[1] - 1
    pictures = torch.from_numpy(np.concatenate([world.pictures[train, s] for s in range(styles)]))
    names = world.read(world.names[partner[train]]).repeat(styles, 1)
    keys = torch.from_numpy(np.unique(world.names[partner[train]], return_inverse=True)[1]).repeat(styles)
    with seeded(ctx.derived("heads")):
        heads = (Projection(pictures, width, dropout=dropout), Projection(names, width, dropout=dropout))
    training = Training(
        weights=LOSSES[loss],
        tau=tau,
        steps=steps,
        batch=batch,
        lr=3e-3,
        weight_decay=0.05,
        seed=ctx.derived("training"),
    )
    fit_towers(*heads, pictures, names, training=training, keys=keys, progress=ctx.progress)
    return heads


def _answer(
    world: World, heads: tuple[Projection, Projection], data: zero_shot.Classes, *, style: int
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "c d"]]:
    with torch.inference_mode():
        items = heads[0](torch.from_numpy(world.pictures[data.rows, style])).numpy()
        return items, heads[1](world.read(data.names)).numpy()


def _one_modality(ctx: Run, world: World) -> list[dict[str, Any]]:
    """Two towers of different random weights and one modality, brought onto one another before they are trained."""
    n, steps, width = ctx.pick(smoke=(64, 10, 16), small=(512, 300, 64), full=(800, 1200, 64))
    pictures = torch.from_numpy(world.small[:n])
    if ctx.control == "shuffled_pairs":
        second = pictures[torch.from_numpy(ctx.rng("one modality").permutation(len(pictures)))]
    else:
        second = pictures
    rows: list[dict[str, Any]] = []
    for arm in ("CLIP", "CUA", "CUAXU"):
        training = Training(
            weights=LOSSES[arm], tau=0.01, steps=steps, batch=64, stop_at=0.01, seed=ctx.derived("towers")
        )
        found = same_modality(
            lambda: SmallCNN(width), pictures, training=training, second=second, progress=ctx.progress
        )
        settings = {"steps": found["steps"], "data": f"{len(pictures)} pictures of {world.data}, twice"}
        if not rows:
            rows.append({"arm": "one modality, before training", **_short(found["before"]), "settings": settings})
        rows.append(
            {"arm": f"{arm}, one modality", **_short(found["after"]), "last loss": found["loss"], "settings": settings}
        )
    return rows


def _short(report: Mapping[str, float]) -> dict[str, float]:
    return {name: report[name] for name in ("separability", "centroid distance", "matched cosine", "cross uniformity")}


def _made(ctx: Run) -> World:
    """Draw the counterpart of the real features for smoke: hidden points, seen and named through noise."""
    rng = ctx.rng("world")
    kinds, each, d, e, hidden = 6, 8, 20, 16, 6
    colours = ("red", "green", "blue", "grey", "pink", "brown", "white", "black")
    things = ("heart", "circle", "square", "star", "flower", "flag")
    words = {w: rng.standard_normal(hidden) for w in (*colours, *things)}
    names = [f"{colour} {thing}" for thing in things for colour in colours]
    assert len(names) == kinds * each
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
        small=rng.random((64, 3, 16, 16), dtype=np.float32),
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
    keys = [key for key in records if all((style, key) in seen for style in STYLES)]
    first: dict[str, str] = {}  # a name that two emoji share would be its own stranger
    for key in keys:
        first.setdefault(str(records[key].text), key)
    keys = list(first.values())
    labels = [str(records[key].meta["subcategory"]).replace("-", " ") for key in keys]
    names = [str(records[key].text) for key in keys]
    groups = [records[key].group for key in keys]
    words = arithmetic.TASK.make(0, 10**6, names=names, groups=groups).words
    texts = sorted({*names, *labels, *words})
    read = encoders.load("e5_small", "text")

    def make() -> dict[str, np.ndarray]:
        parts = [read.encode("text", texts[start : start + 64]) for start in range(0, len(texts), 64)]
        small = [_small(records[key].load()) for key in keys[::2]]
        return {"said": np.concatenate(parts).astype(np.float32), "small": np.stack(small)}

    kept = ctx.cached(
        "contrastive-gap-emoji", make, fingerprint=read.fingerprint.digest, texts=len(texts), keys=[keys[0], keys[-1]]
    )
    return World(
        pictures=np.stack([[seen[style, key] for style in STYLES] for key in keys]).astype(np.float32),
        names=np.array(names),
        labels=np.array(labels),
        groups=np.array(groups),
        said=dict(zip(texts, kept["said"], strict=True)),
        small=kept["small"].astype(np.float32) / 127.5 - 1,
        data=f"emoji in {len(STYLES)} styles with English names",
    )


def _small(picture: Any, side: int = 32) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((side, side)), dtype=np.uint8).transpose(2, 0, 1)
