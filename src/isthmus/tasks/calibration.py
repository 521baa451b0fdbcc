"""calibration.v1: say which class an item is, and how sure that is.

The data are those of zero_shot.v1. An answer is the (n, c) probabilities of the classes, or ``(items, classes,
scale)``: vectors, and the scale 1/τ of the soft-max over their cosines.

Figures: ``ece``, the expected calibration error over 15 bins, in [0, 1]; ``brier``, in [0, 2]; ``log loss``; ``sure``,
the mean confidence. Less is better, but for the last.

Relations: sure and right → 0 throughout; equal probabilities → brier 1 − 1/c, log loss log c.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from isthmus.core.errors import BadInput
from isthmus.core.task import Task
from isthmus.metrics.calibration import brier, expected_calibration_error, log_loss
from isthmus.tasks import zero_shot
from isthmus.tasks.zero_shot import Classes, class_scores

__all__ = ["TASK", "probabilities", "score"]


def probabilities(data: Classes, answer: Any) -> Float[np.ndarray, "n c"]:
    """Return the probabilities of an answer; `BadInput` for a scale that is not positive, or another shape."""
    if isinstance(answer, tuple):
        items, classes, scale = answer
        if not scale > 0:
            raise BadInput(f"the scale of the soft-max must be positive, got {scale}")
        logits = scale * class_scores(data, (items, classes)).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=logits)
        return np.asarray(logits / logits.sum(1, keepdims=True))
    return class_scores(data, answer)


def score(data: Classes, answer: Any) -> dict[str, float]:
    """Return every figure; see the module."""
    p = probabilities(data, answer)
    return {
        "ece": expected_calibration_error(p, data.labels),
        "brier": brier(p, data.labels),
        "log loss": log_loss(p, data.labels),
        "sure": float(p.max(1).mean()),
    }


def chance(data: Classes, seed: int) -> Float[np.ndarray, "n c"]:
    """Return an answer that knows nothing and is sure of it: a random class."""
    drawn = np.random.default_rng(seed).integers(len(data.names), size=len(data.labels))
    return np.asarray(np.eye(len(data.names), dtype=np.float32)[drawn])


TASK = Task(
    name="calibration.v1",
    ranges={"ece": (0.0, 1.0), "brier": (0.0, 2.0), "log loss": (0.0, float("inf")), "sure": (0.0, 1.0)},
    make=zero_shot.make,
    score=score,
    best=zero_shot.best,
    chance=chance,
)
