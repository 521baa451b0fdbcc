"""What a camera sees of a scene: at each pixel how far, whose surface, and which way it faces.

All pictures of a scene are made from one `Buffer`, so that a picture, its mask and its depth fit exactly. A picture of
n × n pixels is traced on a grid of 2n + 1 rays a side: those with odd numbers go through the middles of pixels, and are
what masks and depth are read from; those with even numbers go through edges and corners, and make the picture smooth.
Rays are cast at every object within the square around it only, one numpy call for all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float32, Int, Int16

from isthmus.core.errors import BadInput
from isthmus.data.world.figure import Limbs, limbs
from isthmus.data.world.scene import HALF_HEIGHT, Figure, Object, Scene
from isthmus.data.world.shapes import capsules, face, meet

__all__ = ["CAMERA", "FAR", "SIZES", "Buffer", "Camera", "Layer", "floor", "trace"]

FAR = 40.0
"""Depth where nothing stands: the wall at the back."""
SIZES = (16, 1024)
"""Smallest and largest side of a picture in pixels."""
Window = tuple[slice, slice]
REACH = {"cube": 1.36, "cross": 1.05, "diamond": 1.05, "capsule": 1.12, "pyramid": 1.45, "cone": 1.3, "cylinder": 1.17}
"""Radius of the ball around each shape, in radii of the object; 1 for the others."""


@dataclass(frozen=True)
class Camera:
    """An eye, the point in the middle of its picture, and how much it sees (the tangent of half the angle)."""

    eye: tuple[float, float, float] = (0.0, -9.6, 5.5)
    target: tuple[float, float, float] = (0.0, 0.0, 0.9)
    width: float = 0.298

    @cached_property
    def axes(self) -> Float32[np.ndarray, "3 3"]:
        """Right, up and forward as rows."""
        forward = np.subtract(self.target, self.eye)
        forward /= np.linalg.norm(forward)
        right = np.array((forward[1], -forward[0], 0.0)) / math.hypot(forward[0], forward[1])
        return np.stack([right, np.cross(right, forward), forward]).astype(np.float32)

    @cached_property
    def rows(self) -> list[list[float]]:
        """The axes as plain numbers."""
        return [[float(x) for x in axis] for axis in self.axes]

    def around(self, degrees: float) -> "Camera":
        """Return the camera after a walk around the scene, anticlockwise as seen from above."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

        def turned(p: tuple[float, float, float]) -> tuple[float, float, float]:
            return c * p[0] - s * p[1], s * p[0] + c * p[1], p[2]

        return Camera(turned(self.eye), turned(self.target), self.width)

    def project(self, points: Float32[np.ndarray, "n 3"], size: int) -> Float32[np.ndarray, "n 3"]:
        """Return column, row (pixel centres lie at .5) and depth of points."""
        right, up, forward = ((points - np.array(self.eye, np.float32)) @ self.axes.T).T
        scale = size / (2 * self.width)
        return np.stack([size / 2 + scale * right / forward, size / 2 - scale * up / forward, forward], axis=1)


CAMERA = Camera()


@lru_cache(maxsize=32)
def _rays(camera: Camera, size: int) -> Float32[np.ndarray, "3 g g"]:
    """Return the directions of the fine grid, one unit long along the view: t is then the depth."""
    steps = (np.arange(2 * size + 1, dtype=np.float32) / size - 1) * np.float32(camera.width)
    right, up, forward = (axis[:, None, None] for axis in camera.axes)
    rays: np.ndarray = right * steps[None, None, :] - up * steps[None, :, None] + forward
    rays.flags.writeable = False
    return rays


@lru_cache(maxsize=32)
def floor(camera: Camera, size: int) -> Float32[np.ndarray, "3 h w"]:
    """Return where the middle of each pixel meets the bare ground: x, y, and the depth (`FAR` where it does not)."""
    d = [ray[1::2, 1::2] for ray in _rays(camera, size)]
    with np.errstate(divide="ignore"):
        t = np.where(d[2] < 0, -camera.eye[2] / d[2], np.inf)
    seen, t = t < FAR, np.minimum(t, FAR)
    found = np.stack([*(np.where(seen, camera.eye[i] + t * d[i], 1e3) for i in range(2)), t]).astype(np.float32)
    found.flags.writeable = False
    return found


@dataclass(frozen=True)
class Layer:
    """Depth along the view (inf: nothing), number of the entity (0: nothing; entity i is i + 1), part, and normal.

    `part` numbers the capsules of a person. All are on the fine grid, g = 2n + 1.
    """

    depth: Float32[np.ndarray, "g g"]
    entity: Int16[np.ndarray, "g g"]
    part: Int16[np.ndarray, "g g"]
    normal: Float32[np.ndarray, "3 g g"]


@dataclass(frozen=True)
class Buffer:
    """What a camera sees: the `front` layer, and the `opaque` one, where glass is not there."""

    camera: Camera
    size: int
    front: Layer
    opaque: Layer

    @cached_property
    def entity(self) -> Int16[np.ndarray, "h w"]:
        """The number of the entity in the middle of each pixel, 0 for the ground."""
        return self.front.entity[1::2, 1::2]

    @cached_property
    def depth(self) -> Float32[np.ndarray, "h w"]:
        """Depth of whatever is seen in the middle of each pixel."""
        made: np.ndarray = np.minimum(self.front.depth[1::2, 1::2], floor(self.camera, self.size)[2])
        return made

    @cached_property
    def normal(self) -> Float32[np.ndarray, "3 h w"]:
        """Which way is faced by what is seen in the middle of each pixel; the wall faces the eye."""
        normal = self.front.normal[:, 1::2, 1::2].copy()
        bare = self.entity == 0
        wall = floor(self.camera, self.size)[2] >= FAR
        normal[2][bare & ~wall] = 1
        normal[:, bare & wall] = -self.camera.axes[2][:, None]
        return normal

    def places(self, layer: Layer, hits: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the points (3, n) of a layer at flat indices into the fine grid, and the directions (3, n) to them."""
        d = _rays(self.camera, self.size).reshape(3, -1)[:, hits]
        return np.array(self.camera.eye, np.float32)[:, None] + layer.depth.ravel()[hits] * d, d

    def points(self) -> Float32[np.ndarray, "h w 3"]:
        """Return where what is seen in the middle of each pixel lies in the scene."""
        d = np.stack([ray[1::2, 1::2] for ray in _rays(self.camera, self.size)], axis=-1)
        made: np.ndarray = np.array(self.camera.eye, np.float32) + self.depth[..., None] * d
        return made


@lru_cache(maxsize=8)
def trace(scene: Scene, camera: Camera = CAMERA, size: int = 64) -> Buffer:
    """Return what a camera sees of a scene; `BadInput` for a size out of `SIZES`.

    The last few are remembered, because most renderers of a scene ask for the same.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise BadInput(f"a picture of {size} pixels a side cannot be drawn; {SIZES[0]} to {SIZES[1]} can")
    grid = (2 * size + 1, 2 * size + 1)
    opaque = Layer(
        np.full(grid, np.inf, np.float32),
        np.zeros(grid, np.int16),
        np.zeros(grid, np.int16),
        np.zeros((3, *grid), np.float32),
    )
    glass = [(i, one) for i, one in enumerate(scene.objects, 1) if one.material == "glass"]
    for i, one in enumerate(scene.objects, 1):
        if one.material != "glass":
            _add(opaque, camera, size, i, one)
    if scene.figure is not None:
        _add_figure(opaque, camera, size, len(scene.objects) + 1, scene.figure)
    front = opaque
    if glass:
        front = Layer(opaque.depth.copy(), opaque.entity.copy(), opaque.part.copy(), opaque.normal.copy())
        for i, one in glass:
            _add(front, camera, size, i, one)
    for layer in (opaque, front):
        for array in (layer.depth, layer.entity, layer.part, layer.normal):
            array.flags.writeable = False  # because it is shared by whoever asks next
    return Buffer(camera, size, front, opaque)


def _add(layer: Layer, camera: Camera, size: int, number: int, one: Object) -> None:
    middle = one.z + one.radius * HALF_HEIGHT[one.shape]
    window = _window(camera, size, [(one.x, one.y, middle, one.radius * REACH.get(one.shape, 1.0))])
    if window is None:
        return
    dx, dy, dz = (ray[window] for ray in _rays(camera, size))
    ox, oy, oz = camera.eye[0] - one.x, camera.eye[1] - one.y, camera.eye[2] - middle
    scale, c, s = 1 / one.radius, math.cos(one.yaw), math.sin(one.yaw)
    o = ((c * ox + s * oy) * scale, (c * oy - s * ox) * scale, oz * scale)
    cs, ss = c * scale, s * scale
    d = (cs * dx + ss * dy, cs * dy - ss * dx, scale * dz)
    t = meet(one.shape, o, d).astype(np.float32, copy=False)
    hits = np.flatnonzero(t < layer.depth[window])
    t = t.ravel()[hits]
    p = np.empty((3, len(hits)), np.float32)
    for i in range(3):
        np.multiply(t, d[i].ravel()[hits], out=p[i])
        p[i] += o[i]
    n = face(one.shape, p)
    turned = np.empty_like(p)
    turned[0], turned[1], turned[2] = c * n[0] - s * n[1], s * n[0] + c * n[1], n[2]
    _write(layer, window, hits, number, t, turned)


def _write(
    layer: Layer, window: Window, hits: np.ndarray, number: int, t: np.ndarray, normal: np.ndarray
) -> np.ndarray:
    """Write what was hit, given as flat places in a window, and return the flat places in the layer."""
    rows, columns = np.divmod(hits, window[1].stop - window[1].start)
    grid = layer.depth.shape[1]
    at: np.ndarray = (rows + window[0].start) * grid + columns + window[1].start
    layer.depth.reshape(-1)[at] = t
    layer.entity.reshape(-1)[at] = number
    layer.normal.reshape(3, -1)[:, at] = normal
    return at


def _add_figure(layer: Layer, camera: Camera, size: int, number: int, figure: Figure) -> None:
    body: Limbs = limbs(figure)
    balls = [(*end, r) for ends in (body.a, body.b) for end, r in zip(ends.tolist(), body.r.tolist(), strict=True)]
    window = _window(camera, size, balls)
    if window is None:
        return
    x, y, z = _rays(camera, size)
    d = (x[window].ravel(), y[window].ravel(), z[window].ravel())
    every = capsules(camera.eye, d, body.a, body.b, body.r)
    part = np.argmin(every, axis=0)
    t = every[part, np.arange(every.shape[1])].astype(np.float32)
    hits = np.flatnonzero((t < layer.depth[window].ravel()) & (t > 0))
    t, part = t[hits], part[hits]
    p = np.array(camera.eye, np.float32)[:, None] + t * np.stack([a[hits] for a in d])
    a, axis = body.a[part].T, (body.b - body.a)[part].T
    along = np.clip(((p - a) * axis).sum(0) / ((axis * axis).sum(0) + 1e-9), 0, 1)
    n = p - a - along * axis
    n /= np.sqrt((n * n).sum(0))
    layer.part.reshape(-1)[_write(layer, window, hits, number, t, n)] = part


def _window(camera: Camera, size: int, balls: Sequence[Sequence[float]]) -> Window | None:
    """Return the rows and columns of the fine grid that balls (x, y, z, radius) lie in, or None when out of it."""
    (ex, ey, ez), (right, up, forward) = camera.eye, camera.rows
    scale = size / camera.width
    top = left = math.inf
    bottom = edge = -math.inf
    for x, y, z, radius in balls:  # in plain numbers: there are few, and arrays of three are slow
        x, y, z = x - ex, y - ey, z - ez
        depth = x * forward[0] + y * forward[1] + z * forward[2]
        if depth <= radius:
            raise BadInput(f"the camera at {camera.eye} stands inside the scene")
        column = size + scale * (x * right[0] + y * right[1] + z * right[2]) / depth
        row = size - scale * (x * up[0] + y * up[1] + z * up[2]) / depth
        reach = radius / (depth - radius) * scale * 1.06 + 1  # a ball looks a little larger off the middle
        left, edge = min(left, column - reach), max(edge, column + reach)
        top, bottom = min(top, row - reach), max(bottom, row + reach)
    grid = 2 * size + 1
    rows = slice(int(max(top, 0)), int(max(min(bottom + 2, grid), 0)))
    columns = slice(int(max(left, 0)), int(max(min(edge + 2, grid), 0)))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
