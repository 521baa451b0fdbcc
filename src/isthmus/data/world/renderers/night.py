"""The scene at night: a little moonlight, a warm lamp over the middle, and a camera that strains."""

import numpy as np
from jaxtyping import UInt8

from isthmus.data.world.geometry import CAMERA, Camera
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import Look, as_bytes, paint

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "night", "pixels"
NIGHT = Look(
    light=(0.30, 0.52, 0.80),
    sun=(0.15, 0.19, 0.30),
    shade=(0.10, 0.11, 0.19),
    floor=(0.62, 0.60, 0.58),
    wall=(0.30, 0.32, 0.42),
    lamp=0.80,
    grain=0.012,
)


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> UInt8[np.ndarray, "h w 3"]:
    """Return the scene in red, green and blue as a camera sees it at night."""
    return as_bytes(paint(scene, camera, size, NIGHT))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture."""
    return render(scene, size=size)
