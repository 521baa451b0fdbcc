"""Whether a classifier is right as often as it says: reliability by confidence, and its summaries.

Sources: expected calibration error, naeini2015 and guo2017 (arXiv 1706.04599); Brier score, brier1950.
"""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isthmus.core.errors import BadInput
from isthmus.metrics.vectors import matrix

__all__ = ["Reliability", "brier", "expected_calibration_error", "log_loss", "reliability", "reliability_plot"]


@dataclass(frozen=True)
class Reliability:
    """Answers by the confidence of the first class, in bins of equal width: how many, how sure, how often right.

    `confidence` and `accuracy` are means of a bin, 0 where it is empty.
    """

    count: Int[np.ndarray, " k"]
    confidence: Float[np.ndarray, " k"]
    accuracy: Float[np.ndarray, " k"]


def reliability(probabilities: Any, labels: Any, *, bins: int = 15) -> Reliability:
    """Sort answers (n, c) with their right classes (n,) into `bins` of confidence (b/bins, (b+1)/bins].

    Raises `BadInput` for rows that are no probabilities, labels that are no classes, or fewer than one bin.
    """
    p, right = _checked(probabilities, labels)
    if bins < 1:
        raise BadInput(f"bins = {bins}; at least 1 is needed")
    sure, hit = p.max(1), p.argmax(1) == right
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    least = np.maximum(count, 1)
    return Reliability(
        count=count,
        confidence=np.bincount(place, sure, bins) / least,
        accuracy=np.bincount(place, hit.astype(np.float64), bins) / least,
    )


def expected_calibration_error(probabilities: Any, labels: Any, *, bins: int = 15) -> float:
    """Return Σ_b |b|/n · |accuracy(b) − confidence(b)| over bins of confidence; 0 is calibrated, at most 1.

    Relations: always sure and always right → 0; sure and wrong → 1; one bin → |accuracy − mean confidence|.
    """
    found = reliability(probabilities, labels, bins=bins)
    return float((found.count * np.abs(found.accuracy - found.confidence)).sum() / found.count.sum())


def brier(probabilities: Any, labels: Any) -> float:
    """Return the mean of Σ_c (p_c − [c is right])², in [0, 2]. Relations: sure and right → 0; sure and wrong → 2."""
    p, right = _checked(probabilities, labels)
    own = p[np.arange(len(p)), right]
    return float((np.square(p).sum(1) - 2 * own + 1).mean())


def log_loss(probabilities: Any, labels: Any) -> float:
    """Return the mean of −log p of the right class; probabilities below 1e-12 count as that."""
    p, right = _checked(probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(p)), right], 1e-12)).mean())


def reliability_plot(tables: dict[str, Reliability]) -> str:
    """Return an SVG document: accuracy over confidence for each named table, dots as large as their share of answers.

    On the dashed line a classifier is right as often as it says. Raises `BadInput` without a table.
    """
    if not tables:
        raise BadInput("reliability_plot needs at least one table")
    side, left, top = 300, 46, 20
    colours = ("#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d")
    parts = [
        f'<path d="M{left} {top}v{side}h{side}" fill="none" stroke="#94a3b8"/>',
        f'<path d="M{left} {top + side}L{left + side} {top}" stroke="#94a3b8" stroke-dasharray="4"/>',
    ]
    for number, (name, table) in enumerate(tables.items()):
        colour = colours[number % len(colours)]
        held = np.flatnonzero(table.count)
        share = table.count / table.count.sum()
        error = float((share * np.abs(table.accuracy - table.confidence)).sum())
        places = [(left + side * table.confidence[b], top + side * (1 - table.accuracy[b])) for b in held]
        line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2 + 14 * share[b] ** 0.5:.1f}" fill="{colour}" opacity="0.6"/>'
            for b, (x, y) in zip(held, places, strict=True)
        ]
        said = escape(f"{name}: calibration error {error:.3f}")
        parts.append(f'<text x="{left + 8}" y="{top + 14 + 18 * number}" fill="{colour}">{said}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 70} {side + 66}" font-family="sans-serif" '
        f'font-size="13"><title>Accuracy over confidence</title><rect width="100%" height="100%" fill="#fff"/>'
        f'{"".join(parts)}<text x="{left}" y="{top + side + 22}">confidence, 0 to 1</text>'
        f'<text x="4" y="14">accuracy</text></svg>'
    )


def _checked(probabilities: Any, labels: Any) -> tuple[Float[np.ndarray, "n c"], Int[np.ndarray, " n"]]:
    p, right = matrix(probabilities, "probabilities").astype(np.float64), np.asarray(labels)
    if right.shape != (len(p),) or right.dtype.kind not in "iu":
        raise BadInput(f"labels must be ({len(p)},) whole numbers, got {right.dtype} {right.shape}")
    if bool((right < 0).any() | (right >= p.shape[1]).any()):
        raise BadInput(f"labels lie outside of the {p.shape[1]} classes")
    if bool((p < -1e-6).any()) or not np.allclose(p.sum(1), 1, atol=1e-3):
        row = int(np.argmax((p < -1e-6).any(1) | (np.abs(p.sum(1) - 1) > 1e-3)))
        raise BadInput(f"probabilities of row {row} are negative or do not add up to 1: {p[row].sum():g}")
    return p, right
