"""A trained tower beside a frozen encoder: what one asks of it, two recipes with bundled encoders, saving."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of_tensors

from isthmus import encoders
from isthmus.core.errors import BadInput, NotFound, WrongFingerprint
from isthmus.core.progress import Progress, silent
from isthmus.core.roles import Tokens
from isthmus.core.run import seeded
from isthmus.methods.objectives.cwcl.towers import SequenceTower, bytes_of, windows
from isthmus.methods.objectives.cwcl.training import PLAIN, Locked, Training, fit_locked, rows_of
from isthmus.metrics.vectors import matrix, unit
from isthmus.store.disk import atomic
from isthmus.tasks.zero_shot import class_vectors

__all__ = ["Bridge", "image_text", "load_bridge", "speech_text"]

ENCODED = 256
"""Items that go through a tower at once when nothing is learned."""
LONGEST = 64
"""Tokens that a tower of ours takes: thirteen seconds of speech, or as many bytes."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Bridge:
    """A trained tower of modality `u` beside a frozen encoder of `v`: both give unit vectors of one space.

    `states` is the encoder whose states the tower reads, or None where it reads the bytes of texts.
    """

    u: str
    v: str
    tower: SequenceTower
    states: Any
    frozen: encoders.Encoder
    centre: Float[np.ndarray, " d"]
    fit: Locked

    def read(self, items: Sequence[Any]) -> Tokens:
        """Return what the tower takes of items of `u`: windows of states, or bytes."""
        return _reader(self.u, self.states, self.tower.longest)(items)

    def encode(self, modality: str, items: Sequence[Any]) -> Float[np.ndarray, "n d"]:
        """Return the unit vectors of items of `u` or of `v`; `BadInput` for another modality."""
        if modality not in (self.u, self.v):
            raise BadInput(f"this space has {self.u!r} and {self.v!r}, not {modality!r}")
        if not len(items):
            return np.empty((0, len(self.centre)), np.float32)
        if modality == self.v:
            return unit(unit(self.frozen.encode(modality, items)) - self.centre)
        with torch.inference_mode():
            parts = [
                self.tower(*map(torch.from_numpy, self.read(items[i : i + ENCODED])))
                for i in range(0, len(items), ENCODED)
            ]
        return unit(torch.cat(parts).numpy())

    def classify(
        self,
        modality: str,
        items: Sequence[Any],
        classes: Sequence[str],
        *,
        templates: Sequence[str] = ("{}",),
        prompts: str = "text",
    ) -> Float[np.ndarray, "n c"]:
        """Return the cosine of each item with each class: an image's class, a speaker's intent, a spoken keyword.

        A class is the mean of its name in every template, in the modality `prompts`. Raises `BadInput` for a
        template without ``{}``, and without classes.
        """
        if not classes or not templates or any("{}" not in t for t in templates):
            raise BadInput(f"classify needs classes, and templates with {{}}; got {len(classes)} and {templates}")
        said = self.encode(prompts, [t.format(name) for name in classes for t in templates])
        own = class_vectors(said.reshape(len(classes), len(templates), -1))
        return np.asarray(self.encode(modality, items) @ own.T)

    def save(self, path: str | Path) -> Path:
        """Write the tower and what it stands beside to one safetensors file, atomically; not the encoders themselves.

        `load_bridge` reads it where the same encoders are installed.
        """
        path = Path(path)
        head = {
            "format_version": FORMAT_VERSION,
            "u": self.u,
            "v": self.v,
            "tower": self.tower.settings,
            "states": None if self.states is None else self.states.fingerprint.to_json(),
            "frozen": self.frozen.fingerprint.to_json(),
            "positives": self.fit.positives,
            "history": self.fit.history,
        }
        tensors = {f"tower/{name}": x.contiguous() for name, x in self.tower.state_dict().items()}
        tensors["centre"] = torch.from_numpy(self.centre.copy())
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial:
            partial.write_bytes(bytes_of_tensors(tensors, {"isthmus.cwcl": json.dumps(head)}))
        return path


def load_bridge(path: str | Path, *, states: Any = None, frozen: encoders.Encoder | None = None) -> Bridge:
    """Read what `Bridge.save` wrote; its encoders are loaded by name, unless they are given.

    Raises `NotFound` where there is no file, `BadInput` for one that is damaged or something else, and
    `WrongFingerprint` when an encoder is not the one that the tower was trained beside.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"{path} does not exist; Bridge.save writes it")
    data = path.read_bytes()
    try:
        length = int.from_bytes(data[:8], "little")
        given = json.loads(data[8 : 8 + length])["__metadata__"]["isthmus.cwcl"]
        head, tensors = json.loads(given), tensors_of(data)
        if head["format_version"] > FORMAT_VERSION:
            raise BadInput(f"{path} has format {head['format_version']}, newer than {FORMAT_VERSION}: update isthmus")
        tower = SequenceTower(**head["tower"]).eval()
        tower.load_state_dict({k.removeprefix("tower/"): x for k, x in tensors.items() if k.startswith("tower/")})
        names = {side: head[side]["encoder"] for side in ("states", "frozen") if head[side] is not None}
        u, v, centre = head["u"], head["v"], tensors["centre"].numpy()
        fit = Locked(head["history"], head["positives"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} cannot be read as a bridge: {type(error).__name__} {error}") from error
    beside = {"frozen": frozen or encoders.load(names["frozen"], v)}
    if "states" in names:
        beside["states"] = states or encoders.load(names["states"], u)
    for side, encoder in beside.items():
        if encoder.fingerprint.to_json() != head[side]:
            raise WrongFingerprint(f"{path} was trained beside {head[side]}, and this is {encoder.fingerprint}")
    return Bridge(u, v, tower, beside.get("states"), beside["frozen"], centre, fit)


def speech_text(
    sounds: Sequence[Any],
    texts: Sequence[str],
    *,
    speech: str = "whisper_tiny_en",
    text: str = "e5_small",
    modality: str = "speech",
    tower: SequenceTower | None = None,
    training: Training = PLAIN,
    progress: Progress = silent,
) -> Bridge:
    """Teach a speech tower, on the states of a speech encoder, to meet a frozen text encoder.

    Sound i says text i. A `tower` of your own takes the states' width and gives that of the text encoder.
    """
    heard = encoders.load(speech, modality)
    if not hasattr(heard, "tokens"):
        raise BadInput(f"the encoder {speech} gives no sequence of states")
    locked = encoders.load(text, "text")
    return _bridge((modality, sounds, heard), ("text", texts, locked), tower, training, progress)


def image_text(
    pictures: Sequence[Any],
    texts: Sequence[str],
    *,
    image: str = "efficientnet_lite0",
    tower: SequenceTower | None = None,
    training: Training = PLAIN,
    progress: Progress = silent,
) -> Bridge:
    """Teach a text tower, from scratch on bytes, to meet a frozen image encoder: locked-image tuning.

    Text i names picture i. A `tower` of your own takes bytes (`SequenceTower(None, …)`) and gives the width of the
    image encoder.
    """
    locked = encoders.load(image, "image")
    return _bridge(("text", texts, None), ("image", pictures, locked), tower, training, progress)


def _reader(modality: str, states: Any, longest: int) -> Callable[[Sequence[Any]], Tokens]:
    if states is None:
        return lambda items: bytes_of(items, longest=longest)
    return lambda items: windows(states.tokens(modality, items), longest=longest)


def _bridge(
    learning: tuple[str, Sequence[Any], Any],
    locked: tuple[str, Sequence[Any], encoders.Encoder],
    tower: SequenceTower | None,
    training: Training,
    progress: Progress,
) -> Bridge:
    (u, items, states), (v, others, encoder) = learning, locked
    if len(items) != len(others) or len(items) < 2:
        raise BadInput(f"item i of {u} belongs to item i of {v}; there are {len(items)} and {len(others)}")
    longest = LONGEST if tower is None else tower.longest
    read = _reader(u, states, longest)
    shape = read(items[:1]).values.shape
    takes, gives = shape[2] if len(shape) == 3 else None, encoder.fingerprint.dim
    if tower is None:
        with seeded(training.seed):
            tower = SequenceTower(takes, gives, longest=longest)
    elif (tower.d, tower.settings["out"]) != (takes, gives):
        wanted = "bytes (d = None)" if takes is None else f"states of width {takes}"
        raise BadInput(f"the tower is {tower.settings}; expected one that takes {wanted} and gives {gives} numbers")
    raw = unit(matrix(encoder.encode(v, others), v), v)
    # encoders whose cosines are all close to 1 tell nothing apart until their common part is gone
    centre = raw.mean(0)
    tokens = read(items)
    frozen = torch.from_numpy(unit(raw - centre))
    fit = fit_locked(tower, rows_of(*map(torch.from_numpy, tokens)), frozen, training=training, progress=progress)
    return Bridge(u, v, tower, states, encoder, centre, fit)
