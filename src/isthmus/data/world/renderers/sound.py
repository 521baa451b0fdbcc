"""What one hears when each thing is struck, from left to right: shape, material and size sound different."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from isthmus.core.errors import BadInput
from isthmus.data.sound import Sound
from isthmus.data.world.scene import COLOURS, Entity, Object, Scene

__all__ = ["KIND", "TITLE", "Strike", "render", "show", "strikes"]

TITLE, KIND = "sound", "sound"
RATE = 16_000
STEP, TAIL = 0.35, 0.45
"""Seconds from one strike to the next, and after the last one."""
PITCH = {"small": 620.0, "large": 290.0}
PARTIALS = {
    "sphere": (1.0, 2.0, 3.0),
    "cube": (1.0, 1.59, 2.14),
    "cylinder": (1.0, 3.0, 5.0),
    "cone": (1.0, 2.0, 4.0),
    "pyramid": (1.0, 1.73, 2.33),
    "ring": (1.0, 2.76, 5.40),
    "diamond": (1.0, 4.0, 6.3),
    "cross": (1.0, 1.41, 1.87),
    "capsule": (1.0, 1.5, 2.0),
}
"""The overtones by which a shape is known, as multiples of its pitch."""
RING = {
    "rubber": (0.045, 0.10, 0.25),
    "wood": (0.10, 0.45, 0.55),
    "metal": (0.55, 0.80, 0.12),
    "glass": (0.30, 0.95, 0.05),
}
"""Of a material: seconds until the sound has faded, how loud the overtones are, and how much of it is noise."""
BRIGHT = {"rubber": 0.6, "wood": 1.0, "metal": 1.25, "glass": 2.0}
CLAPS = (0.0, 0.11)
"""A person claps twice."""


@dataclass(frozen=True)
class Strike:
    """Entity `entity` is struck at `second`."""

    entity: int
    second: float


def strikes(scene: Scene) -> list[Strike]:
    """Return what is struck when: the entities from left to right."""
    order = sorted(range(len(scene.entities)), key=lambda i: (scene.entities[i].x, i))
    return [Strike(i, k * STEP) for k, i in enumerate(order)]


def render(scene: Scene, *, rate: int = RATE) -> Sound:
    """Return the strikes as one channel of samples between -1 and 1, at `rate` samples a second."""
    if not 8_000 <= rate <= 48_000:
        raise BadInput(f"rate = {rate}; a sound has 8000 to 48000 samples a second")
    samples = np.zeros(int((STEP * (len(scene.entities) - 1) + 2 * TAIL) * rate), np.float32)
    rng = scene.generator("sound")
    for strike in strikes(scene):
        one = scene.entities[strike.entity]
        start = int(strike.second * rate)
        for sound, after in _sounds(one, rate, rng):
            at = start + int(after * rate)
            part = sound[: len(samples) - at]
            samples[at : at + len(part)] += part
    return {"array": np.clip(samples, -1, 1), "sampling_rate": rate}


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the spectrogram, low notes below, over the wave."""
    sound = render(scene)["array"]
    window = 512
    hop = max(1, (len(sound) - window) // (size - 1))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop][:size] * np.hanning(window)
    power = np.log10(np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-6).T[: window // 4]
    grey = np.clip((power + 4) / 6, 0, 1)[::-1]
    tint = np.stack([grey**1.6, grey**1.1 * 0.75 + 0.06, 0.18 + 0.5 * grey], axis=-1)
    tall = int(size * 0.68)
    tile = Image.new("RGB", (size, size), (16, 22, 40))
    tile.paste(Image.fromarray((tint * 255).astype(np.uint8)).resize((size, tall)), (0, 0))
    draw = ImageDraw.Draw(tile)
    middle, high = (size + tall) / 2, (size - tall) / 2 - 3
    for x, piece in enumerate(np.array_split(sound, size)):
        draw.line((x, middle - high * piece.max(), x, middle - high * piece.min()), fill=(150, 205, 225))
    return np.asarray(tile)


def _sounds(one: Entity, rate: int, rng: np.random.Generator) -> list[tuple[Float32[np.ndarray, " s"], float]]:
    noise = rng.standard_normal(rate // 10, dtype=np.float32)
    if isinstance(one, Object):
        tone = _tone(one.shape, one.colour, one.size, one.material, rate).copy()
        share = RING[one.material][2]
        tone[: len(noise)] += 0.5 * share * noise * _fade(len(noise), 0.008, rate)
        return [(0.32 * tone, 0.0)]
    clap = 0.45 * noise * _fade(len(noise), 0.012, rate)
    return [(clap, after) for after in CLAPS]


@lru_cache(maxsize=1024)
def _tone(shape: str, colour: str, size: str, material: str, rate: int) -> Float32[np.ndarray, " s"]:
    """Return the ringing of an object. Its colour shifts the pitch a little: by a sixth of a semitone a colour."""
    fade, overtones, _ = RING[material]
    t = np.arange(int(rate * min(5 * fade, 2 * TAIL))) / rate
    pitch = PITCH[size] * BRIGHT[material] * 2 ** ((COLOURS.index(colour) - 3.5) / 72)
    tone = sum(
        overtones**k * np.sin(2 * np.pi * pitch * ratio * t) * np.exp(-t * (1 + 0.6 * k) / fade)
        for k, ratio in enumerate(PARTIALS[shape])
        if pitch * ratio < rate / 2
    )
    tone = np.asarray(tone, np.float32)
    tone.flags.writeable = False
    return tone


def _fade(n: int, seconds: float, rate: int) -> Float32[np.ndarray, " n"]:
    made: np.ndarray = np.exp(-np.arange(n, dtype=np.float32) / np.float32(seconds * rate))
    return made
