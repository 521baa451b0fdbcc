"""How far away everything is."""

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import as_bytes

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "depth", "pixels"


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Float32[np.ndarray, "h w"]:
    """Return the distance along the view, in the units of the world; `geometry.FAR` for the wall."""
    return trace(scene, camera, size).depth.copy()


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return near as warm and far as dark."""
    near = 1 - np.clip((render(scene, size=size) - 6.5) / 9.5, 0, 1)
    stops = np.array(
        [(0.10, 0.07, 0.24), (0.36, 0.16, 0.48), (0.79, 0.32, 0.42), (0.98, 0.65, 0.37), (0.99, 0.95, 0.75)]
    )
    at = np.linspace(0, 1, len(stops))
    return as_bytes(np.stack([np.interp(near, at, stops[:, i]) for i in range(3)], axis=-1))
