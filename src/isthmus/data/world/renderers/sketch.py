"""A drawing in pencil: outlines by an unsteady hand, and hatching in the shade."""

import numpy as np
from jaxtyping import UInt8

from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import coarse

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "sketch", "pixels"
LIGHT = np.array((-0.50, -0.46, 0.73), np.float32)
PAPER, PENCIL = 250, 205


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> UInt8[np.ndarray, "h w"]:
    """Return the drawing in grey: 250 is paper."""
    front = trace(scene, camera, size).front
    line = np.zeros(front.entity.shape, bool)
    for axis in (0, 1):
        one, other = (tuple(cut if i == axis else slice(None) for i in (0, 1)) for cut in (slice(-1), slice(1, None)))
        turn = np.einsum("ijk,ijk->jk", front.normal[:, *one], front.normal[:, *other])
        found = (front.entity[one] != front.entity[other]) | ((turn < 0.8) & (front.entity[one] > 0))
        line[one] |= found
        line[other] |= found
    grid = len(line)
    i, j = np.indices((grid, grid), dtype=np.float32, sparse=True)
    shade = np.clip(0.62 - np.einsum("i,ijk->jk", LIGHT, front.normal), 0, 1) * (front.entity > 0)
    # strokes a constant share of the picture apart, closer where it is darker
    stroke = np.sin((i + j) * np.float32(2 * np.pi / max(grid / 26, 5))) > 1.05 - 1.1 * shade
    dark = np.maximum(line * np.float32(1), stroke * (0.25 + 0.35 * shade))
    a, b, c, d = scene.generator("sketch").uniform(0, 6.28, 4).astype(np.float32)
    wave, depth = np.float32(14 / grid), np.float32(0.006 * grid)
    rows = i + depth * np.sin(j * wave + a + np.sin(i * wave * 0.7 + b))
    columns = j + depth * np.sin(i * wave + c + np.sin(j * wave * 0.8 + d))
    flat = np.clip(rows, 0, grid - 1).astype(np.intp) * grid + np.clip(columns, 0, grid - 1).astype(np.intp)
    soft = coarse(dark.ravel()[flat][None].astype(np.float32))[0]
    made: np.ndarray = (PAPER - PENCIL * np.clip(soft * np.float32(1.25), 0, 1)).astype(np.uint8)
    return made


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the drawing."""
    return np.repeat(render(scene, size=size)[..., None], 3, axis=2)
