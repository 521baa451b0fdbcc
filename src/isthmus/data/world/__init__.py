"""A world of seeded scenes of which everything is known, and renderers that show or tell it: pictures, words, sounds.

    >>> from isthmus.data import world
    >>> scene = world.sample(seed=0, index=3)
    >>> picture, text = world.render("picture", scene, size=128), world.render("caption", scene, language="fr")
    >>> for item in world.stream(0, 1000, renderers=("picture", "mask"), knobs=world.knobs(long_tail=1.0)): ...

`names` lists the renderers, `Knobs` what can be turned, `negatives` exact hard negatives, `vectors` embeddings with a
known inside. As a data set (`isthmus.data.load("world")`) it gives pictures, captions in three languages and sounds.
"""

from isthmus.data.card import DataCard
from isthmus.data.world.dataset import load, open_picture
from isthmus.data.world.knobs import Knobs, knobs
from isthmus.data.world.negatives import negative, negatives
from isthmus.data.world.renderers import names, render
from isthmus.data.world.sampling import sample, scenes
from isthmus.data.world.scene import Figure, Object, Scene
from isthmus.data.world.sheet import sheet
from isthmus.data.world.stream import Item, stream
from isthmus.data.world.vectors import vectors

__all__ = [
    "CARD",
    "Figure",
    "Item",
    "Knobs",
    "Object",
    "Scene",
    "knobs",
    "load",
    "names",
    "negative",
    "negatives",
    "open_picture",
    "render",
    "sample",
    "scenes",
    "sheet",
    "stream",
    "vectors",
]

CARD = DataCard(
    name="world",
    title="A world of drawn scenes: pictures, captions in three languages, and sounds",
    licence="Apache-2.0",
    attribution="Isthmus",
    packages=(),
    extra="",
    counts="as many scenes as are asked for (1,000 if nothing is said), each a picture, three captions and a sound",
    modalities=("image", "text", "sound"),
    variants=("image: a renderer (picture)", "text: a language (en, fr, de), or a paraphrase (en-1, …)"),
    split="the keys with the smallest sha256 of 'isthmus-{split}:{key}' are held out; the key is seed and number",
    near_duplicates="one group: scenes with the same objects by size, colour, material and shape, and the same clothes",
    schemes=("world",),
    demo={"image": ("picture",), "text": ("en", "fr", "de")},
)
