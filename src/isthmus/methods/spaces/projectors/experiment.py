"""The data and the two arms of the claim: towers on tokens against ridge, with equal search on the same concepts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from isthmus.core.report import Report
from isthmus.core.run import Run
from isthmus.methods.spaces.projectors.modules import Tower
from isthmus.methods.spaces.projectors.training import Features, fit_towers
from isthmus.methods.spaces.projectors.unlock import trained_report
from isthmus.metrics.vectors import unit
from isthmus.tasks.retrieval import TASK

__all__ = ["measure"]

Vectors = dict[str, Float[np.ndarray, "n d"]]


@dataclass(frozen=True)
class World:
    """Paired features of n items: picture `tokens` (n, t, d), pooled `text` (n, e), keys and duplicate groups."""

    tokens: Float[np.ndarray, "n t d"]
    text: Float[np.ndarray, "n e"]
    keys: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    data: str

    @property
    def pooled(self) -> Float[np.ndarray, "n d"]:
        """The mean token, which plays CLS."""
        return np.asarray(self.tokens.mean(1, dtype=np.float32))


def measure(ctx: Run) -> Report:
    """Compare both arms on held-out concepts; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _openmoji(ctx)
    held, validated = ctx.pick(smoke=(60, 40), small=(300, 200), full=(300, 200))
    data = TASK.make(ctx.seed, held, keys=_two(world.keys), groups=_two(world.groups))
    train = data.train["image"]
    # The concepts for choosing settings are held out from the training part in the same way, near-duplicates too.
    inner = TASK.make(
        ctx.derived("validation"), validated, keys=_two(world.keys[train]), groups=_two(world.groups[train])
    )
    partner = np.arange(len(world.keys))
    if ctx.control == "shuffled_pairs":
        partner[train] = ctx.rng("control").permutation(train)
    steps = ctx.pick(smoke=40, small=240, full=600)
    width = ctx.pick(smoke=32, small=256, full=512)
    arms: dict[str, tuple[list[dict[str, Any]], Callable[..., tuple[Vectors, dict[str, float]]]]] = {
        "ridge": ([{"penalty": p} for p in (0.01, 0.05, 0.2, 1.0, 5.0)], _ridge),
        "token + MLP": (
            [{"steps": steps, "width": width, "dropout": p} for p in (0.1, 0.2, 0.3, 0.5, 0.7)],
            _towers,
        ),
    }
    rows: list[dict[str, Any]] = []
    for arm, (settings, fit) in arms.items():
        found = []
        for choice in settings:
            answer, _ = fit(world, partner, train[inner.train["image"]], train[inner.rows["image"]], ctx, **choice)
            found.append(TASK.score(inner, answer)["mrr"])
        chosen = settings[int(np.argmax(found))]
        answer, cost = fit(world, partner, train, data.rows["image"], ctx, **chosen)
        searched = {"searched": len(settings), "validation mrr": max(found), "data": world.data, **cost}
        rows.append({"arm": arm, **TASK.score(data, answer), "settings": {**chosen, **searched}})
    rows.append({"arm": "chance", **TASK.score(data, TASK.chance(data, ctx.derived("chance"))), "settings": {}})
    rows.append({"arm": "best", **TASK.score(data, TASK.best(data)), "settings": {}})
    return Report(rows)


def _two(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": values, "text": values}


def _ridge(
    world: World, partner: np.ndarray, train: np.ndarray, test: np.ndarray, ctx: Run, *, penalty: float
) -> tuple[Vectors, dict[str, float]]:
    """Map pictures to their texts by ridge regression; `penalty` is in units of the mean variance of a feature."""
    image, text = world.pooled.astype(np.float64), world.text.astype(np.float64)
    x, y = image[train], text[partner[train]]
    mx, my = x.mean(0), y.mean(0)
    cross, own = (x - mx).T @ (y - my) / len(x), (x - mx).T @ (x - mx) / len(x)
    own += penalty * np.trace(own) / len(own) * np.eye(len(own))
    weight = np.linalg.solve(own, cross)
    answer = {"image": unit((image[test] - mx) @ weight), "text": unit(text[test] - my)}
    return answer, {"trained": float(weight.size)}


def _towers(
    world: World,
    partner: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    ctx: Run,
    *,
    steps: int,
    width: int,
    dropout: float,
) -> tuple[Vectors, dict[str, float]]:
    """Train the paper's towers: token projectors on patches and CLS, token projector and MLP head on the text."""
    sample, batch = 2, ctx.pick(smoke=64, small=256, full=512)
    image = Features(tokens=torch.from_numpy(world.tokens), summary=torch.from_numpy(world.pooled))
    text = Features(summary=torch.from_numpy(world.text))
    with torch.random.fork_rng():
        torch.manual_seed(ctx.derived("towers"))
        towers = {
            "image": Tower(world.tokens.shape[2], width, local="token", summary="token", dropout=dropout),
            "text": Tower(world.text.shape[1], width, local="none", summary="token", head="mlp", dropout=dropout),
        }
    rows = torch.from_numpy(train)
    fit_towers(
        towers,
        {"image": _rows(image, rows), "text": _rows(text, torch.from_numpy(partner[train]))},
        steps=steps,
        batch=batch,
        token_sample=sample,
        seed=ctx.derived("training"),
        progress=ctx.progress,
    )
    found = {}
    with torch.inference_mode():
        for name, features in (("image", image), ("text", text)):
            blocks = [torch.from_numpy(test[i : i + 100]) for i in range(0, len(test), 100)]
            parts = [features.take(block).into(towers[name]) for block in blocks]
            found[name] = torch.cat(parts).numpy()
    return found, trained_report(*towers.values(), items=batch, steps=steps, tokens=sample)


def _rows(features: Features, rows: torch.Tensor) -> Features:
    """Return some items without changing their precision."""
    tokens = None if features.tokens is None else features.tokens[rows]
    return Features(tokens, None, None if features.summary is None else features.summary[rows])


def _made(ctx: Run) -> World:
    """Draw the counterpart of the real features for smoke: tokens that show parts of a hidden point, nonlinearly."""
    rng = ctx.rng("world")
    n, t, d, e, hidden = 300, 6, 32, 24, 8
    points = rng.standard_normal((n, hidden))
    parts = points[:, None] * (rng.random((n, t, hidden)) < 0.6)
    mix, word = rng.standard_normal((hidden, d)), rng.standard_normal((hidden, e))
    tokens = np.maximum(parts @ mix, 0) + 0.1 * rng.standard_normal((n, t, d))
    text = np.tanh(points @ word) + 0.1 * rng.standard_normal((n, e))
    keys = np.array([f"item {i}" for i in range(n)])
    return World(tokens.astype(np.float32), text.astype(np.float32), keys, keys, "made: parts of hidden points")


def _openmoji(ctx: Run) -> World:
    """Return the feature maps of all OpenMoji pictures and the vectors of their English names, computed once."""
    from isthmus import data, encoders

    image, text = encoders.load("efficientnet_lite0", "image"), encoders.load("e5_small", "text")
    records = data.load("openmoji").records
    pictures = [r for r in records if r.modality == "image"]
    names = {r.key: r for r in records if r.modality == "text" and r.variant == "en"}

    def make() -> dict[str, np.ndarray]:
        tokens = []
        for start in range(0, len(pictures), 32):
            items = [r.load() for r in pictures[start : start + 32]]
            tokens.append(image.tokens("image", items).values.astype(np.float16))  # type: ignore[attr-defined]
            ctx.progress("features", start + len(items), len(pictures))
        vectors = text.encode("text", [names[r.key].load() for r in pictures])
        keys = np.array([r.key for r in pictures])
        return {
            "tokens": np.concatenate(tokens),
            "text": vectors,
            "keys": keys,
            "groups": np.array([r.group for r in pictures]),
        }

    prints = [image.fingerprint.digest, text.fingerprint.digest]
    digests = [pictures[0].digest(), pictures[-1].digest()]
    kept = ctx.cached("projectors-openmoji", make, fingerprints=prints, pictures=len(pictures), ends=digests)
    return World(**kept, data="openmoji, English names")
