"""Where one thing ends and another begins, and where a surface has a crease."""

import numpy as np
from jaxtyping import Bool, UInt8

from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import Scene

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "edges", "pixels"
CREASE = 0.75
"""Cosine of the angle between two neighbours from which on there is a crease."""


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Bool[np.ndarray, "h w"]:
    """Return the pixels whose right or lower neighbour is of another entity, or of a face at another angle."""
    buffer = trace(scene, camera, size)
    entity, normal = buffer.entity, buffer.front.normal[:, 1::2, 1::2]
    edges = np.zeros((size, size), bool)
    for axis in (0, 1):
        one, other = (tuple(cut if i == axis else slice(None) for i in (0, 1)) for cut in (slice(-1), slice(1, None)))
        turn = np.einsum("ijk,ijk->jk", normal[:, *one], normal[:, *other])
        edges[one] |= (entity[one] != entity[other]) | ((turn < CREASE) & (entity[one] > 0))
    return edges


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return white lines on black."""
    edges = render(scene, size=size)
    return np.repeat((edges * np.uint8(235) + np.uint8(20))[..., None], 3, axis=2)
