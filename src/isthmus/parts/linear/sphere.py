"""Spherical interpolation: points on the arc between two directions."""

from typing import Any

import array_api_compat

from isthmus.core.errors import BadInput

__all__ = ["slerp"]


def slerp(a: Any, b: Any, t: float) -> Any:
    """Return unit rows at the share `t` of the arc from the direction of `a` (n, d) to that of `b` (Shoemake 1985).

        slerp(a, b, t) = sin((1−t)ω)/sin ω · a + sin(tω)/sin ω · b,   cos ω = a·b

    Relations: t = 0 → a, t = 1 → b, both of unit length; a = b → a; swapping a and b with 1 − t → the same.
    Raises `BadInput` for t outside of [0, 1], unequal shapes, a row of zeros, or opposite rows, between which there
    is no one arc.
    """
    xp = array_api_compat.array_namespace(a, b)
    if a.ndim != 2 or a.shape != b.shape or not 0 <= t <= 1:
        raise BadInput(f"slerp takes two (n, d) arrays and t in [0, 1]; got {a.shape}, {b.shape} and t = {t}")
    a, b = (_unit(x, name, xp) for x, name in ((a, "a"), (b, "b")))
    # the half-angle form keeps its digits where the rows are close, which arccos does not
    near, far = _length(a + b, xp), _length(a - b, xp)
    if bool(xp.any(near < 1e-6)):
        raise BadInput(f"row {int(xp.argmin(near))} of a and b are opposite: there are many arcs between them")
    omega = 2 * xp.atan2(far, near)
    close = xp.sin(omega) < 1e-6
    sine = xp.where(close, xp.ones_like(omega), xp.sin(omega))
    first = xp.where(close, xp.full_like(omega, 1 - t), xp.sin((1 - t) * omega) / sine)
    second = xp.where(close, xp.full_like(omega, t), xp.sin(t * omega) / sine)
    return _unit(first * a + second * b, "the result", xp)


def _length(x: Any, xp: Any) -> Any:
    return xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))


def _unit(x: Any, name: str, xp: Any) -> Any:
    length = _length(x, xp)
    if not bool(xp.all(length > 0)):
        raise BadInput(f"{name}: row {int(xp.argmin(length))} is all zeros or not finite, and has no direction")
    return x / length
