"""The pose of the person: where its joints are, in the scene and in the picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw

from isthmus.data.world.figure import BONES, JOINTS, joints
from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.renderers import picture
from isthmus.data.world.scene import Scene

__all__ = ["KIND", "TITLE", "Skeleton", "render", "show"]

TITLE, KIND = "pose skeleton", "pixels"
INSIDE = 0.4
"""How deep in its own body a joint may lie and still count as seen."""


@dataclass(frozen=True)
class Skeleton:
    """The joints in the order of `figure.JOINTS`: column and row in pixels, place in the scene, and whether seen."""

    pixels: Float32[np.ndarray, "15 2"]
    places: Float32[np.ndarray, "15 3"]
    seen: Bool[np.ndarray, " 15"]


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Skeleton | None:
    """Return the joints of the person, or None where there is none. A joint behind another entity is not seen."""
    if scene.figure is None:
        return None
    places = joints(scene.figure)
    column, row, depth = camera.project(places, size).T
    at = np.clip(np.stack([row, column]).astype(int), 0, size - 1)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    buffer = trace(scene, camera, size)
    mine = np.isin(buffer.entity[at[0], at[1]], (0, len(scene.objects) + 1))
    return Skeleton(np.stack([column, row], 1), places, inside & (mine | (buffer.depth[at[0], at[1]] > depth - INSIDE)))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"] | str:
    """Return the picture, faded, with the bones on it."""
    found = render(scene, size=size)
    if found is None:
        return "no person in this scene"
    pale = Image.fromarray((picture.render(scene, size=size) * 0.45 + 140).astype(np.uint8))
    draw = ImageDraw.Draw(pale)
    at = dict(zip(JOINTS, map(tuple, found.pixels.tolist()), strict=True))
    for a, b in BONES:
        draw.line((*at[a], *at[b]), fill=(30, 110, 160), width=max(1, size // 90))
    for x, y in at.values():
        r = size / 110
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(215, 70, 50))
    return np.asarray(pale)
