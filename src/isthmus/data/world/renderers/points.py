"""The surfaces as a cloud of points with colours and normals."""

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.core.errors import BadInput
from isthmus.data.world.figure import HAIRS, SKINS, limbs
from isthmus.data.world.geometry import CAMERA
from isthmus.data.world.scene import HALF_HEIGHT, Entity, Figure, Object, Scene
from isthmus.data.world.shading import PALETTE, SHOES
from isthmus.data.world.shapes import Triple, face, meet

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "point cloud", "points"
BALL = 1.5
"""Radius of a ball that every shape fits in."""


def render(scene: Scene, *, points: int = 1024, entity: int | None = None) -> Float32[np.ndarray, "n 9"]:
    """Return place, colour (0 to 1) and normal of `points` points on the surfaces, all sides of them.

    Without an `entity`, every one gets a share by its size; with one, the points are of it alone.
    """
    if points < 1:
        raise BadInput(f"points = {points}; a cloud needs at least 1")
    if entity is not None and not 0 <= entity < len(scene.entities):
        raise BadInput(f"entity = {entity}; the scene has {len(scene.entities)}")
    rng = scene.generator("points", points)
    chosen = list(scene.entities) if entity is None else [scene.entities[entity]]
    areas = np.cumsum([one.radius * one.height for one in chosen])
    ends = np.round(areas / areas[-1] * points).astype(int)
    counts = np.diff(ends, prepend=0)
    return np.concatenate([_cloud(one, int(n), rng) for one, n in zip(chosen, counts, strict=True)])


def show(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the cloud seen from the side that the picture is taken from."""
    cloud = render(scene, points=5000)
    column, row, depth = CAMERA.project(cloud[:, :3], size).T
    tile = np.full((size, size, 3), 24, np.uint8)
    light = np.clip(0.55 + 0.45 * (cloud[:, 6:] @ np.array((-0.5, -0.46, 0.73), np.float32)), 0.15, 1)[:, None]
    for i in np.argsort(-depth):
        x, y = int(column[i]), int(row[i])
        tile[max(y, 0) : y + 2, max(x, 0) : x + 2] = np.clip(cloud[i, 3:6] * light[i] * 255, 0, 255)
    return tile


def _cloud(one: Entity, n: int, rng: np.random.Generator) -> Float32[np.ndarray, "n 9"]:
    return _object(one, n, rng) if isinstance(one, Object) else _body(one, n, rng)


def _object(one: Object, n: int, rng: np.random.Generator) -> Float32[np.ndarray, "n 9"]:
    """Shoot lines of all directions and places at the shape: where they enter is even over a convex surface."""
    found: list[np.ndarray] = []
    while sum(len(f) for f in found) < n:
        d = _directions(3 * n + 16, rng)
        # a disc across each line, as far out as the ball
        side = np.cross(d, _directions(len(d), rng))
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        start = side * (BALL * np.sqrt(rng.random((len(d), 1), dtype=np.float32))) - 2 * BALL * d
        o: Triple = (start[:, 0], start[:, 1], start[:, 2])
        t = meet(one.shape, o, (d[:, 0], d[:, 1], d[:, 2]))
        hit = np.isfinite(t)
        found.append(start[hit] + t[hit, None] * d[hit])
    local = np.concatenate(found)[:n]
    normal = face(one.shape, local.T).T
    c, s = np.cos(one.yaw), np.sin(one.yaw)
    turn = np.array([(c, s, 0), (-s, c, 0), (0, 0, 1)], np.float32)
    foot = np.array((one.x, one.y, one.z + one.radius * HALF_HEIGHT[one.shape]), np.float32)
    colour = np.broadcast_to(np.array(PALETTE[one.colour], np.float32), local.shape)
    return np.concatenate([local @ turn * one.radius + foot, colour, normal @ turn], axis=1).astype(np.float32)


def _body(one: Figure, n: int, rng: np.random.Generator) -> Float32[np.ndarray, "n 9"]:
    """Draw points on the capsules of the person, and drop those inside another one."""
    body = limbs(one)
    axis = body.b - body.a
    length = np.linalg.norm(axis, axis=1)
    area = body.r * (length + 2 * body.r)
    worn = {
        "skin": SKINS[one.skin % 4],
        "hair": HAIRS[one.hair % 4],
        "shoes": SHOES,
        "eyes": SHOES,
        "shirt": PALETTE[one.shirt],
    }
    worn |= {"legs": PALETTE[one.legs_colour], "hat": PALETTE[one.hat_colour]}
    colours = np.array([worn[cover] for cover in body.cover], np.float32)
    found: list[np.ndarray] = []
    while sum(len(f) for f in found) < n:
        k = rng.choice(len(area), 4 * n + 16, p=area / area.sum())
        normal = _directions(len(k), rng)
        # on the tube between the ends, normals are square to the axis; beyond, they are those of the end's half ball
        along = (length / (length + 2 * body.r))[k] > rng.random(len(k))
        unit = (axis / np.maximum(length, 1e-6)[:, None])[k]
        rise = np.einsum("ij,ij->i", normal, unit)[:, None]
        flat = normal - rise * unit
        normal = np.where(along[:, None], flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), normal)
        at = np.where(along, rng.random(len(k)), rise[:, 0] > 0).astype(np.float32)[:, None]
        place = body.a[k] + at * axis[k] + body.r[k, None] * normal
        share = np.einsum("nkj,kj->nk", place[:, None] - body.a, axis) / np.maximum(length**2, 1e-9)
        nearest = body.a + np.clip(share, 0, 1)[..., None] * axis
        outside = (np.linalg.norm(place[:, None] - nearest, axis=2) > body.r - 1e-3).all(1)
        found.append(np.concatenate([place, colours[k], normal], axis=1)[outside])
    return np.concatenate(found)[:n].astype(np.float32)


def _directions(n: int, rng: np.random.Generator) -> Float32[np.ndarray, "n 3"]:
    d = rng.standard_normal((n, 3), dtype=np.float32)
    made: np.ndarray = d / np.linalg.norm(d, axis=1, keepdims=True)
    return made
