"""The data and the arms of the claim: heads on frozen encoders, taught by 1-to-K contrast or a language at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from isthmus.core.report import Report
from isthmus.core.run import Run, seeded
from isthmus.methods.objectives.one_to_k.estimator import Head
from isthmus.methods.objectives.one_to_k.training import RECIPES, Training, fit_languages
from isthmus.methods.objectives.one_to_k.translation import unrepeated
from isthmus.tasks.multilingual import TASK

__all__ = ["measure"]

LANGUAGES = ("en", "de", "fr", "es", "ja", "zh", "ru", "id", "tr", "ko")
"""The pivot first; the budgets below full take the first six."""
STYLES = ("openmoji", "google", "twitter")
"""Who drew the picture; the last one is not trained on."""
SETTINGS = tuple({"dropout": dropout, "lr": lr} for dropout, lr in ((0.3, 3e-3), (0.6, 3e-3), (0.6, 1e-3)))
"""What every arm chooses among."""
ARMS: Mapping[str, tuple[str, bool]] = {
    "1-to-K": ("one_to_k", False),
    "random language": ("random_language", True),
    "pivot": ("pivot", True),
    "random language, equal steps": ("random_language", False),
    "pivot, equal steps": ("pivot", False),
}
"""The recipe of each arm, and whether it takes as many steps as it needs to read as many texts as 1-to-K."""


@dataclass(frozen=True)
class World:
    """n items: pictures in s styles (n, s, d), names in K languages (n, K, e), which names there are, keys, groups."""

    pictures: Float[np.ndarray, "n s d"]
    names: Float[np.ndarray, "n k e"]
    present: Bool[np.ndarray, "n k"]
    keys: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    languages: tuple[str, ...]
    data: str


def measure(ctx: Run) -> Report:
    """Compare the arms on held-out items in a style that nobody trained on; see `run` of the method."""
    world = _made(ctx) if ctx.budget == "smoke" else _emoji(ctx)
    held, validated = ctx.pick(smoke=(60, 40), small=(300, 200), full=(300, 200))
    data = TASK.make(ctx.seed, held, keys=world.keys, groups=world.groups, languages=world.languages)
    train = data.train
    inner = TASK.make(
        ctx.derived("validation"),
        validated,
        keys=world.keys[train],
        groups=world.groups[train],
        languages=world.languages,
    )
    left, asked = train[inner.train], train[inner.rows]
    partner = np.arange(len(world.keys))
    if ctx.control == "shuffled_pairs":
        partner[train] = ctx.rng("control").permutation(train)
    rows: list[dict[str, Any]] = []
    for arm, (recipe, equal) in ARMS.items():
        found = []
        for choice in SETTINGS:
            answer, _ = _answer(world, partner, left, asked, ctx, recipe, equal, **choice)
            found.append(TASK.score(inner, answer)["mrr"])
        chosen = SETTINGS[int(np.argmax(found))]
        answer, cost = _answer(world, partner, train, data.rows, ctx, recipe, equal, **chosen)
        searched = {"searched": len(SETTINGS), "validation mrr": max(found), "data": world.data, **cost}
        rows.append({"arm": arm, **TASK.score(data, answer), "settings": {**chosen, **searched}})
    rows.append({"arm": "chance", **TASK.score(data, TASK.chance(data, ctx.derived("chance"))), "settings": {}})
    rows.append({"arm": "best", **TASK.score(data, TASK.best(data)), "settings": {}})
    return Report(rows)


def _answer(
    world: World,
    partner: Int[np.ndarray, " n"],
    train: Int[np.ndarray, " n"],
    test: Int[np.ndarray, " n"],
    ctx: Run,
    recipe: str,
    equal: bool,
    *,
    dropout: float,
    lr: float,
) -> tuple[dict[str, Float[np.ndarray, "..."]], dict[str, float]]:
    """Train both heads on some items and return the vectors of others, pictures in the style that was held back."""
    steps, batch, width = ctx.pick(smoke=(15, 64, 24), small=(150, 128, 256), full=(400, 256, 256))
    k = len(world.languages)
    if equal:
        steps = steps * k // RECIPES[recipe].texts(k)
    pictures = torch.from_numpy(world.pictures)
    names = torch.from_numpy(world.names)
    rows, said = torch.from_numpy(train), torch.from_numpy(partner[train])
    # A picture in each style that is trained on is an item of its own, with the same names.
    styles = pictures.shape[1] - 1
    seen = pictures[rows, :styles].transpose(0, 1).flatten(0, 1)
    texts, present = (x[said].repeat(styles, *[1] * (x.ndim - 1)) for x in (names, torch.from_numpy(world.present)))
    with seeded(ctx.derived("heads")):
        image, text = (Head(x.shape[-1], width, hidden=2 * width, dropout=dropout) for x in (pictures, names))
    image.standardise(seen)
    text.standardise(texts[present])
    training = Training(steps=steps, batch=batch, lr=lr, weight_decay=0.05, seed=ctx.derived("training"))
    done = fit_languages(
        image, text, seen, texts, recipe=recipe, present=present, training=training, progress=ctx.progress
    )
    with torch.inference_mode():
        answer = {"item": image(pictures[test, -1]).numpy(), "text": text(names[test]).numpy()}
    return answer, {"steps": steps, "texts read": float(done.texts), "pictures seen": float(steps * batch)}


def _made(ctx: Run) -> World:
    """Draw the counterpart of the real features for smoke: hidden points, seen and named through noise."""
    rng = ctx.rng("world")
    n, k, d, e, hidden = 260, 4, 24, 20, 6
    points = rng.standard_normal((n, hidden))
    see, say = rng.standard_normal((hidden, d)), rng.standard_normal((hidden, e))
    accents = 0.5 * rng.standard_normal((k, hidden, e))
    pictures = np.tanh(points @ see)[:, None] + 0.3 * rng.standard_normal((n, 3, d))
    names = np.tanh(np.einsum("nh,khe->nke", points, say + accents)) + 0.3 * rng.standard_normal((n, k, e))
    keys, present = np.array([f"item {i}" for i in range(n)]), rng.random((n, k)) < 0.9
    present[:, 0] = True
    pictures, names = pictures.astype(np.float32), names.astype(np.float32)
    return World(pictures, names, present, keys, keys, LANGUAGES[:k], "made: hidden points")


def _emoji(ctx: Run) -> World:
    """Return the vectors of emoji in three styles and of their names, computed once."""
    from isthmus import data, encoders

    languages = ctx.pick(smoke=LANGUAGES[:6], small=LANGUAGES[:6], full=LANGUAGES)
    see, read = encoders.load("efficientnet_lite0", "image"), encoders.load("e5_small", "text")
    openmoji, styles = data.load("openmoji"), data.load("emoji_styles")
    pictures = {("openmoji", r.key): r for r in openmoji.of("image")}
    pictures |= {(r.variant, r.key): r for r in styles.of("image")}
    names = {(r.variant, r.key): r for r in openmoji.of("text")}
    # Near-duplicates in any style stand together: the groups of emoji_styles know more of them.
    groups = {r.key: r.group for r in styles.of("image")}
    keys = [r.key for r in openmoji.of("image") if all((style, r.key) in pictures for style in STYLES)]
    keys = [key for key in keys if all((code, key) in names for code in LANGUAGES)]

    def make() -> dict[str, np.ndarray]:
        seen = []
        for start in range(0, len(keys), 32):
            part = keys[start : start + 32]
            seen.append(see.encode("image", [pictures[style, key].load() for key in part for style in STYLES]))
            ctx.progress("pictures", start + len(part), len(keys))
        said = []
        for code in LANGUAGES:
            said.append(read.encode("text", [names[code, key].load() for key in keys]))
            ctx.progress("names", len(said), len(LANGUAGES))
        return {
            "pictures": np.concatenate(seen).reshape(len(keys), len(STYLES), -1),
            "names": np.stack(said, 1),
            "texts": np.array([[names[code, key].text or "" for code in LANGUAGES] for key in keys]),
        }

    kept = ctx.cached(
        "one-to-k-emoji",
        make,
        fingerprints=[see.fingerprint.digest, read.fingerprint.digest],
        ends=[pictures[style, key].digest() for style in STYLES for key in (keys[0], keys[-1])],
        keys=len(keys),
    )
    k = len(languages)
    return World(
        pictures=kept["pictures"].astype(np.float32),
        names=kept["names"][:, :k].astype(np.float32),
        present=unrepeated(kept["texts"][:, :k]),
        keys=np.array(keys),
        groups=np.array([groups[key] for key in keys]),
        languages=languages,
        data=f"emoji in {len(STYLES)} styles, names in {k} languages",
    )
