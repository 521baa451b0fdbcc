"""Closed-form maps between two sets of vectors, fitted in one pass over rows that need not fit in memory.

    Centre, Standardise      take the mean off; and divide by the deviation
    LeastSquares             the affine map of least squares, with or without a ridge
    Procrustes               the best rotation, with or without one scale; `RobustProcrustes` where pairs are wrong
    CanonicalDirections      the directions of two sets that go together (CCA)
    RelativeProjection       similarities to anchors
    slerp                    points on the arc between two directions

All follow scikit-learn's conventions (`fit`, `transform`, `inverse_transform`, `get_params`, state ending in `_`,
`n_features_in_`) without importing it. `fit` takes arrays, `fit_rows` an iterable of blocks of rows; both give the
same map. numpy in, numpy out; torch in, torch out on its device.
"""

from isthmus.parts.linear.canonical import CanonicalDirections
from isthmus.parts.linear.columns import Centre, Standardise
from isthmus.parts.linear.moments import Moments, moments
from isthmus.parts.linear.regression import LeastSquares
from isthmus.parts.linear.relative import RelativeProjection
from isthmus.parts.linear.rotation import Procrustes, RobustProcrustes
from isthmus.parts.linear.sphere import slerp

__all__ = [
    "CanonicalDirections",
    "Centre",
    "LeastSquares",
    "Moments",
    "Procrustes",
    "RelativeProjection",
    "RobustProcrustes",
    "Standardise",
    "moments",
    "slerp",
]
