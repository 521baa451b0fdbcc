"""The picture: colours, materials and soft shadows in the light of day."""

import numpy as np
from jaxtyping import UInt8

from isthmus.data.world.geometry import CAMERA, Camera
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import as_bytes, day, paint

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "picture", "pixels"


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> UInt8[np.ndarray, "h w 3"]:
    """Return the scene in red, green and blue, in the light that its `shift` says."""
    return as_bytes(paint(scene, camera, size, day(scene.shift)))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture."""
    return render(scene, size=size)
