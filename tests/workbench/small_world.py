"""A small data set with pictures and names, and encoders that see what they have in common."""

import functools
import hashlib

import numpy as np
from PIL import Image

from isthmus.data.card import DataCard
from isthmus.data.records import DataSet, Record, text_record
from isthmus.store.fingerprint import Fingerprint

CARD = DataCard(
    name="colours",
    title="Colours and their names",
    licence="CC0",
    attribution="nobody <nobody@example.org>",
    packages=(),
    extra="",
    counts="60 colours",
    modalities=("image", "text"),
    variants=("en", "ar"),
    split="by hash",
    near_duplicates="none",
    schemes=("file",),
)


def colour(i):
    return tuple(int(v) for v in np.random.default_rng(i).integers(0, 256, 3))


def colours(n=60, languages=("en", "ar")):
    records = []
    for i in range(n):
        key, rgb = f"c{i:02d}", colour(i)
        records.append(
            Record(
                key=key,
                modality="image",
                uri=f"colour:{i}",
                meta={"name": f"colour <{i}>"},
                load=functools.partial(Image.new, "RGB", (20, 12), rgb),
                digest=functools.partial(_digest, str(rgb)),
            )
        )
        records += [
            text_record(key, f"<b>{language}</b> " + " ".join(map(str, rgb)), variant=language)
            for language in languages
        ]
    return DataSet("colours", records, CARD)


def open_colour(uri, root=None):
    return Image.new("RGB", (20, 12), colour(int(uri.partition(":")[2])))


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class ByColour:
    """Reads the colour off a picture or a name; two modalities, two unlike bases of 8 dimensions."""

    def __init__(self, modality, seed):
        self.modality = modality
        self.basis = np.random.default_rng(seed).normal(size=(3, 8))
        self.calls = 0
        self.fingerprint = Fingerprint(
            encoder=f"by_colour_{modality}",
            modality=modality,
            dim=8,
            weights=hashlib.sha256(self.basis.tobytes()).hexdigest(),
            preprocess="none",
            pooling="none",
            normalised=False,
        )

    def encode(self, modality, items, *, batch_size=64):
        self.calls += len(items)
        rgb = [item.getpixel((0, 0)) if modality == "image" else [int(w) for w in item.split()[-3:]] for item in items]
        return ((np.asarray(rgb) / 128 - 1) @ self.basis + 0.01).astype(np.float32)
