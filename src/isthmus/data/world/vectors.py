"""Vectors of scenes as a pair of encoders with known insides would give them.

What a scene holds becomes a sum of fixed codes (for every attribute, every kind of object, every relation), the same
for all modalities, plus noise that each modality draws for itself. The knobs `modality_gap` and `hubness` then do to
these vectors what training does to real ones, by a known amount.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from isthmus.core.errors import BadInput
from isthmus.data.world.knobs import Knobs
from isthmus.data.world.sampling import scenes
from isthmus.data.world.scene import Object, Scene, generator

__all__ = ["codes", "vectors"]

PLAIN = Knobs()
PLAIN_SCENES = 500


def vectors(
    seen: Sequence[Scene], modality: str, *, knobs: Knobs = PLAIN, width: int = 64, noise: float = 0.3
) -> Float32[np.ndarray, "n d"]:
    """Return unit vectors of scenes, (n, width + 1): the code of each, with noise, hubs and gap of a modality.

    `noise` is the length of the noise beside the code's 1. The centres of two modalities lie `modality_gap` apart along
    one axis, which no code uses, the names deciding the side: ``text`` and everything else. With `hubness`, every
    vector moves towards one direction, common to all modalities, by an amount that is small for most and large for
    few: those become hubs.
    """
    if width < 8 or noise < 0:
        raise BadInput(f"width = {width}, noise = {noise}; expected at least 8, and no negative noise")
    found = np.empty((len(seen), width + 1), np.float32)
    common = _code("hub", width)
    side = np.float32(-1 if modality == "text" else 1)
    apart = np.float32(knobs.modality_gap / 2)
    for i, scene in enumerate(seen):
        rng = scene.generator("vector", modality)
        drawn = rng.standard_normal(width, dtype=np.float32)
        signal = codes(scene, width) - _centre(width)
        signal = signal / np.linalg.norm(signal) + np.float32(noise) * drawn / np.linalg.norm(drawn)
        if knobs.hubness > 0:
            signal = signal / np.linalg.norm(signal) + np.float32(knobs.hubness * (0.4 + rng.exponential(0.6))) * common
        found[i, :-1] = signal * (np.sqrt(1 - apart * apart) / np.linalg.norm(signal))
        found[i, -1] = side * apart
    return found


def codes(scene: Scene, width: int) -> Float32[np.ndarray, " d"]:
    """Return the code of a scene, of length 1: the sum of the codes of all that is in it."""
    total = np.zeros(width, np.float32)
    for one in scene.entities:
        if isinstance(one, Object):
            total += _code("kind " + " ".join(one.kind), width)
            words: tuple[str, ...] = one.kind
        else:
            words = (one.pose, f"shirt {one.shirt}", f"{one.legs} {one.legs_colour}", f"{one.hat} {one.hat_colour}")
        for word in words:
            total += np.float32(0.5) * _code(word, width)
    for r in scene.relations:
        names = (e.shape if isinstance(e := scene.entities[k], Object) else "person" for k in (r.subject, r.object))
        total += np.float32(0.4) * _code(f"{r.name} {' '.join(names)}", width)
    total /= np.linalg.norm(total)
    return total


@lru_cache(maxsize=8)
def _centre(width: int) -> Float32[np.ndarray, " d"]:
    """Return the mean code of plain scenes, which is taken off every code: the knobs alone make hubs."""
    made: np.ndarray = np.mean([codes(scene, width) for scene in scenes(0, PLAIN_SCENES)], axis=0)
    return made


@lru_cache(maxsize=16384)
def _code(word: str, width: int) -> Float32[np.ndarray, " d"]:
    drawn = generator("code", word).standard_normal(width, dtype=np.float32)
    code: np.ndarray = drawn / np.linalg.norm(drawn)
    code.flags.writeable = False
    return code
