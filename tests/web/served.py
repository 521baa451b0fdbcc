"""A small index to serve: colours as pictures, as words and as tones, and encoders that see what they share."""

import base64
import hashlib
import io
import wave

import numpy as np
from PIL import Image

from isthmus.index.index import Index
from isthmus.space import Map, Space
from isthmus.store.fingerprint import Fingerprint
from isthmus.store.rows import Vectors

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "yellow": (220, 210, 20),
    "violet": (180, 20, 200),
    "white": (240, 240, 240),
}
RATE = 8000
WIDTH = 8


def hertz(name):
    return 300.0 * (1 + list(COLOURS).index(name))


def tone(name, seconds=0.25):
    return 0.5 * np.sin(2 * np.pi * hertz(name) * np.arange(int(RATE * seconds)) / RATE)


class Reader:
    """An encoder of one modality: the colour of a picture, the colours named in a text, or the pitch of a tone."""

    def __init__(self, modality):
        self.modality = modality
        self.basis = np.random.default_rng([7, *map(ord, modality)]).normal(size=(3, WIDTH))
        self.batches = []
        self.fingerprint = Fingerprint(
            encoder=f"colours_{modality}",
            modality=modality,
            dim=WIDTH,
            weights=hashlib.sha256(self.basis.tobytes()).hexdigest(),
            preprocess="none",
            pooling="none",
            normalised=False,
        )

    def encode(self, modality, items, *, batch_size=64):
        self.batches.append(len(items))
        read = {"image": self.picture, "text": self.words}.get(modality, self.pitch)
        return ((np.array([read(item) for item in items]) / 128 - 1) @ self.basis).astype(np.float32)

    def picture(self, item):
        return item.getpixel((0, 0))

    def words(self, item):
        named = [COLOURS[word] for word in item.split() if word in COLOURS]
        digest = hashlib.sha256(item.encode()).digest()
        return np.mean(named, axis=0) if named else list(digest[:3])

    def pitch(self, item):
        heard = int(np.abs(np.fft.rfft(item["array"])).argmax() * item["sampling_rate"] / len(item["array"]) + 0.5)
        return min(COLOURS.items(), key=lambda pair: abs(hertz(pair[0]) - heard))[1]


READERS = {f"colours_{m}": Reader(m) for m in ("image", "text", "speech")}


def load(name, modality, *, device="cpu"):
    """Stand in for `isthmus.encoders.load`."""
    return READERS[name]


def colour_space():
    """A space of three modalities in which a colour is one direction, however it is told."""
    steps = [{"op": "linear", "weight": "w"}, {"op": "normalise"}]
    return Space({r.modality: Map(steps, {"w": np.linalg.pinv(r.basis).T}, r.fingerprint) for r in READERS.values()})


def build(folder, modalities=("image", "text")):
    """Write the index of all colours, as pictures of the folder `pictures` beside it and as words."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    entries = {}
    for modality in modalities:
        reader = READERS[f"colours_{modality}"]
        items = [sample(modality, name) for name in COLOURS]
        extra = {"meta": [{"name": name, "year": str(2000 + i)} for i, name in enumerate(COLOURS)]}
        if modality == "image":
            for name in COLOURS:
                Image.new("RGB", (40, 30), COLOURS[name]).save(pictures / f"{name}.png")
            extra["uris"] = [f"file:{name}.png" for name in COLOURS]
        if modality == "text":
            extra["texts"] = list(COLOURS)
        entries[modality] = Vectors.of(reader.encode(modality, items), reader.fingerprint, keys=list(COLOURS), **extra)
    return Index.build(folder / "colours", space=colour_space(), entries=entries)


def sample(modality, name):
    if modality == "image":
        return Image.new("RGB", (4, 4), COLOURS[name])
    return {"array": tone(name), "sampling_rate": RATE} if modality == "speech" else name


def png(name, size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOURS[name]).save(buffer, "PNG")
    return buffer.getvalue()


def wav(name):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((tone(name) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def uri(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
