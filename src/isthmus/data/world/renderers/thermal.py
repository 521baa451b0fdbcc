"""What a heat camera sees: people are warm, rubber and wood keep warmth, metal and glass are cold."""

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.data.world.figure import limbs
from isthmus.data.world.geometry import CAMERA, Camera, trace
from isthmus.data.world.scene import Scene
from isthmus.data.world.shading import as_bytes

__all__ = ["COVERED", "DEGREES", "GROUND", "KIND", "TITLE", "render", "show"]

TITLE, KIND = "thermal", "pixels"
GROUND, WALL = 14.0, 11.0
DEGREES = {"rubber": 23.0, "wood": 20.0, "metal": 9.0, "glass": 16.5}
"""Temperature of each material in °C; large things are a degree warmer."""
COVERED = {"skin": 34.0, "eyes": 35.0, "hair": 28.0, "hat": 26.0, "shirt": 30.0, "legs": 28.5, "shoes": 24.0}


def render(scene: Scene, *, size: int = 64, camera: Camera = CAMERA) -> Float32[np.ndarray, "h w"]:
    """Return the temperature in °C. Surfaces seen at a low angle look up to two degrees cooler, as they do."""
    buffer = trace(scene, camera, size)
    warm = [DEGREES[one.material] + (one.size == "large") for one in scene.objects]
    if scene.figure is not None:
        warm += [COVERED[cover] for cover in limbs(scene.figure).cover]
    rows = buffer.entity + buffer.front.part[1::2, 1::2]
    heat = np.array([GROUND, *warm], np.float32)[rows]
    far = np.clip((buffer.depth - 9) / 12, 0, 1) * np.float32(GROUND - WALL)
    facing = np.einsum("i,ijk->jk", -camera.axes[2], buffer.normal)
    made: np.ndarray = np.where(rows > 0, heat - 2 * (1 - np.clip(facing, 0, 1)), heat - far).astype(np.float32)
    return made


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return cold as blue and hot as yellow and white."""
    heat = np.clip((render(scene, size=size) - 6) / 29, 0, 1)
    stops = np.array(
        [
            (0.03, 0.02, 0.16),
            (0.24, 0.06, 0.50),
            (0.62, 0.12, 0.50),
            (0.92, 0.34, 0.22),
            (0.99, 0.70, 0.15),
            (1, 0.98, 0.80),
        ]
    )
    at = np.linspace(0, 1, len(stops))
    return as_bytes(np.stack([np.interp(heat, at, stops[:, i]) for i in range(3)], axis=-1))
