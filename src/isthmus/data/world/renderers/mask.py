"""Which entity each pixel shows."""

import numpy as np
from jaxtyping import UInt8

from isthmus.core.errors import BadInput
from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import SHAPES, Object, Scene
from isthmus.data.world.shading import as_bytes

__all__ = ["KIND", "NAMES", "TITLE", "render", "show"]

TITLE, KIND = "segmentation mask", "pixels"
NAMES = ("ground", *SHAPES, "person")
"""What the numbers of a mask by shape mean."""
TINTS = np.array(
    [
        (0.93, 0.92, 0.90),
        (0.84, 0.37, 0.30),
        (0.27, 0.52, 0.71),
        (0.45, 0.66, 0.35),
        (0.90, 0.67, 0.26),
        (0.55, 0.42, 0.66),
        (0.33, 0.66, 0.65),
        (0.80, 0.50, 0.62),
        (0.48, 0.40, 0.34),
        (0.20, 0.25, 0.33),
    ],
    np.float32,
)


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA, by: str = "entity") -> UInt8[np.ndarray, "h w"]:
    """Return the number of what is in the middle of each pixel: 0 is the ground.

    By ``entity``, entity i of the scene is i + 1; by ``shape``, the numbers are places in `NAMES`.
    """
    entity = trace(scene, camera, size).entity
    if by == "entity":
        return entity.astype(np.uint8)
    if by != "shape":
        raise BadInput(f"by = {by!r}; a mask is by entity or by shape")
    names = [NAMES.index(one.shape if isinstance(one, Object) else "person") for one in scene.entities]
    made: np.ndarray = np.array([0, *names], np.uint8)[entity]
    return made


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the entities, each in a colour."""
    return as_bytes(TINTS[render(scene, size=size)])
