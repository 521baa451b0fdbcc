"""The scene from several sides, with the cameras: what is seen in one view can be found exactly in another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from isthmus.core.errors import BadInput
from isthmus.data.world.geometry import CAMERA, FAR, Camera, trace
from isthmus.data.world.renderers import picture
from isthmus.data.world.scene import Scene

__all__ = ["KIND", "TITLE", "Views", "correspondences", "render", "show"]

TITLE, KIND = "views", "frames"
SLACK = 0.06
"""How far the depth of a point may be from that of the surface it falls on, to be the same point."""


@dataclass(frozen=True)
class Views:
    """Pictures of one scene, the camera of each, and the angle it was walked to."""

    pictures: UInt8[np.ndarray, "v h w 3"]
    cameras: tuple[Camera, ...]
    degrees: tuple[float, ...]


def render(scene: Scene, *, size: int = 64, degrees: tuple[float, ...] = (0, 90, 180, 270)) -> Views:
    """Return the scene as seen from some angles, in degrees from the usual place, anticlockwise from above."""
    if not degrees:
        raise BadInput("degrees = (): name at least one angle to look from")
    cameras = tuple(CAMERA.around(angle) for angle in degrees)
    return Views(np.stack([picture.render(scene, size=size, camera=c) for c in cameras]), cameras, tuple(degrees))


def correspondences(
    scene: Scene, one: Camera, other: Camera, *, size: int = 64
) -> tuple[Float32[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Return where the point in the middle of each pixel of one view is in another, and whether it is seen in both.

    Places are column and row in pixels (middles lie at .5). The wall at the back counts as not seen.
    """
    here, there = trace(scene, one, size), trace(scene, other, size)
    column, row, depth = other.project(here.points().reshape(-1, 3), size).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (depth > 0)
    at = np.clip(np.stack([row, column]), 0, size - 1).astype(int)
    close = np.abs(there.depth[at[0], at[1]] - depth) < SLACK * max(1, 64 / size)
    same = there.entity[at[0], at[1]] == here.entity.ravel()
    seen = inside & close & same & (here.depth.ravel() < FAR)
    return np.stack([column, row], axis=1).reshape(size, size, 2), seen.reshape(size, size)


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return four views in a square."""
    a, b, c, d = render(scene, size=size // 2, degrees=(-40, 40, 140, 220)).pictures
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)], 0)
