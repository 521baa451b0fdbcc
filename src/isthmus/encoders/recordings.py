"""Recordings as the samples that an encoder hears."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float32
from scipy.signal import resample_poly

from isthmus.core.errors import BadInput

__all__ = ["samples"]


def samples(item: Any, i: int, rate: int) -> Float32[np.ndarray, "samples"]:
    """Return the samples of a recording (`isthmus.data.sound.read_sound`) at `rate` a second; `i` is its number."""
    try:
        array, own = np.asarray(item["array"], dtype=np.float32), int(item["sampling_rate"])
    except (TypeError, KeyError, IndexError, ValueError):
        raise BadInput(
            f"item {i} is {type(item).__name__}, not a recording; expected {{'array': samples, 'sampling_rate': Hz}}"
        ) from None
    if array.ndim != 1 or not len(array) or own < 1:
        raise BadInput(f"item {i}: a recording of shape {array.shape} at {own} Hz; expected (samples,), at least one")
    if not np.isfinite(array).all():
        raise BadInput(f"item {i}: the recording holds NaN or infinity")
    if own == rate:
        return array
    common = math.gcd(own, rate)
    return np.asarray(resample_poly(array, rate // common, own // common), dtype=np.float32)
