"""The data and the arms of the claim: heads of one encoder on the vectors of another, relative, absolute, rotated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from isthmus.core.report import Report
from isthmus.core.run import Run
from isthmus.methods.spaces.relative_representations.anchors import Anchors, choose_anchors
from isthmus.methods.spaces.relative_representations.stitching import Coordinates, Head, stitch
from isthmus.methods.spaces.relative_representations.words import WordPieces
from isthmus.metrics.vectors import unit
from isthmus.parts.linear import Procrustes
from isthmus.tasks.stitching import TASK, Grid

__all__ = ["measure"]

PICTURES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PIECES = ("en", "de", "es")
"""Languages with a text encoder of their own, which has seen no other language."""
SETTINGS = tuple(
    {"dropout": dropout, "weight_decay": decay} for dropout, decay in ((0.1, 0.01), (0.4, 0.1), (0.7, 1.0))
)
"""What every arm's heads choose among."""
WIDTH = 256
"""Wider vectors are brought to so many principal directions, for all arms: 3,632 columns are slow to rotate."""
Answer = dict[tuple[str, str], Float[np.ndarray, "n c"]]


@dataclass(frozen=True)
class World:
    """n items: vectors {encoder: (n, d)}, texts {encoder: (n,)} to fit one on, labels, keys and duplicate groups."""

    vectors: Mapping[str, Float[np.ndarray, "n d"]]
    texts: Mapping[str, Shaped[np.ndarray, " n"]]
    labels: Shaped[np.ndarray, " n"]
    keys: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    data: str

    @property
    def encoders(self) -> tuple[str, ...]:
        """All encoders, those that are fitted on texts at the end."""
        return (*self.vectors, *self.texts)

    def fitted(self, train: Int[np.ndarray, " m"]) -> dict[str, Float[np.ndarray, "n d"]]:
        """Return the vectors of all encoders, at most `WIDTH` wide; fitting sees training items alone."""
        words = {name: WordPieces().fit(texts[train].tolist()) for name, texts in self.texts.items()}
        found = {**self.vectors, **{name: w.encode(self.texts[name].tolist()) for name, w in words.items()}}
        return {name: _leading(x, x[train]) for name, x in found.items()}


def _leading(x: Float[np.ndarray, "n d"], train: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n e"]:
    """Return vectors along the leading principal directions of some of them, about the mean of these."""
    if x.shape[1] <= WIDTH:
        return x
    x, train = x.astype(np.float64), train.astype(np.float64)
    mean = train.mean(0)
    # the table of items by items is smaller than that of columns by columns
    values, vectors = np.linalg.eigh((train - mean) @ (train - mean).T)
    directions = (train - mean).T @ vectors[:, -WIDTH:] / np.sqrt(values[-WIDTH:])
    return np.asarray((x - mean) @ directions)


def measure(ctx: Run) -> Report:
    """Compare the arms on held-out items; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _emoji(ctx)
    held, validated = ctx.pick(smoke=(60, 40), small=(300, 200), full=(300, 200))
    data = TASK.make(ctx.seed, held, keys=world.keys, groups=world.groups, labels=world.labels, encoders=world.encoders)
    train = data.train
    inner = TASK.make(
        ctx.derived("validation"),
        validated,
        keys=world.keys[train],
        groups=world.groups[train],
        labels=world.labels[train],
        encoders=world.encoders,
    )
    left, asked = train[inner.train], train[inner.rows]
    counts = ctx.pick(smoke=(10, 40), small=(25, 50, 100, 300), full=(25, 50, 100, 300, 500))
    arms: dict[str, dict[str, Any]] = {
        "relative": {"anchors": counts[-1]},
        "absolute": {"anchors": 0},
        "rotated": {"anchors": counts[-1]},
        "relative, rounded": {"anchors": counts[-1], "bin": 0.1},
        **{f"relative, {k} anchors": {"anchors": k} for k in counts[:-1]},
    }
    rows: list[dict[str, Any]] = []
    inside, outside = world.fitted(left), world.fitted(train)
    for arm, about in arms.items():
        found = []
        for choice in SETTINGS:
            answer = _answer(arm, inside, world, left, asked, ctx, about, choice)
            # what is chosen by may not look at two encoders: nobody who stitches could
            found.append(TASK.score(inner, answer)["own"])
        chosen = SETTINGS[int(np.argmax(found))]
        answer = _answer(arm, outside, world, train, data.rows, ctx, about, chosen)
        settings = {**chosen, **about, "searched": len(SETTINGS), "validation own": max(found), "data": world.data}
        rows.append({"arm": arm, **TASK.score(data, answer), **_across(data, answer), "settings": settings})
    rows.append({"arm": "chance", **TASK.score(data, TASK.chance(data, ctx.derived("chance"))), "settings": {}})
    rows.append({"arm": "best", **TASK.score(data, TASK.best(data)), "settings": {}})
    return Report(rows)


def _answer(
    arm: str,
    vectors: Mapping[str, Float[np.ndarray, "n d"]],
    world: World,
    train: Int[np.ndarray, " m"],
    test: Int[np.ndarray, " q"],
    ctx: Run,
    about: Mapping[str, Any],
    choice: Mapping[str, float],
) -> Answer:
    """Train a head on each encoder and ask it about the test items as every encoder sees them."""
    steps = ctx.pick(smoke=20, small=150, full=400)
    k = min(int(about["anchors"]), len(train))
    chosen = choose_anchors(np.ones((len(train), 1)), k, seed=ctx.derived("anchors")) if k else np.empty(0, int)
    named = Anchors.of(world.keys[train].tolist(), chosen) if k else None
    mixed = ctx.rng("control")
    # under the control no encoder's anchors are those that its name says
    rows = {name: train[mixed.permutation(chosen) if ctx.control == "shuffled_pairs" else chosen] for name in vectors}
    labels, answer = world.labels[train], Answer()
    if arm.startswith("relative"):
        assert named is not None
        seen = {name: Coordinates(bin=about.get("bin", 0.0)).fit(x[rows[name]], named) for name, x in vectors.items()}
        learned = {}
        for name, x in vectors.items():
            head = Head(steps=steps, **choice)  # type: ignore[arg-type]
            learned[name] = head.fit(seen[name].transform(x[train]), labels, anchors=named, seed=ctx.derived(name))
        return {(a, b): stitch(seen[a], learned[b]).scores(vectors[a][test]) for a in vectors for b in vectors}
    centred = {name: _unit(x - x[train].mean(0)) for name, x in vectors.items()}
    widest = max(x.shape[1] for x in centred.values())
    padded = {name: np.pad(x, ((0, 0), (0, widest - x.shape[1]))) for name, x in centred.items()}
    for b in vectors:
        own = padded[b] if arm == "absolute" else centred[b]
        head = Head(steps=steps, **choice).fit(_norm(own[train]), labels, seed=ctx.derived(b))  # type: ignore[arg-type]
        for a in vectors:
            if arm == "absolute":
                offered = padded[a][test]
            elif a == b:
                offered = centred[a][test]
            else:
                turned = Procrustes(centring=False).fit(centred[a][rows[a]], centred[b][rows[b]])
                offered = turned.transform(centred[a][test])
            answer[a, b] = head.scores(_norm(offered))
    return answer


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return rows of length 1; a text without a known piece stays where it is."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9))


def _norm(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return rows of mean 0 and variance 1, as relative coordinates get them too."""
    centred = x - x.mean(1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-12))


def _across(data: Grid, answer: Answer) -> dict[str, float]:
    """Return the mean accuracy of stitching within a modality and across two, by the kind of encoder in its name."""
    found = TASK.score(data, answer)
    kinds: dict[str, list[float]] = {"stitched within a modality": [], "stitched across modalities": []}
    for a, b in data.pairs:
        if a != b:
            same = a.split(" ")[0] == b.split(" ")[0]
            kinds[f"stitched {'within a modality' if same else 'across modalities'}"].append(found[f"{a} → {b}"])
    return {name: float(np.mean(values)) for name, values in kinds.items() if values}


def _made(ctx: Run) -> World:
    """Draw the counterpart of the real vectors for smoke: hidden points of five classes, seen through turned noise."""
    rng = ctx.rng("world")
    n, hidden = 260, 8
    number = rng.integers(5, size=n)
    points = 1.5 * rng.standard_normal((5, hidden))[number] + rng.standard_normal((n, hidden))
    vectors = {
        f"{kind} {d}": (points @ np.linalg.qr(rng.standard_normal((d, hidden)))[0].T).astype(np.float32)
        + 0.1 * rng.standard_normal((n, d), dtype=np.float32)
        for kind, d in (("picture", 24), ("picture", 20), ("text", 16))
    }
    letters = np.array(list("abcdefghijklmnop"))
    texts = np.array([" ".join(letters[np.argsort(-p)[:4]] + letters[np.argsort(p)[:4]]) for p in points])
    keys = np.array([f"item {i}" for i in range(n)])
    return World(vectors, {"text pieces": texts}, number.astype(str), keys, keys, "made: hidden points of five classes")


def _emoji(ctx: Run) -> World:
    """Return the vectors of OpenMoji pictures and English names, names in three languages, and the emoji's groups."""
    from isthmus import data
    from isthmus.tasks.features import features

    records = data.load("openmoji").records
    category = {r.key: str(r.meta["category"]) for r in records if r.modality == "image" and r.meta["category"]}
    names = {(r.variant, r.key): r.text or "" for r in records if r.modality == "text" and r.variant in PIECES}
    groups = {r.key: r.group for r in records}
    keys = sorted(key for key in category if all((code, key) in names for code in PIECES))
    vectors = {}
    for kind, encoder, variants in (*(("image", e, None) for e in PICTURES), ("text", "e5_small", ("en",))):
        found = features(ctx, "openmoji", kind, encoder=encoder, variants=variants)
        row = {key: i for i, key in enumerate(found.keys.tolist())}
        vectors[f"{kind} {encoder}"] = unit(found.x[[row[key] for key in keys]].astype(np.float32))
    return World(
        vectors=vectors,
        texts={f"text pieces {code}": np.array([names[code, key] for key in keys]) for code in PIECES},
        labels=np.array([category[key] for key in keys]),
        keys=np.array(keys),
        groups=np.array([groups[key] for key in keys]),
        data=f"OpenMoji, {len(keys)} emoji of {len(set(category.values()))} groups",
    )
