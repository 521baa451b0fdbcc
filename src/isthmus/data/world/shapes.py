"""The shapes as surfaces: where a ray meets one, and which way the surface faces there.

Every shape is given in its own frame: centred, upright, about one unit in radius. Rays are points `o` and directions
`d`, each three numbers or arrays that broadcast; ``inf`` says that a ray misses.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32

from isthmus.data.world.scene import HALF_HEIGHT

__all__ = ["Triple", "capsules", "face", "meet"]

Number = float | np.ndarray
Triple = tuple[Number, Number, Number]
CUBE, CYLINDER = HALF_HEIGHT["cube"], (0.78, HALF_HEIGHT["cylinder"])
CONE_FOOT, CONE_HALF = 0.88, HALF_HEIGHT["cone"]
RING, TUBE = 0.72, 0.28
ARM = 0.33
"""Half the width of the arms of the cross."""
CAPSULE = 0.62
MARCH = 24
"""Steps through a ring."""


def _planes(points: list[tuple[float, float, float]], offsets: list[float]) -> tuple[np.ndarray, np.ndarray]:
    normals = np.array(points, np.float32)
    length = np.linalg.norm(normals, axis=1)
    return normals / length[:, None], np.array(offsets, np.float32) / length


def _pyramid() -> tuple[np.ndarray, np.ndarray]:
    foot, half = 0.85, HALF_HEIGHT["pyramid"]
    sides: list[tuple[float, float, float]] = [(2 * half, 0, foot), (-2 * half, 0, foot), (0, 2 * half, foot)]
    sides += [(0, -2 * half, foot), (0, 0, -1)]
    return _planes(sides, [half * foot] * 4 + [half])


def _diamond() -> tuple[np.ndarray, np.ndarray]:
    """Six sides above and six below, the upper ones flatter."""
    top, waist, width = HALF_HEIGHT["diamond"], 0.25, 0.8
    sides: list[tuple[float, float, float]] = []
    for turn in np.arange(6) * np.pi / 3:
        c, s = float(np.cos(turn)), float(np.sin(turn))
        sides += [(c, s, width / (top - waist)), (c, s, -width / (top + waist))]
    return _planes(sides, [width + width * waist / (top - waist), width - width * waist / (top + waist)] * 6)


SOLIDS = {"pyramid": _pyramid(), "diamond": _diamond()}


def meet(shape: str, o: Triple, d: Triple) -> Float32[np.ndarray, "..."]:
    """Return how far along each ray the shape is met first, in lengths of `d`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return MEET[shape](o, d)


def _sphere(o: Triple, d: Triple) -> np.ndarray:
    return _first(*_quadric(*(_dot(d, d), _dot(o, d), _dot(o, o) - 1)))


def _box(half: Triple) -> Callable[[Triple, Triple], np.ndarray]:
    def met(o: Triple, d: Triple) -> np.ndarray:
        near, far = _slab(o[2], d[2], half[2])
        for axis in (0, 1):
            enter, leave = _slab(o[axis], d[axis], half[axis])
            near, far = np.maximum(near, enter), np.minimum(far, leave)
        return _first(near, far)

    return met


def _cylinder(o: Triple, d: Triple) -> np.ndarray:
    radius, half = CYLINDER
    near, far = _quadric(d[0] * d[0] + d[1] * d[1], o[0] * d[0] + o[1] * d[1], o[0] ** 2 + o[1] ** 2 - radius**2)
    enter, leave = _slab(o[2], d[2], half)
    return _first(np.maximum(near, enter), np.minimum(far, leave))


def _cone(o: Triple, d: Triple) -> np.ndarray:
    slope = CONE_FOOT / (2 * CONE_HALF)
    oz, dz = slope * (CONE_HALF - o[2]), -slope * d[2]
    roots = _quadric(
        d[0] * d[0] + d[1] * d[1] - dz * dz,
        o[0] * d[0] + o[1] * d[1] - oz * dz,
        o[0] ** 2 + o[1] ** 2 - oz**2,
    )
    best: np.ndarray = np.full(np.shape(roots[0]), np.inf, np.float32)
    for t in roots:  # the mirror image above the tip is not part of it
        fits = (abs(o[2] + t * d[2]) <= CONE_HALF) & (t > 0) & (t < best)
        best = np.where(fits, t, best)
    t = np.asarray((-CONE_HALF - o[2]) / d[2])
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    return np.where((x * x + y * y <= CONE_FOOT**2) & (t > 0) & (t < best), t, best)


def _solid(shape: str) -> Callable[[Triple, Triple], np.ndarray]:
    normals, offsets = SOLIDS[shape]

    def met(o: Triple, d: Triple) -> np.ndarray:
        along = np.tensordot(normals, np.stack(np.broadcast_arrays(*d)).astype(np.float32, copy=False), 1)
        start = np.tensordot(normals, np.stack(np.broadcast_arrays(*o)).astype(np.float32, copy=False), 1)
        start = start.reshape(len(normals), *(1,) * (along.ndim - start.ndim), *start.shape[1:])
        t = (offsets.reshape(-1, *(1,) * (along.ndim - 1)) - start) / along
        inward = along < 0
        return _first(np.where(inward, t, -np.inf).max(0), np.where(inward, np.inf, t).min(0))

    return met


def _ring(o: Triple, d: Triple) -> np.ndarray:
    """Look for the first change of sign of the ring's polynomial along each ray, then close in on it.

    The polynomial, (|p|² + R² - r²)² - 4 R² (x² + z²), is of degree four in t. Chords shorter than a step are missed,
    which are those that enter the ring by less than a hundredth of its tube.
    """
    dd, od = _dot(d, d), _dot(o, d)
    oo = np.asarray(_dot(o, o), np.float32)
    near, far = _quadric(dd, od, oo - 1)
    enter, leave = _slab(o[1], d[1], TUBE)
    near, far = np.maximum(near, enter), np.minimum(far, leave)
    hit: np.ndarray = np.full(np.shape(near), np.inf, np.float32)
    which = np.flatnonzero((near <= far) & (near > 0))
    flat = (d[0] * d[0] + d[2] * d[2], o[0] * d[0] + o[2] * d[2], o[0] * o[0] + o[2] * o[2])
    near, far, a2, a1, a0, b2, b1, b0 = (
        np.broadcast_to(np.asarray(x, np.float32), hit.shape).ravel()[which] for x in (near, far, dd, od, oo, *flat)
    )
    a0, k = a0 + np.float32(RING**2 - TUBE**2), np.float32(4 * RING**2)

    def value(t: np.ndarray) -> np.ndarray:
        ball: np.ndarray = (a2 * t + 2 * a1) * t + a0
        quartic: np.ndarray = ball * ball - k * ((b2 * t + 2 * b1) * t + b0)
        return quartic

    step = (far - near) * np.float32(1 / MARCH)
    inside = value(near + np.arange(MARCH + 1, dtype=np.float32)[:, None] * step) < 0
    found = np.flatnonzero(inside.any(0))
    first = inside[:, found].argmax(0)
    which = which[found]
    near, step, a2, a1, a0, b2, b1, b0 = (x[found] for x in (near, step, a2, a1, a0, b2, b1, b0))
    low, high = near + np.maximum(first - 1, 0) * step, near + first * step
    for _ in range(10):
        middle = np.float32(0.5) * (low + high)
        there = value(middle) < 0
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    hit.ravel()[which] = high
    return hit


def _cross(o: Triple, d: Triple) -> np.ndarray:
    upright = _box((ARM, ARM, HALF_HEIGHT["cross"]))(o, d)
    made: np.ndarray = np.minimum(upright, _box((HALF_HEIGHT["cross"], ARM, ARM))(o, d))
    return made


def _capsule(o: Triple, d: Triple) -> np.ndarray:
    middle = HALF_HEIGHT["capsule"] - CAPSULE
    a = d[0] * d[0] + d[1] * d[1]
    near, far = _quadric(a, o[0] * d[0] + o[1] * d[1], o[0] ** 2 + o[1] ** 2 - CAPSULE**2)
    enter, leave = _slab(o[2], d[2], middle)
    best = _first(np.maximum(near, enter), np.minimum(far, leave))
    for end in (-middle, middle):
        p = (o[0], o[1], o[2] - end)
        best = np.minimum(best, _first(*_quadric(_dot(d, d), _dot(p, d), _dot(p, p) - CAPSULE**2)))
    return best


MEET: dict[str, Callable[[Triple, Triple], np.ndarray]] = {
    "sphere": _sphere,
    "cube": _box((CUBE, CUBE, CUBE)),
    "cylinder": _cylinder,
    "cone": _cone,
    "pyramid": _solid("pyramid"),
    "ring": _ring,
    "diamond": _solid("diamond"),
    "cross": _cross,
    "capsule": _capsule,
}


def face(shape: str, p: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
    """Return the outward unit normals at points on the surface of a shape."""
    x, y, z = p
    if shape in SOLIDS:
        normals, offsets = SOLIDS[shape]
        return np.ascontiguousarray(normals[np.argmax(normals @ p - offsets[:, None], axis=0)].T)
    if shape == "cube":
        return _box_face(p, (CUBE, CUBE, CUBE))
    if shape == "cross":
        ends = (ARM, ARM, HALF_HEIGHT["cross"])
        flat = _box_face(p, (HALF_HEIGHT["cross"], ARM, ARM))
        return np.where(abs(x) > ARM + 1e-3, flat, _box_face(p, ends))
    if shape == "cylinder":
        cap = abs(z) > CYLINDER[1] - 1e-3
        return np.stack([np.where(cap, 0, x / CYLINDER[0]), np.where(cap, 0, y / CYLINDER[0]), cap * np.sign(z)])
    if shape == "cone":
        foot = z < -CONE_HALF + 1e-3
        axle = np.maximum(np.sqrt(x * x + y * y), 1e-6)
        lean = CONE_FOOT / (2 * CONE_HALF)
        size = 1 / np.sqrt(1 + lean * lean)
        side = ~foot * size / axle
        return np.stack([x * side, y * side, np.where(foot, -1, lean * size)])
    if shape == "ring":
        scale = RING / np.maximum(np.sqrt(x * x + z * z), 1e-6)
        out: np.ndarray = np.stack([x - x * scale, y, z - z * scale])
        out /= np.sqrt((out * out).sum(0))
        return out
    if shape == "capsule":
        middle = HALF_HEIGHT["capsule"] - CAPSULE
        return np.stack([x, y, z - np.clip(z, -middle, middle)]) / CAPSULE
    return p


def capsules(
    o: Triple, d: Triple, a: Float[np.ndarray, "k 3"], b: Float[np.ndarray, "k 3"], r: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "k n"]:
    """Return how far along each of n rays each of k capsules, from `a` to `b` with radius `r`, is met first.

    `o` is one point for all rays.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        axis, start = b - a, np.array(o, np.float32) - a  # (k, 3)
        rays = np.stack([np.asarray(x, np.float32) for x in d])  # (3, n)
        dd, ad, sd = _dot(d, d), axis @ rays, start @ rays
        aa, sa = (axis * axis).sum(1)[:, None] + 1e-9, (axis * start).sum(1)[:, None]
        ss, rr = (start * start).sum(1)[:, None], (r * r)[:, None]
        body, _ = _quadric(aa * dd - ad * ad, aa * sd - ad * sa, aa * ss - sa * sa - rr * aa)
        along = sa + body * ad
        best = np.where((along > 0) & (along < aa), body, np.inf)
        lower, _ = _quadric(dd, sd, ss - rr)
        end = start - axis
        upper, _ = _quadric(dd, end @ rays, (end * end).sum(1)[:, None] - rr)
        made: np.ndarray = np.fmin(best, np.fmin(lower, upper))
        return made


def _dot(a: Triple, b: Triple) -> Number:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _quadric(a: Number, half_b: Number, c: Number) -> tuple[np.ndarray, np.ndarray]:
    """Return the two roots of a t² + 2 b t + c, nan where there are none."""
    root = np.sqrt(half_b * half_b - a * c)
    return (-half_b - root) / a, (-half_b + root) / a


def _slab(o: Number, d: Number, half: Number) -> tuple[np.ndarray, np.ndarray]:
    one, other = (-half - o) / d, (half - o) / d
    return np.minimum(one, other), np.maximum(one, other)


def _first(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    return np.where((near <= far) & (near > 0), near, np.inf)  # false for nan


def _box_face(p: np.ndarray, half: tuple[float, float, float]) -> np.ndarray:
    axis = np.argmax(np.abs(p) - np.array(half, np.float32)[:, None], axis=0)
    which = np.arange(p.shape[1])
    normal = np.zeros_like(p)
    normal[axis, which] = np.sign(p[axis, which])
    return normal
