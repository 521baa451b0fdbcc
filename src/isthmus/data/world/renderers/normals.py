"""Which way every surface faces."""

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import as_bytes

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "normals", "pixels"


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Float32[np.ndarray, "h w 3"]:
    """Return unit vectors in the frame of the camera: right, up, and towards the eye."""
    towards = camera.axes * np.array([[1], [1], [-1]], np.float32)
    return np.ascontiguousarray(np.einsum("ij,jhw->hwi", towards, trace(scene, camera, size).normal))


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the three numbers as red, green and blue."""
    return as_bytes(render(scene, size=size) / 2 + np.float32(0.5))
