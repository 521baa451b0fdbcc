"""The box around what can be seen of each entity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image, ImageDraw

from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.renderers import picture
from isthmus.data.world.scene import Object, Scene

__all__ = ["KIND", "TITLE", "Boxes", "render", "show"]

TITLE, KIND = "boxes", "pixels"


@dataclass(frozen=True)
class Boxes:
    """For each entity left, top, right and bottom in pixels (nan: not seen), how many pixels show it, and its name."""

    boxes: Float32[np.ndarray, "n 4"]
    pixels: Int[np.ndarray, " n"]
    names: tuple[str, ...]


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Boxes:
    """Return the boxes of the entities in order; a box holds all pixels of its entity's mask, and no less will do."""
    entity = trace(scene, camera, size).entity
    n = len(scene.entities)
    found = np.full((n, 4), np.nan, np.float32)
    pixels = np.bincount(entity.ravel(), minlength=n + 1)[1:]
    for i in np.flatnonzero(pixels):
        mine = entity == i + 1
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        found[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Boxes(found, pixels, tuple(_name(one) for one in scene.entities))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture, faded, with the boxes and names on it."""
    pale = Image.fromarray((picture.render(scene, size=size) * 0.55 + 110).astype(np.uint8))
    draw = ImageDraw.Draw(pale)
    found = render(scene, size=size)
    for box, name in zip(found.boxes, found.names, strict=True):
        if np.isfinite(box).all():
            left, top, right, bottom = box.tolist()
            draw.rectangle((left, top, right - 1, bottom - 1), outline=(180, 40, 50), width=max(1, size // 128))
            draw.text((left, max(top - 11, 0)), name, fill=(130, 20, 35))
    return np.asarray(pale)


def _name(one: object) -> str:
    return f"{one.colour} {one.shape}" if isinstance(one, Object) else "person"
