"""What the gap looks like: two tables on their principal axes, their spectra, and the sphere while they learn."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.metrics.geometry import modality_gap, spectrum
from isthmus.metrics.vectors import pair, unit

__all__ = ["explained", "plane_view", "spectrum_plot", "sphere_film"]

COLOURS = ("#0f766e", "#c2410c", "#4338ca", "#a16207")
SIDE = 360


def explained(x: Any) -> Float[np.ndarray, " r"]:
    """Return the share of the variance that the first 1, 2, … principal axes of (n, d) hold; ends at 1."""
    energy = spectrum(x) ** 2
    if not energy.any():
        raise BadInput("all rows are equal: there is no variance to explain")
    return np.asarray(np.cumsum(energy) / energy.sum())


def plane_view(a: Any, b: Any, *, names: tuple[str, str] = ("image", "text"), title: str = "") -> str:
    """Return an SVG document: both tables on the first two principal axes of all unit vectors, pairs joined.

    At most 200 pairs are joined and drawn, evenly spread over the rows. Raises `BadInput` for unequal shapes.
    """
    x, y = pair(a, b, ("a", "b"), rows=2, paired=True)
    x, y = unit(x, "a").astype(np.float64), unit(y, "b").astype(np.float64)
    both = np.concatenate([x, y])
    centre = both.mean(0)
    axes = np.linalg.svd(both - centre, full_matrices=False)[2][:2]
    some = np.unique(np.linspace(0, len(x) - 1, min(200, len(x))).astype(int))
    flat = [(z[some] - centre) @ axes.T for z in (x, y)]
    reach = max(float(np.abs(z).max()) for z in flat) or 1.0
    points = [SIDE / 2 + (SIDE / 2 - 16) * z / reach for z in flat]
    links = "".join(f"M{p[0]:.1f} {p[1]:.1f}L{q[0]:.1f} {q[1]:.1f}" for p, q in zip(points[0], points[1], strict=True))
    dots = [f'<path d="{links}" stroke="#94a3b8" stroke-width="0.5" fill="none"/>']
    for colour, name, placed in zip(COLOURS, names, points, strict=False):
        dots += [f'<circle cx="{p:.1f}" cy="{q:.1f}" r="3" fill="{colour}"/>' for p, q in placed]
        dots.append(_said(name, colour, names.index(name)))
    said = title or f"{names[0]} and {names[1]} on two principal axes; centres {modality_gap(x, y):.2f} apart"
    return _document(SIDE, SIDE + 24 * len(names), said, dots)


def spectrum_plot(tables: Mapping[str, Any]) -> str:
    """Return an SVG document: the share of the variance that the first k principal axes hold, a curve a table.

    Raises `BadInput` without a table, or for one whose rows are all equal.
    """
    if not tables:
        raise BadInput("spectrum_plot needs at least one table")
    parts = [f'<path d="M20 16v{SIDE - 40}h{SIDE - 40}" fill="none" stroke="#94a3b8"/>']
    curves = {name: explained(x) for name, x in tables.items()}
    longest = max(map(len, curves.values()))
    for number, (name, curve) in enumerate(curves.items()):
        x = 20 + (SIDE - 40) * np.arange(1, len(curve) + 1) / longest
        y = 16 + (SIDE - 40) * (1 - curve)
        colour = COLOURS[number % len(COLOURS)]
        line = "M" + "L".join(f"{p:.1f} {q:.1f}" for p, q in zip(x, y, strict=True))
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        ninety = int(np.searchsorted(curve, 0.9)) + 1
        parts.append(_said(f"{name}: {ninety} axes hold 90 %", colour, number))
    return _document(SIDE, SIDE + 24 * len(curves), f"Variance on the first of {longest} principal axes", parts)


def sphere_film(
    film: Sequence[tuple[Any, Any]], *, names: tuple[str, str] = ("image", "text"), seconds: float = 8.0
) -> str:
    """Return an animated SVG document: the vectors (n, 3) of both modalities on the sphere, a frame after the other.

    `film` is what `controls.sphere` returns; the sphere turns while it plays, and points at its back are small.
    Raises `BadInput` for fewer than two frames, or vectors that are not (n, 3) throughout.
    """
    frames = [tuple(np.asarray(side, dtype=np.float64) for side in pictures) for pictures in film]
    shapes = {side.shape for pictures in frames for side in pictures}
    if len(frames) < 2 or len(shapes) != 1 or next(iter(shapes))[1:] != (3,):
        raise BadInput(f"a film needs at least 2 frames of (n, 3), got {len(frames)} with shapes {sorted(shapes)}")
    angles = np.linspace(0, 2 * np.pi, len(frames))
    middle, radius = SIDE / 2, SIDE / 2 - 16
    parts = [f'<circle cx="{middle}" cy="{middle}" r="{radius}" fill="none" stroke="#94a3b8"/>']
    times = ";".join(f"{t:.3f}" for t in np.linspace(0, 1, len(frames)))
    for side, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        turned = np.stack(
            [unit(pictures[side]) @ _turn(angle).T for pictures, angle in zip(frames, angles, strict=True)]
        )
        across, up = middle + radius * turned[..., 0], middle - radius * turned[..., 2]
        near = 2.2 + 1.4 * turned[..., 1]
        for i in range(turned.shape[1]):
            moves = "".join(
                f'<animate attributeName="{attribute}" dur="{seconds}s" repeatCount="indefinite" keyTimes="{times}" '
                f'values="{";".join(f"{v:.1f}" for v in values[:, i])}"/>'
                for attribute, values in (("cx", across), ("cy", up), ("r", near))
            )
            parts.append(f'<circle cx="{across[0, i]:.1f}" cy="{up[0, i]:.1f}" r="2" fill="{colour}">{moves}</circle>')
        parts.append(_said(name, colour, side))
    said = f"{len(frames)} moments of {turned.shape[1]} pairs on the sphere"
    return _document(SIDE, SIDE + 24 * len(names), said, parts)


def _turn(angle: float) -> Float[np.ndarray, "3 3"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _said(text: str, colour: str, line: int) -> str:
    return f'<text x="16" y="{SIDE + 14 + 22 * line}" fill="{colour}">{escape(text)}</text>'


def _document(width: int, height: int, said: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><title>{escape(said)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )
