"""Coloured surfaces: read a model, draw points from it, look at it from any side.

Both ask the same question, which colour and which normal a place on the surface has, of places that they choose in
different ways: points by area, views by the rays that hit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from isthmus.core.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Surface", "read_surface", "render", "sample"]

GREY = np.array([160, 160, 160], np.uint8)
"""The colour of what has none."""
LIGHT = np.array([0.35, 0.8, 0.5])
"""From where the light falls on a view: right, above, behind the viewer."""
AMBIENT = 0.45
OVERSAMPLED = 2
"""Rays a pixel, along each side."""


@dataclass(frozen=True)
class Surface:
    """Triangles, centred, within the unit sphere, y up; each with its corners in a texture or one colour.

    `paint` has the colours or textures, `painted` which of them a triangle has.
    """

    corners: Float32[np.ndarray, "f 3 3"]
    uv: Float32[np.ndarray, "f 3 2"]
    painted: Int[np.ndarray, " f"]
    paint: tuple[UInt8[np.ndarray, "h w 3"], ...]

    def normals(self) -> Float32[np.ndarray, "f 3"]:
        """Return the unit normal of every triangle, whose length is zero for one without area."""
        normals = self._crossed()
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals /= np.where(length > 0, length, 1)
        return normals

    def areas(self) -> Float32[np.ndarray, " f"]:
        """Return the area of every triangle."""
        areas: Float32[np.ndarray, " f"] = np.linalg.norm(self._crossed(), axis=1) / 2
        return areas

    def colours(
        self, triangle: Int[np.ndarray, " n"], weights: Float32[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "n 3"]:
        """Return the colours, 0 to 1, at places given by a triangle and the weights of its corners."""
        uv = np.einsum("nk,nkc->nc", weights, self.uv[triangle])
        colours = np.empty((len(triangle), 3), np.float32)
        for index, texture in enumerate(self.paint):
            here = self.painted[triangle] == index
            height, width = texture.shape[:2]
            u, v = (uv[here] % 1).T  # textures repeat
            rows = np.minimum(((1 - v) * height).astype(int), height - 1)
            colours[here] = texture[rows, np.minimum((u * width).astype(int), width - 1)] / np.float32(255)
        return colours

    def _crossed(self) -> Float32[np.ndarray, "f 3"]:
        a, b, c = self.corners.transpose(1, 0, 2)
        crossed: Float32[np.ndarray, "f 3"] = np.cross(b - a, c - a)
        return crossed


def read_surface(obj: bytes, files: Mapping[str, bytes], rotation: Float32[np.ndarray, "3 3"] | None = None) -> Surface:
    """Return the surface of a Wavefront OBJ model; `files` are the materials and textures that it names.

    Raises `BadInput` for what is no model or has no triangle, `MissingExtra` without trimesh.
    """
    trimesh = _trimesh()
    try:
        scene = trimesh.load_scene(BytesIO(obj), file_type="obj", resolver=dict(files), process=False)
        meshes = [mesh for mesh in scene.geometry.values() if len(getattr(mesh, "faces", ()))]
        corners = [np.asarray(mesh.triangles, np.float32) for mesh in meshes]
        paint = [_paint(mesh) for mesh in meshes]
        uv = [_uv(mesh) for mesh in meshes]
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise BadInput(f"the model cannot be read ({error or type(error).__name__})") from error
    if not meshes:
        raise BadInput("the model has no triangle")
    every = np.concatenate(corners)
    if rotation is not None:
        every = every @ rotation.T
    every -= (every.min((0, 1)) + every.max((0, 1))) / 2
    every /= max(np.linalg.norm(every, axis=-1).max(), 1e-12)
    painted = np.repeat(np.arange(len(meshes)), [len(mesh) for mesh in corners])
    return Surface(every.astype(np.float32), np.concatenate(uv), painted, tuple(paint))


def sample(surface: Surface, n: int, seed: int) -> Float32[np.ndarray, "n 9"]:
    """Return `n` points drawn by area: place, colour (red, green, blue from 0 to 1) and normal."""
    chance = surface.areas().astype(np.float64)
    if not 0 < chance.sum() < np.inf:
        raise BadInput("the model has no area")
    draw = np.random.default_rng(seed)
    triangle = draw.choice(len(chance), n, p=chance / chance.sum())
    # uniform in a triangle: the square root makes up for the narrowing towards a corner
    root, share = np.sqrt(draw.random(n, np.float32)), draw.random(n, np.float32)
    weights = np.stack([1 - root, root * (1 - share), root * share], 1)
    places = np.einsum("nk,nkc->nc", weights, surface.corners[triangle])
    return np.concatenate([places, surface.colours(triangle, weights), surface.normals()[triangle]], 1)


def render(surface: Surface, *, azimuth: float, elevation: float = 20, size: int = 224) -> "Image.Image":
    """Return a view on white, `size` pixels a side, from an angle in degrees around and above; 0 is the front.

    Every pixel is the mean of a few parallel rays. Surfaces are lit from both sides, as models are not always closed.
    """
    from PIL import Image

    trimesh = _trimesh()
    turn, tilt = np.radians([azimuth, elevation])
    back = np.array([np.sin(turn) * np.cos(tilt), np.sin(tilt), np.cos(turn) * np.cos(tilt)])  # from the model to us
    right = np.array([np.cos(turn), 0, -np.sin(turn)])
    above = np.cross(back, right)
    side = size * OVERSAMPLED
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(steps, -steps)
    eyes = x.reshape(-1, 1) * right + y.reshape(-1, 1) * above + 2 * back
    flat = trimesh.Trimesh(
        surface.corners.reshape(-1, 3), np.arange(surface.corners.size // 3).reshape(-1, 3), process=False
    )
    hit, ray, where = flat.ray.intersects_id(
        eyes, np.tile(-back, (len(eyes), 1)), multiple_hits=False, return_locations=True
    )
    weights = trimesh.triangles.points_to_barycentric(surface.corners[hit].astype(np.float64), where).astype(np.float32)
    light = LIGHT[0] * right + LIGHT[1] * above + LIGHT[2] * back
    lit = np.abs(surface.normals()[hit] @ (light / np.linalg.norm(light)))
    pixels = np.ones((side * side, 3), np.float32)
    pixels[ray] = surface.colours(hit, weights) * (AMBIENT + (1 - AMBIENT) * lit)[:, None]
    pixels = pixels.reshape(size, OVERSAMPLED, size, OVERSAMPLED, 3).mean((1, 3))
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def _paint(mesh: Any) -> UInt8[np.ndarray, "h w 3"]:
    """Return the texture of a part of a model, of one pixel where it has one colour."""
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "image", None)
    if image is not None and mesh.visual.uv is not None:
        return np.asarray(image.convert("RGB"))
    colour = GREY if material is None else np.asarray(material.main_color, np.uint8)[:3]
    return np.asarray(colour, np.uint8).reshape(1, 1, 3)


def _uv(mesh: Any) -> Float32[np.ndarray, "f 3 2"]:
    uv = getattr(mesh.visual, "uv", None)
    if uv is None:
        return np.zeros((len(mesh.faces), 3, 2), np.float32)
    corners: Float32[np.ndarray, "f 3 2"] = np.nan_to_num(np.asarray(uv, np.float32))[mesh.faces]
    return corners


def _trimesh() -> Any:
    try:
        import embreex  # noqa: F401  # what `Trimesh.ray` is fast with
        import trimesh
    except ImportError:
        raise MissingExtra.of("trimesh", "mesh", "reading models") from None
    return trimesh
