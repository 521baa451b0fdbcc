"""Similarities to anchors as coordinates: what two encoders that never met agree on (moschella2023)."""

from typing import Any, Literal, Self

import array_api_compat
import numpy as np

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix, unit
from isthmus.parts.linear.applied import checked, like
from isthmus.parts.linear.moments import host
from isthmus.parts.params import Params

__all__ = ["RelativeProjection"]


class RelativeProjection(Params):
    """r_ij = sim(x_i, a_j), the similarities of a row to k anchors; `fit` takes the anchors (k, d).

    `similarity` is "cosine", "angular" (1 − arccos(cos)/π), "euclidean" (−‖x − a‖) or "basis", the least-squares
    coordinates of x in the anchors. With `centring` the mean of the anchors is taken off both first.

    Relations: "cosine": rotations, reflections and any lengths of rows change nothing; "euclidean": isometries
    change nothing; "basis" with k = d: no invertible linear map changes anything, and R·A = X.
    Raises `BadInput` for anchors of length 0, or for "basis" fewer directions than anchors.
    """

    def __init__(
        self,
        *,
        similarity: Literal["cosine", "angular", "euclidean", "basis"] = "cosine",
        centring: bool = False,
    ) -> None:
        self.similarity = similarity
        self.centring = centring

    def fit(self, x: Any, y: Any = None) -> Self:
        """Take the anchors (k, d) and return the map; `y` is ignored."""
        if self.similarity not in ("cosine", "angular", "euclidean", "basis"):
            raise BadInput(f"similarity {self.similarity!r} is none of cosine, angular, euclidean, basis")
        anchors = matrix(host(x), "anchors").astype(np.float64)
        self.mean_ = anchors.mean(axis=0) if self.centring else np.zeros(anchors.shape[1])
        anchors = anchors - self.mean_
        if self.similarity in ("cosine", "angular"):
            anchors = unit(anchors, "anchors")
        rank = int(np.linalg.matrix_rank(anchors))
        if self.similarity == "basis" and rank < len(anchors):
            raise BadInput(f"{len(anchors)} anchors span {rank} directions: coordinates in them are not unique")
        self.anchors_ = anchors
        self.n_features_in_ = anchors.shape[1]
        return self

    def fit_transform(self, x: Any, y: Any = None) -> Any:
        """Take the anchors, and map them."""
        return self.fit(x).transform(x)

    def transform(self, x: Any) -> Any:
        """Return (n, k), the similarities of rows to the anchors; `BadInput` for a row without a direction."""
        x = checked(self, x, "anchors_")
        xp = array_api_compat.array_namespace(x)
        mean, anchors = like(x, self.mean_, self.anchors_)
        x = x - mean
        if self.similarity == "basis":
            return x @ like(x, np.linalg.pinv(self.anchors_))[0]
        if self.similarity == "euclidean":
            squares = xp.sum(x * x, axis=1)[:, None] + xp.sum(anchors * anchors, axis=1) - 2 * x @ anchors.T
            return -xp.sqrt(xp.maximum(squares, xp.zeros_like(squares)))
        length = xp.sqrt(xp.sum(x * x, axis=1, keepdims=True))
        if not bool(xp.all(length > 0)):
            raise BadInput(f"row {int(xp.argmin(length))} is all zeros, and has no cosine with an anchor")
        cosines = xp.clip(x / length @ anchors.T, -1, 1)
        return cosines if self.similarity == "cosine" else 1 - xp.acos(cosines) / np.pi

    def inverse_transform(self, r: Any) -> Any:
        """Return (n, d): the shortest x with these coordinates, for "cosine" of unit length; exact where k ≥ d.

        Raises `BadInput` for angular and euclidean coordinates, which are not linear.
        """
        r = checked(self, r, "anchors_", len(self.anchors_) if hasattr(self, "anchors_") else 0)
        if self.similarity in ("angular", "euclidean"):
            raise BadInput(f"{self.similarity} coordinates have no linear inverse; use cosine or basis")
        back = self.anchors_ if self.similarity == "basis" else np.linalg.pinv(self.anchors_).T
        weight, mean = like(r, back, self.mean_)
        return r @ weight + mean
