"""How what a camera sees becomes colours: light, palette, materials, soft shadows.

A `Look` holds everything about light and colour that the picture, the night and the domain shift vary.
"""

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.data.world.figure import HAIRS, SKINS, limbs
from isthmus.data.world.geometry import Buffer, Camera, floor, trace
from isthmus.data.world.scene import COLOURS, Scene

__all__ = ["DAY", "PALETTE", "Look", "as_bytes", "coarse", "day", "paint"]

Rgb = tuple[float, float, float]
PALETTE: dict[str, Rgb] = dict(
    zip(
        COLOURS,
        (
            (0.84, 0.20, 0.20),
            (0.96, 0.53, 0.13),
            (0.97, 0.80, 0.20),
            (0.22, 0.62, 0.31),
            (0.16, 0.42, 0.80),
            (0.48, 0.28, 0.68),
            (0.95, 0.52, 0.68),
            (0.52, 0.53, 0.56),
        ),
        strict=True,
    )
)
SHINE = {"rubber": (0.10, 9.0), "wood": (0.10, 14.0), "metal": (0.85, 42.0), "glass": (0.95, 90.0), "": (0.05, 8.0)}
"""Strength and narrowness of the highlight; a person has no material."""
LAMP: Rgb = (1.0, 0.72, 0.42)
SHOES: Rgb = (0.20, 0.19, 0.21)


@dataclass(frozen=True)
class Look:
    """Where the light comes from and what colour it, the shade, the ground and the wall have; turns of the palette.

    `lamp` is the brightness of a warm lamp over the middle of the scene, `grain` the deviation of the noise.
    """

    light: Rgb = (-0.50, -0.46, 0.73)
    sun: Rgb = (0.86, 0.83, 0.78)
    shade: Rgb = (0.42, 0.44, 0.49)
    floor: Rgb = (0.90, 0.875, 0.84)
    wall: Rgb = (0.955, 0.945, 0.925)
    hue: float = 0.0
    lamp: float = 0.0
    grain: float = 0.0

    def towards(self, other: "Look", share: float) -> "Look":
        """Return a look between this and another."""

        def mix(a: Rgb, b: Rgb) -> Rgb:
            red, green, blue = (x + share * (y - x) for x, y in zip(a, b, strict=True))
            return red, green, blue

        return Look(
            mix(self.light, other.light),
            mix(self.sun, other.sun),
            mix(self.shade, other.shade),
            mix(self.floor, other.floor),
            mix(self.wall, other.wall),
            self.hue + share * (other.hue - self.hue),
            self.lamp + share * (other.lamp - self.lamp),
            self.grain + share * (other.grain - self.grain),
        )


DAY = Look()
ELSEWHERE = Look(
    light=(0.62, -0.30, 0.40),
    sun=(0.98, 0.70, 0.46),
    shade=(0.26, 0.27, 0.40),
    floor=(0.46, 0.50, 0.44),
    wall=(0.60, 0.50, 0.52),
    hue=0.055,
    grain=0.035,
)
"""The far end of the domain shift: low evening sun from the other side, a dark floor, other paints, a noisy camera."""


@lru_cache(maxsize=64)
def day(shift: float) -> Look:
    """Return the light of day at a domain shift from 0 to 1."""
    return DAY.towards(ELSEWHERE, shift)


def paint(scene: Scene, camera: Camera, size: int, look: Look) -> Float32[np.ndarray, "h w 3"]:
    """Return the picture of a scene in a light, from 0 to 1."""
    buffer = trace(scene, camera, size)
    behind = _background(camera, size, look) * _shadow(scene, camera, size, look)  # (3, h, w)
    grid = 2 * size + 1
    fine = np.zeros((4, grid * grid), np.float32)  # colours times cover, and cover
    solid = np.flatnonzero(buffer.opaque.entity)
    if len(solid):
        fine[:3, solid] = _shaded(scene, buffer, solid, look)
        fine[3, solid] = 1
    glass = np.flatnonzero(buffer.front.entity != buffer.opaque.entity)
    if len(glass):
        # what is behind the glass shows through: an object, or the ground at the resolution of the picture
        rows, columns = (np.minimum(x // 2, size - 1) for x in np.divmod(glass, grid))
        through = np.where(fine[3, glass] > 0, fine[:3, glass], behind[:, rows, columns])
        own, seen = _glass(scene, buffer, glass, look)
        fine[:3, glass] = own + seen * through
        fine[3, glass] = 1
    cover = coarse(fine.reshape(4, grid, grid))
    picture = cover[:3] + behind * (1 - cover[3])
    if look.grain > 0:
        noise = scene.generator("grain").standard_normal(picture.shape, dtype=np.float32)
        picture += np.float32(look.grain) * noise
    return np.ascontiguousarray(np.clip(picture, 0, 1).transpose(1, 2, 0))


def coarse(fine: Float32[np.ndarray, "c g g"]) -> Float32[np.ndarray, "c h w"]:
    """Return the fine grid at the pixels: the ray in the middle counts 1/4, each on an edge 1/8, at a corner 1/16."""
    rows = fine[:, 1::2] + np.float32(0.5) * (fine[:, :-1:2] + fine[:, 2::2])
    made: np.ndarray = np.float32(0.25) * (rows[..., 1::2] + np.float32(0.5) * (rows[..., :-1:2] + rows[..., 2::2]))
    return made


def as_bytes(picture: Float32[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Return values from 0 to 1 as 0 to 255."""
    return (picture * np.float32(255) + np.float32(0.5)).astype(np.uint8)


@lru_cache(maxsize=64)
def _paints(hue: float) -> dict[str, Rgb]:
    def turned(name: str, rgb: Rgb) -> Rgb:
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + (0 if name == "grey" else hue)) % 1, s, v)

    return {name: turned(name, rgb) for name, rgb in PALETTE.items()}


def _column(rgb: Rgb) -> Float32[np.ndarray, "3 1"]:
    return np.array(rgb, np.float32)[:, None]


@lru_cache(maxsize=32)
def _background(camera: Camera, size: int, look: Look) -> Float32[np.ndarray, "3 h w"]:
    """Return floor and wall without a line between them, a little darker towards the corners."""
    x, y, depth = floor(camera, size)
    far = np.clip((depth - 9) / 12, 0, 1)
    far = far * far * (3 - 2 * far)
    steps = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    corner = 1 - 0.07 * (steps[None, :] ** 2 + steps[:, None] ** 2)
    bright = np.minimum(_column(look.sun) + 0.36 * _column(look.shade), 1.06)[..., None]
    picture = (_column(look.floor)[..., None] * (1 - far) + _column(look.wall)[..., None] * far) * corner * bright
    if look.lamp > 0:
        pool = look.lamp * np.exp(-(x * x + (y - 0.2) ** 2) / 7.0)
        picture += _column(look.floor)[..., None] * _column(LAMP)[..., None] * pool
    picture = picture.astype(np.float32)
    picture.flags.writeable = False
    made: np.ndarray = picture
    return made


def _balls(scene: Scene) -> list[tuple[float, float, float, float, bool]]:
    """Return balls (x, y, z, radius, is it glass) that throw about the shadow that the entities do."""
    balls = []
    for one in scene.objects:
        radius = one.radius * (0.8 if one.shape in SLIM else 0.95)
        balls.append((one.x, one.y, one.z + 0.45 * one.height, radius, one.material == "glass"))
    if scene.figure is not None:
        body = scene.figure
        low, heights = (0.62, ((0.9, 0.3), (1.5, 0.3), (1.98, 0.26))) if body.pose == "sitting" else (0.0, STANDING)
        balls += [(body.x, body.y, z - low, r, False) for z, r in heights]
    return balls


SLIM = frozenset({"cone", "pyramid", "cross", "ring"})
STANDING = ((0.3, 0.25), (0.9, 0.28), (1.45, 0.33), (1.98, 0.26))


def _shadow(scene: Scene, camera: Camera, size: int, look: Look) -> Float32[np.ndarray, "h w"]:
    """Return how much light the ground gets: a ball dims what lies behind it, softly, and what it nearly touches."""
    x, y, _ = floor(camera, size)
    lx, ly, lz = _unit(look.light)
    lit = np.ones((size, size), np.float32)
    balls = _balls(scene)
    # the shadow of each lies between its foot and where its top throws it
    feet = np.array([(bx, by, bz, r) for bx, by, bz, r, _ in balls], np.float32)
    throw = feet[:, 2] / max(float(lz), 0.25)
    ends = np.stack([feet[:, :2] - throw[:, None] * np.array((lx, ly)), feet[:, :2]])  # (2, n, 2)
    # as far as the blur below goes, and as what nearly touches the ground is dark around it
    reach = np.maximum(1.24 * feet[:, 3] + 0.17 * throw, 1.9 * feet[:, 3])[:, None]
    low, high = ends.min(0) - reach, ends.max(0) + reach
    corners = np.stack([np.stack([a[:, 0], b[:, 1], 0 * a[:, 0]], 1) for a in (low, high) for b in (low, high)], 1)
    column, row, _ = camera.project(corners.reshape(-1, 3).astype(np.float32), size).T.reshape(3, -1, 4)
    edges = np.clip(np.stack([row.min(1), row.max(1) + 2, column.min(1), column.max(1) + 2], 1), 0, size).astype(int)
    for (bx, by, bz, r, clear), (top, bottom, left, right) in zip(balls, edges.tolist(), strict=True):
        key = (slice(top, bottom), slice(left, right))
        dx, dy = np.float32(bx) - x[key], np.float32(by) - y[key]
        beside = dx * dx + dy * dy
        dx *= lx
        dy *= ly
        dx += dy
        dx += np.float32(bz * lz)
        along = np.maximum(dx, 0)  # towards the light, to the ball's height
        off = beside + np.float32(bz * bz)
        off -= along * along
        np.sqrt(np.maximum(off, 0, out=off), out=off)
        along *= np.float32(0.32)
        along += np.float32(0.44 * r)  # twice the blur
        dark = (r - off) / along
        dark += np.float32(0.5)
        np.clip(dark, 0, 1, out=dark)
        share = np.float32((0.22 if clear else 0.42) * (1 - 0.4 * min(look.lamp, 1)))
        lit[key] *= 1 - (share * dark) * dark * (3 - 2 * dark)
        if bz < 1.2 * r + 0.2:
            beside *= np.float32(-1 / (0.75 * r * r))
            lit[key] *= 1 - np.float32(0.2 if clear else 0.38) * np.exp(beside)
    return lit


def _unit(light: Rgb) -> Float32[np.ndarray, " 3"]:
    towards: np.ndarray = np.array(light, np.float32)
    return towards / np.float32(np.linalg.norm(towards))


def _covers(scene: Scene, look: Look) -> Float32[np.ndarray, "3 n"]:
    """Return the colours of the entities' surfaces, then those of the parts of the person."""
    paints = _paints(look.hue)
    colours = [paints[one.colour] for one in scene.objects]
    if (body := scene.figure) is not None:
        worn = {
            "skin": SKINS[body.skin % len(SKINS)],
            "eyes": SHOES,
            "hair": HAIRS[body.hair % len(HAIRS)],
            "shirt": paints[body.shirt],
            "legs": paints[body.legs_colour],
            "hat": paints[body.hat_colour],
            "shoes": SHOES,
        }
        colours += [worn[cover] for cover in limbs(body).cover]
    return np.array(colours, np.float32).T


def _shaded(scene: Scene, buffer: Buffer, hits: np.ndarray, look: Look) -> Float32[np.ndarray, "3 n"]:
    """Return the colours of opaque surfaces at places of the fine grid."""
    layer = buffer.opaque
    entity = layer.entity.ravel()[hits] - 1
    n = layer.normal.reshape(3, -1)[:, hits]
    p, d = buffer.places(layer, hits)
    parts = layer.part.ravel()[hits]  # 0 for objects, so that the sum is the row of `_covers`
    albedo = _covers(scene, look)[:, entity + parts]
    materials = [one.material for one in scene.objects] + [""] * (scene.figure is not None)
    if "wood" in materials:
        wooden = np.flatnonzero(np.array([m == "wood" for m in materials])[entity])
        albedo[:, wooden] *= _grain(scene, p[:, wooden], entity[wooden])
    light, facing, mirror = _lights(n, d, look)
    near = np.clip(p[2] * np.float32(0.45) + np.float32(0.79), 0, 1)  # little light reaches what is close to the ground
    lit = light * _column(look.sun) + (np.float32(0.62) + np.float32(0.38) * n[2]) * near * _column(look.shade)
    if look.lamp > 0:
        lit += _column(LAMP) * (look.lamp * _lamp(p, n))
    lit *= albedo
    if "metal" in materials:
        metal = np.flatnonzero(np.array([m == "metal" for m in materials])[entity])
        lit[:, metal] = _metal(albedo[:, metal], mirror[:, metal], facing[metal], light[metal], look)
    strength, narrow = np.array([SHINE[m] for m in materials], np.float32).T[:, entity]
    made: np.ndarray = lit + strength * _glint(mirror, look, narrow) * _column(look.sun)
    return made


def _glass(scene: Scene, buffer: Buffer, hits: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return the light (3, n) that glass itself gives, and the share (3, n) of what is behind it that shows."""
    layer = buffer.front
    entity, n = layer.entity.ravel()[hits] - 1, layer.normal.reshape(3, -1)[:, hits]
    _, d = buffer.places(layer, hits)
    tint = _covers(scene, look)[:, entity]
    light, facing, mirror = _lights(n, d, look)
    rim = (1 - facing) ** np.float32(2.2)
    sky = np.clip(np.float32(0.5) + np.float32(0.6) * mirror[2], 0, 1)
    sun, wall = _column(look.sun), _column(look.wall)
    bright = sun * np.float32(0.75) + _column(look.shade) * np.float32(0.5)
    own = tint * bright * (np.float32(0.24) + np.float32(0.30) * rim + np.float32(0.08) * light)
    own += np.float32(0.24) * rim * sky * wall * bright
    strength, narrow = SHINE["glass"]
    own += np.float32(strength) * _glint(mirror, look, np.float32(narrow)) * sun
    through = (np.float32(0.36) + np.float32(0.46) * tint) * (np.float32(0.86) - np.float32(0.55) * rim)
    return own, through


def _lights(n: np.ndarray, d: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return light from the sun (wrapped a little around edges), how much a surface faces the eye, and reflections."""
    view = d / np.sqrt(np.einsum("ij,ij->j", d, d))
    light = np.clip(_unit(look.light) @ n * np.float32(1 / 1.18) + np.float32(0.18 / 1.18), 0, 1)
    inward = np.einsum("ij,ij->j", view, n)
    return light, np.clip(-inward, 0, 1), view - 2 * inward * n


def _glint(mirror: np.ndarray, look: Look, narrow: np.ndarray | np.float32) -> np.ndarray:
    # the logarithm is clipped where the glint is black anyway: powers of tiny numbers are slow
    towards = np.log(np.maximum(_unit(look.light) @ mirror, np.float32(1e-3)))
    glint: np.ndarray = np.exp(np.maximum(towards * narrow, np.float32(-20)))
    return glint


def _metal(albedo: np.ndarray, mirror: np.ndarray, facing: np.ndarray, light: np.ndarray, look: Look) -> np.ndarray:
    """Return the colour of metal: a room mirrored in it, bright above, dark at the horizon, the floor below."""
    up = mirror[2]
    room = np.where(up > 0, 0.20 + 1.05 * np.sqrt(np.clip(up, 0, 1)), 0.22 + 0.62 * np.clip(-up, 0, 1))
    window = np.exp(((mirror[0] + 0.5) ** 2 + (up - 0.4) ** 2) * -7) * 0.55
    bright = _column(look.sun) * 0.8 + _column(look.shade) * 0.45
    rim = 0.35 * (1 - facing) ** 4
    metal: np.ndarray = ((room + window + 0.2 * light) * (0.88 * albedo + 0.12) + rim) * bright
    return metal.astype(np.float32)


def _grain(scene: Scene, p: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Return the brightness of painted wood: rings around an axis beside the object, a little wavy."""
    at = np.array([(one.x, one.y, one.z, one.radius) for one in scene.objects], np.float32)[entity].T
    x, y, z = (p - at[:3]) / at[3]
    rings = np.sqrt((x + np.float32(1.7)) ** 2 + (z * np.float32(0.9) - np.float32(0.2)) ** 2) * np.float32(23.5)
    wave = np.sin(rings + np.float32(1.5) * np.sin(np.float32(3.1) * y + z))
    made: np.ndarray = np.float32(0.86) + np.float32(0.17) * wave * wave * wave
    return made


def _lamp(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the light of a lamp that hangs over the middle."""
    to = np.array((0.0, 0.2, 4.6), np.float32)[:, None] - p
    away = (to * to).sum(0)
    made: np.ndarray = np.clip((to * n).sum(0) / np.sqrt(away), 0, 1) * 16 / (away + 4)
    return made
