"""The world as a data set: records of scenes, drawn when they are loaded."""

import dataclasses
import functools
import hashlib
import importlib
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.errors import BadInput, NotFound
from isthmus.data.records import DataSet, Record, text_record
from isthmus.data.sound import Sound
from isthmus.data.world.geometry import SIZES
from isthmus.data.world.knobs import DEFAULT, Knobs, knobs
from isthmus.data.world.renderers import render, renderer
from isthmus.data.world.sampling import sample, scenes
from isthmus.data.world.scene import Scene
from isthmus.data.world.stream import present
from isthmus.data.world.words import LANGUAGES, known

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["load", "open_picture"]

SIZE = 224
MODALITIES = ("image", "text", "sound")


def load(
    *,
    n: int = 1000,
    seed: int = 0,
    size: int = SIZE,
    pictures: Sequence[str] = ("picture",),
    languages: Sequence[str] = LANGUAGES,
    paraphrases: int = 1,
    **turned: Any,
) -> DataSet:
    """Return the records of scenes 0 to `n` - 1 of a seed.

    `pictures` are renderers of pixels that become variants of the image, `size` their side. With `paraphrases` above
    1, each language has further variants ``en-1``, ``en-2``, …. Everything else turns a knob (`Knobs`). The meta
    of a record holds the number of ``objects``, whether there is a ``person``, the ``phase``, and that of a caption its
    ``fault``.

    Raises `NotFound` for an unknown knob, renderer or language, `BadInput` for a value out of range.
    """
    if n < 1 or paraphrases < 1 or not SIZES[0] <= size <= SIZES[1]:
        raise BadInput(
            f"world: n = {n}, paraphrases = {paraphrases}, size = {size}; expected at least 1 scene and 1 paraphrase, "
            f"and {SIZES[0]} to {SIZES[1]} pixels"
        )
    for name in pictures:
        if renderer(name).KIND != "pixels":
            raise BadInput(f"world: {name} is not a picture but {renderer(name).KIND}")
    chosen = knobs(turned)
    tongues = [known(language) for language in languages]
    card = importlib.import_module("isthmus.data.world").CARD  # which imports this file
    found: list[Record] = []
    for scene in scenes(seed, n, knobs=chosen):
        found += _records(scene, chosen, size, pictures, tongues, paraphrases)
    return DataSet("world", found, card)


def open_picture(rest: str, root: Path | None = None) -> "Image.Image":
    """Return the picture of a uri such as ``0/12/picture?max_objects=3``: seed, number, renderer and turned knobs."""
    path, _, query = rest.partition("?")
    parts = path.split("/")
    if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        raise NotFound(f"there is no scene {rest!r}; scenes are called as world:0/12/picture")
    turned = {name: _number(name, value) for name, value in urllib.parse.parse_qsl(query)}
    scene = sample(int(parts[0]), int(parts[1]), knobs(turned))
    if renderer(parts[2]).KIND != "pixels":
        raise NotFound(f"world:{rest}: {parts[2]} is not a picture")
    return _picture(scene, parts[2], SIZE)


def _number(name: str, value: str) -> int | float:
    try:
        return int(value) if isinstance(DEFAULT.get(name), int) else float(value)
    except ValueError:
        raise BadInput(f"knob {name} = {value!r} is not a number") from None


def _records(
    scene: Scene, chosen: Knobs, size: int, pictures: Sequence[str], languages: Sequence[str], paraphrases: int
) -> Iterator[Record]:
    here = present(scene.seed, scene.index, MODALITIES, chosen)
    key, group = f"{scene.seed}-{scene.index}", _group(scene)
    meta = {"objects": str(len(scene.objects)), "person": "yes" if scene.figure else "no", "phase": str(scene.phase)}
    turned = {k: v for k, v in dataclasses.asdict(chosen).items() if v != DEFAULT[k]}
    at = f"?{urllib.parse.urlencode(turned)}" if turned else ""
    english = render("caption", scene, clean=True)
    drawn: list[tuple[str, str, functools.partial[Any]]] = []
    if "image" in here:
        drawn += [("image", name, functools.partial(_picture, scene, name, size)) for name in pictures]
    if "sound" in here:
        drawn.append(("sound", "", functools.partial(_sound, scene)))
    for modality, variant, load in drawn:
        yield Record(
            key=key,
            modality=modality,
            variant=variant,
            group=group,
            text=english,
            uri=f"world:{scene.seed}/{scene.index}/{variant}{at}" if modality == "image" else None,
            meta=meta,
            load=load,
            digest=functools.partial(_digest, scene, modality, variant, size),
        )
    if "text" in here:
        for language in languages:
            for k in range(paraphrases):
                text = render("caption", scene, language=language, variant=k)
                variant = language if k == 0 else f"{language}-{k}"
                yield text_record(key, text, variant=variant, group=group, meta={**meta, "fault": scene.fault})


def _picture(scene: Scene, name: str, size: int) -> "Image.Image":
    from PIL import Image

    pixels = render(name, scene, size=size)
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim in (2, 3)):
        shown = renderer(name).show(scene, size)  # depth and the like, in the colours of the contact sheet
        if isinstance(shown, str):
            raise BadInput(f"scene {scene.index} of seed {scene.seed} has no {name}: {shown}")
        pixels = shown
    return Image.fromarray(pixels).convert("RGB")


def _sound(scene: Scene) -> Sound:
    sound: Sound = render("sound", scene)
    return sound


def _group(scene: Scene) -> str:
    """Name what a scene holds, wherever it stands: the near-duplicate rule of the card."""
    held = sorted(" ".join(one.kind) for one in scene.objects)
    if (one := scene.figure) is not None:
        held.append(f"{one.shirt} {one.legs} {one.legs_colour} {one.hat} {one.hat_colour}")
    return hashlib.sha256("; ".join(held).encode()).hexdigest()[:16]


def _digest(scene: Scene, *asked: str | int) -> str:
    """Hash the scene and what was asked for: they decide the content on one platform and version of numpy."""
    return hashlib.sha256(repr((scene, asked, VERSION)).encode()).hexdigest()


VERSION = 1
"""Raised when the same scene is drawn differently, so that stored vectors of it are made anew."""
